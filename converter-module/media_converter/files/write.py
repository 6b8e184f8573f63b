"""Writes all of a text. A volume may take less of it at once."""

from __future__ import annotations

import os


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data`` at the position of ``fd``. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
