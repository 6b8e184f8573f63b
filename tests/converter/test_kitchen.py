"""The inputs of the tests: a name stands for one recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.converter.harness import Workspace
from tests.converter.kitchen import Kitchen


class Writer:
    """Runs no tool, and writes its arguments into the file that is the last one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, argv: tuple[str, ...], **_options: Any) -> bytes:
        (self.root / argv[-1].removeprefix("/workspace/").partition("[")[0]).write_text(
            " ".join(argv)
        )
        return b""


@pytest.fixture
def small(tmp_path: Path) -> Kitchen:
    return Kitchen(Writer(tmp_path), Workspace(tmp_path))  # type: ignore[arg-type]


def test_two_recipes_never_share_a_name(small: Kitchen) -> None:
    def copy(source: str) -> str:
        return small.make("c", lambda out: small.run("cp", source, out))

    assert small.ffmpeg("a", "-i", "x") == small.ffmpeg("a", "-i", "x") == "media/a"
    assert small.vips("b", "copy", "x", save="[Q=1]") == "media/b"
    assert copy("x") == copy("x") == "media/c"
    assert small.write("d", b"x") == small.write("d", b"y") == "media/d"
    others: tuple[Callable[[], str], ...] = (
        lambda: small.ffmpeg("a", "-i", "y"),
        lambda: small.vips("a", "copy", "x"),
        lambda: small.vips("b", "copy", "x", save="[Q=2]"),
        lambda: copy("y"),
        lambda: small.make("c", lambda out: small.run("mv", "x", out)),
        lambda: small.write("a", b"x"),
        lambda: small.ffmpeg("d"),
    )
    for again in others:
        with pytest.raises(AssertionError, match="two recipes have the name"):
            again()
