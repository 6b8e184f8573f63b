"""Runs tests/converter in two pytest processes side by side, then what has to run alone.

    python hack/converter_tests.py [ARGUMENTS OF PYTEST]

A conversion has one CPU, as in the cluster, so one process leaves the others idle. Lines of the two
begin with ``1|`` and ``2|``. Fails if a process fails, and also if a test ran twice or not at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.converter import sharing  # noqa: E402

PROCESSES = (1, 2)
NO_TESTS = 5
"""pytest's exit code where the arguments leave nothing to run."""


def start(marked: str, arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "tests/converter", "-m", marked, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def show(prefix: str, process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        print(f"{prefix}{line}", end="", flush=True)


def side_by_side(folder: Path, arguments: Sequence[str]) -> list[int]:
    """Exit codes of the two processes."""
    started = {
        number: start(
            "not alone",
            arguments,
            **{sharing.FOLDER: str(folder), sharing.PROCESS: str(number)},
        )
        for number in PROCESSES
    }
    readers = [
        threading.Thread(target=show, args=(f"{number}|", process))
        for number, process in started.items()
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return [process.wait() for process in started.values()]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def problems(folder: Path) -> list[str]:
    """What speaks against every collected test having run exactly once."""
    shares = [sharing.Share(folder, number) for number in PROCESSES]
    known = [set(lines(share.collected)) for share in shares]
    ran = Counter(test for share in shares for test in lines(share.done))
    everything = set().union(*known)
    return [
        *(f"known to one process only: {test}" for test in sorted(known[0] ^ known[1])),
        *(f"never ran: {test}" for test in sorted(everything - set(ran))),
        *(f"ran {count} times: {test}" for test, count in sorted(ran.items()) if count > 1),
    ]


def main() -> int:
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="converter-tests-") as name:
        codes = side_by_side(Path(name), arguments)
        found = problems(Path(name))
    for problem in found:
        print(problem)
    last = start("alone", arguments)
    show("", last)
    codes.append(last.wait())
    print(f"exit codes: {codes[0]} and {codes[1]} side by side, {codes[2]} alone", flush=True)
    return 1 if found or any(code not in (0, NO_TESTS) for code in codes) else 0


if __name__ == "__main__":
    sys.exit(main())
