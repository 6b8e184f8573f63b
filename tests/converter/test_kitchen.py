"""The inputs of the tests: each file is that of its recipe."""

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


def test_a_file_is_always_that_of_its_recipe(small: Kitchen) -> None:
    def copy(source: str) -> str:
        return small.make("a", lambda out: small.run("cp", source, out))

    recipes: tuple[Callable[[], str], ...] = (
        lambda: small.ffmpeg("a", "-i", "x"),
        lambda: small.ffmpeg("a", "-i", "y"),
        lambda: small.vips("a", "copy", "x"),
        lambda: small.vips("a", "copy", "x", save="[Q=2]"),
        lambda: copy("x"),
        lambda: copy("y"),
        lambda: small.make("a", lambda out: small.run("mv", "x", out)),
        lambda: small.write("a", b"x"),
        lambda: small.write("a", b"y"),
    )
    made = [small.read(recipe()) for recipe in recipes]
    assert len(set(made)) == len(recipes)
    for recipe, content in zip(recipes, made, strict=True):
        assert small.read(recipe()) == content


def test_a_file_is_made_once(small: Kitchen) -> None:
    path = small.path(small.ffmpeg("a", "-i", "x"))
    path.write_text("made before")
    small.ffmpeg("a", "-i", "x")
    assert path.read_text() == "made before"
