"""A program that gets SIGTERM while it starts ends at once.

In a container it is the first process, for which the kernel ignores the signal. Here the signal is
ignored from the start, which is the same for the program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATHS = [str(ROOT / part) for part in ("operator", "gateway", "converter-module")]
NEVER = """
import time
print("importing", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("program", ["conversion_operator", "converter_gateway"])
def test_sigterm_ends_a_program_that_is_still_importing(program: str, tmp_path: Path) -> None:
    """Both import the module that stands still here."""
    (tmp_path / "pydantic.py").write_text(NEVER, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), *PATHS])
    process = subprocess.Popen(
        [sys.executable, "-m", program],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),  # noqa: PLW1509
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "importing\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
