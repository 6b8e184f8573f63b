"""How much of its input a running tool has read. The kernel knows it; ffmpeg does not tell it."""

from __future__ import annotations

import os
from contextlib import suppress


def read_until(pid: int, source: int) -> int | None:
    """The furthest position, in bytes, of the process ``pid`` in the file of the descriptor.

    None if nobody knows: the process has ended, or the kernel shows nothing of it. The tool opens
    the file once more, so the descriptor of ours does not move.
    """
    try:
        wanted = os.fstat(source)
        furthest = None
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            for each in descriptors:
                with suppress(OSError):  # it was closed meanwhile
                    found = each.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        position = _position(f"/proc/{pid}/fdinfo/{each.name}")
                        furthest = max(furthest or 0, position)
    except (OSError, ValueError):
        return None
    else:
        return furthest


def _position(path: str) -> int:
    """The first line is "pos:" and a number. Raises OSError, or ValueError for something else."""
    with open(path, encoding="ascii") as file:  # noqa: PTH123
        return int(file.readline().partition(":")[2])
