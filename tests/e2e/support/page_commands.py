"""Runs the commands of a page as its reader does: in a shell, in the reader's folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

_SHELL = ("bash", "-euo", "pipefail", "-c")


def carry_out(script: str, folder: Path, environment: Mapping[str, str], limit: float) -> None:
    """Run a script of a page in a folder, within ``limit`` seconds.

    It has no input to read. Raises AssertionError, with the script and its output, at the first
    command that fails.
    """
    done = subprocess.run(
        [*_SHELL, script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
