"""Makes the inputs: small files of every kind, each made once per session, in media/.

What one command makes is kept for later sessions, and for other processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import CodeType

from tests.converter.containers import Agent
from tests.converter.harness import UID, Workspace
from tests.converter.pantry import Pantry

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac")
OUT = "{out}"
"""Stands for the file to make in the arguments of a command."""


def video(size: str = "320x180", rate: float = 25, seconds: float = 3) -> tuple[str, ...]:
    """Arguments for a test video as the next input."""
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}")


def colour(
    name: str, size: str = "320x180", rate: float = 25, seconds: float = 2
) -> tuple[str, ...]:
    """Arguments for a video of one colour as the next input."""
    return ("-f", "lavfi", "-i", f"color={name}:s={size}:r={rate}:d={seconds}")


def tone(hertz: int = 440, seconds: float = 3, rate: int = 48000) -> tuple[str, ...]:
    """Arguments for a mono tone as the next input."""
    return ("-f", "lavfi", "-i", f"sine=f={hertz}:r={rate}:d={seconds}")


def identity(recipe: object) -> object:
    """What makes two recipes the same: their code, and the values that it uses."""
    code = getattr(recipe, "__code__", None)
    if code is None:
        return recipe
    cells = getattr(recipe, "__closure__", None) or ()
    values = tuple(identity(cell.cell_contents) for cell in cells)
    constants = tuple(
        each.co_code if isinstance(each, CodeType) else each for each in code.co_consts
    )
    return code.co_code, code.co_names, constants, values


class Kitchen:
    """Inputs by name. Every method returns the path from the volume's root, ``media/NAME``."""

    def __init__(self, agent: Agent, workspace: Workspace, pantry: Pantry | None = None) -> None:
        self.agent = agent
        self.workspace = workspace
        self.pantry = pantry
        self._recipes: dict[str, object] = {}

    def path(self, name: str) -> Path:
        return self.workspace.path(name)

    def read(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def make(self, name: str, recipe: Callable[[str], object], key: object = None) -> str:
        """The file of that name. Calls the recipe if it does not exist, or is of another recipe.

        The recipe gets the path to write as the container sees it. ``key`` stands for the recipe.
        """
        place = f"media/{name}"
        path = self.path(place)
        self._forget_other(name, identity(recipe) if key is None else key)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.chown(path.parent, UID, UID)
            recipe(f"/workspace/{place}")
            assert path.stat().st_size, f"the recipe for {name} made an empty file"
        return place

    def ffmpeg(self, name: str, *arguments: str) -> str:
        """Make a file with ffmpeg. The arguments name other inputs as media/…"""
        return self.by(name, "ffmpeg", *FFMPEG, *arguments)

    def vips(
        self, name: str, operation: str, *arguments: str, save: str = "", limit: float = 120
    ) -> str:
        """Make a file with one vips operation. The output becomes its last argument.

        Arguments after ``--`` follow the output.
        """
        head = arguments
        tail: tuple[str, ...] = ()
        if "--" in arguments:
            cut = arguments.index("--")
            head, tail = arguments[:cut], arguments[cut + 1 :]
        return self.by(name, "vips", operation, *head, OUT + save, *tail, limit=limit)

    def by(self, name: str, *command: str, limit: float = 120) -> str:
        """Make a file with a command that reads and writes no other files than it names.

        ``OUT`` among its arguments stands for the file. Without it, the file is the last argument.
        """
        command = command if any(OUT in word for word in command) else (*command, OUT)

        def recipe(out: str) -> None:
            path = self.workspace.path(out.removeprefix("/workspace/"))
            kept = self.pantry.key(name, command, self.workspace.root) if self.pantry else None
            if self.pantry and kept and self.pantry.take(kept, path):
                os.chown(path, UID, UID)
                return
            self.run(*(word.replace(OUT, out) for word in command), limit=limit)
            if self.pantry and kept:
                self.pantry.put(kept, path)

        return self.make(name, recipe, command)

    def write(self, name: str, content: bytes) -> str:
        """Make a file with this content. Another content replaces it."""
        place = f"media/{name}"
        path = self.path(place)
        self._forget_other(name, "written")
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.chown(path, UID, UID)
        return place

    def edit(self, name: str, source: str, change: Callable[[bytes], bytes]) -> str:
        """Make a changed copy of another file. The change must have an effect."""
        before = self.read(source)
        after = change(before)
        assert after != before, f"the recipe for {name} changed nothing"
        return self.write(name, after)

    def _forget_other(self, name: str, recipe: object) -> None:
        """Remove the file if another recipe made it. Which tests share a process is random."""
        if self._recipes.setdefault(name, recipe) != recipe:
            self._recipes[name] = recipe
            self.path(f"media/{name}").unlink(missing_ok=True)

    def run(self, *argv: str, limit: float = 120) -> bytes:
        return self.agent.run(argv, cwd="/workspace", limit=limit)

    def base(self) -> str:
        """The plain good video: 320x180, 25 frames per second, 3 s, H.264 and a 440 Hz tone."""
        return self.ffmpeg("base.mp4", *video(), *tone(), *X264, *AAC)


FFMPEG = ("-nostdin", "-y", "-v", "error")
