"""A file that is being downloaded. It becomes the target only when it is complete."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Self


class Part:
    """A temporary file beside the target. Its name is unique, so two downloads never mix.

    Raises OSError. Leaving the context removes the file, unless it was published.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name[:50]}.{uuid.uuid4().hex}.part")
        self._file = self._path.open("xb")

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)

    def publish(self) -> None:
        """Replace the target by the file."""
        self._file.close()
        self._path.replace(self._target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
