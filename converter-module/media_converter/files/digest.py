"""Computes the sha256 of a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Final

_CHUNK: Final = 1 << 20


def sha256(fd: int, check: Callable[[], None]) -> str:
    """The sha256 of a file, in hex. Calls ``check`` for each mebibyte; it raises to stop."""
    digest = hashlib.sha256()
    offset = 0
    while data := os.pread(fd, _CHUNK, offset):
        digest.update(data)
        offset += len(data)
        check()
    return digest.hexdigest()
