"""Keeps inputs between sessions: to make them takes a quarter of the suite's time.

A file is kept under the hash of its recipe: the image of tools, the command, and the content of the
files that it reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 << 20
"""Larger files are not kept."""
PLACES: Final = ("media/", "out/", "/workspace", "/tmp/")  # noqa: S108 - in the container
"""An argument with one of these names a file, or many."""
KEPT_SECONDS: Final = 30 * 86_400
"""How long files of another image of tools are kept."""


def default_folder() -> Path:
    """Where the scripts in hack/ keep builds and downloads, too."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mynetwork-converter" / "inputs"


class Pantry:
    """The inputs that one image of tools has made."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder / hashlib.sha256(image.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        for other in folder.iterdir():
            # Another process may remove it at the same time.
            with contextlib.suppress(FileNotFoundError):
                if other.stat().st_mtime < time.time() - KEPT_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)

    def key(self, name: str, command: Sequence[str], volume: Path) -> str | None:
        """The hash of a recipe. None if what it reads cannot be told from its arguments."""
        described: list[str | list[str]] = [name]
        for argument in command:
            if not any(place in argument for place in PLACES):
                described.append(argument)
                continue
            path = volume / argument.removeprefix("/workspace/")
            # Other files have paths of their own inside, or the argument is a pattern of many.
            if not path.is_file() or path.suffix in {".txt", ".m3u8", ".mpd"}:
                return None
            with path.open("rb") as file:
                described.append(["file", hashlib.file_digest(file, "sha256").hexdigest()])
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def take(self, key: str, path: Path) -> bool:
        """Copy a kept file to ``path``. False if there is none."""
        try:
            shutil.copyfile(self.folder / key, path)
        except FileNotFoundError:
            return False
        return True

    def put(self, key: str, path: Path) -> None:
        """Keep a copy of a file."""
        if path.stat().st_size > MAX_BYTES:
            return
        new = self.folder / f".{uuid.uuid4().hex}"
        shutil.copyfile(path, new)
        new.replace(self.folder / key)
