"""Checks that the shared volume has free space."""

from __future__ import annotations

import os
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError

_LARGEST_RESERVE: Final = 64 << 20
_RESERVED_SHARE: Final = 0.01


def check_free_space(fd: int) -> None:
    """Raise ConversionError with the reason DiskFull if the volume of a file is almost full.

    A hundredth of the volume, at most 64 MiB, stays free for others. A file system that does not
    say how large it is, is not checked.
    """
    volume = os.fstatvfs(fd)
    total, free = volume.f_blocks * volume.f_frsize, volume.f_bavail * volume.f_frsize
    reserve = min(_LARGEST_RESERVE, total * _RESERVED_SHARE)
    if total and free < reserve:
        raise ConversionError(
            ExitReason.DISK_FULL,
            f"the shared volume has only {free >> 10} KiB free; free some space",
        )
