"""The inputs of the tests: each file is that of its recipe."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.converter.harness import Workspace
from tests.converter.kitchen import Kitchen
from tests.converter.pantry import Pantry


class Writer:
    """Runs no tool, and writes its arguments into the file that is the last one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[tuple[str, ...]] = []

    def run(self, argv: tuple[str, ...], **_options: Any) -> bytes:
        self.commands.append(argv)
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


def test_a_later_session_takes_what_an_earlier_one_has_made(tmp_path: Path) -> None:
    def session(number: int, image: str = "tools") -> tuple[Kitchen, list[tuple[str, ...]]]:
        root = tmp_path / str(number)
        root.mkdir()
        writer = Writer(root)
        pantry = Pantry(tmp_path / "pantry", image)
        return Kitchen(writer, Workspace(root), pantry), writer.commands  # type: ignore[arg-type]

    def cook(kitchen: Kitchen, content: bytes) -> bytes:
        source = kitchen.write("source", content)
        kitchen.ffmpeg("many", "-i", "media/%d.png")
        return kitchen.read(kitchen.ffmpeg("a", "-i", source))

    first, made = session(1)
    content = cook(first, b"x")
    assert len(made) == 2
    second, made = session(2)
    assert cook(second, b"x") == content
    assert [command[-2] for command in made] == ["media/%d.png"], "what it reads cannot be told"
    for number, (image, source) in enumerate((("tools", b"y"), ("other", b"x")), 3):
        kitchen, made = session(number, image)
        cook(kitchen, source)
        assert len(made) == 2


def test_what_a_forgotten_image_has_made_is_removed(tmp_path: Path) -> None:
    old, used = (Pantry(tmp_path, image).folder for image in ("old", "used"))
    for folder in (old, used):
        (folder / "file").write_text("x")
    os.utime(old, (0, 0))
    Pantry(tmp_path, "new")
    assert not old.exists()
    assert (used / "file").exists()
