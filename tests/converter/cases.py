"""Counts the cases of this suite, so that none of them disappears unnoticed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parent
AT_LEAST: Final = 1530
"""The suite has at least so many cases. Raise the number when you add cases."""

COUNTED: Final = pytest.StashKey[int]()


def count() -> int:
    """How many cases pytest finds in this folder, whatever the present run selects."""
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
    done = subprocess.run(
        (*command, str(FOLDER)),
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"^(\d+) tests collected", done.stdout, re.MULTILINE)
    assert found, done.stdout[-800:]
    return int(found[1])
