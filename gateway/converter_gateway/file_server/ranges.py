"""Which bytes of a file a request is for."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_RANGE: Final = re.compile("bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


class Part(NamedTuple):
    """The bytes from ``start`` on, up to and without ``end``."""

    start: int
    end: int


def is_range(text: str) -> bool:
    """Whether the text is a header Range with one range of bytes. Others are ignored."""
    found = _RANGE.fullmatch(text)
    return found is not None and any(found.groups())


def part_of(text: str, size: int) -> Part | None:
    """The part that a valid header Range names, of a file of ``size`` bytes. None: it has none."""
    found = _RANGE.fullmatch(text)
    if found is None or not any(found.groups()):
        return Part(0, size)
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    return Part(start, end) if start < end else None
