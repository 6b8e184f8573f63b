"""How pytest processes side by side share these tests: each runs what it claims first.

hack/converter_tests.py starts them and names a folder in which a claim is a file that only one of
them can create. One process goes through the modules from the first, the other from the last, so
that they meet wherever the time is halved, and hardly a module is set up twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = "CONVERTER_TESTS_FOLDER"
PROCESS = "CONVERTER_TESTS_PROCESS"


class Share(NamedTuple):
    """The folder of the claims, and which process this is: 1 or 2."""

    folder: Path
    process: int

    @property
    def collected(self) -> Path:
        """Where this process lists the tests it knows of, one a line."""
        return self.folder / f"collected-{self.process}"

    @property
    def done(self) -> Path:
        """Where this process lists the tests it has run, one a line."""
        return self.folder / f"done-{self.process}"


def from_environment(environment: Mapping[str, str]) -> Share | None:
    """The share of this process, None where it is the only one."""
    folder = environment.get(FOLDER)
    return Share(Path(folder), int(environment[PROCESS])) if folder else None


def claim(folder: Path, test: str) -> bool:
    """Whether the test is this process's to run: true for exactly one of those that ask."""
    name = hashlib.sha256(test.encode()).hexdigest()
    try:
        os.close(os.open(folder / f"claim-{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def in_order(tests: Iterable[str], process: int) -> list[str]:
    """The tests in the order in which a process asks for them; within a module always forwards."""
    modules = [list(group) for _, group in groupby(tests, lambda name: name.partition("::")[0])]
    return [test for module in (modules if process == 1 else modules[::-1]) for test in module]


def run(session: pytest.Session, share: Share) -> None:
    """Run what is claimed; the next test is claimed before one runs, whose fixtures it may keep."""
    items = {item.nodeid: item for item in session.items}
    share.collected.write_text("".join(f"{name}\n" for name in map(ascii, items)))
    mine = _claimed(items, share)
    item = next(mine, None)
    with share.done.open("w") as done:
        while item is not None:
            following = next(mine, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            done.write(f"{item.nodeid!a}\n")
            done.flush()
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following


def _claimed(items: Mapping[str, pytest.Item], share: Share) -> Iterator[pytest.Item]:
    for name in in_order(items, share.process):
        if claim(share.folder, name):
            yield items[name]
