"""Reads the structure of a JPEG: its segments, its end, and whether more images follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from media_converter.files.structure import ReadAt

SCAN: Final = 0xDA
START_OF_FRAME: Final = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xF7)
_START: Final = b"\xff\xd8\xff"
_END: Final = b"\xff\xd9"
_APP2: Final = 0xE2
_MAX_SEGMENTS: Final = 2000
_BLOCK: Final = 1 << 20
_MAX_FRAME_BYTES: Final = 64 << 20
_MAX_PADDING: Final = 64


def segments(read: ReadAt, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """Marker, offset and length of the body of each segment up to the first scan."""
    at = start + 2
    for _ in range(_MAX_SEGMENTS):
        head = read(at, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return
        if head[1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(head[2:], "big")
        yield head[1], at + 4, length - 2
        if head[1] == SCAN or length < 2:
            return
        at += 2 + length


def missing_end(read: ReadAt, size_bytes: int) -> bytes:
    """The part of the end mark that a JPEG lacks. Nothing for other files and if it has the mark.

    Some cameras and programs leave the mark out.
    """
    if read(0, 3) != _START or size_bytes < 4:
        return b""
    tail = read(size_bytes - 2, 2)
    if tail == _END:
        return b""
    return _END[1:] if tail[1:] == _END[:1] else _END


def is_motion_jpeg(read: ReadAt) -> bool:
    """Whether the file is a video: frames of the same size, one after the other.

    A photo can have a second image too, but then it says so, or the size is another one.
    """
    if read(0, 3) != _START:
        return False
    scan_at, size = 0, b""
    for marker, at, length in segments(read):
        if marker == _APP2 and read(at, 4) == b"MPF\0":
            return False
        if marker in START_OF_FRAME:
            size = read(at + 1, 4)
        if marker == SCAN:
            scan_at = at + length
    next_at = _next_image(read, scan_at) if scan_at and size else None
    if next_at is None:
        return False
    sizes = (
        read(at + 1, 4) for marker, at, _ in segments(read, next_at) if marker in START_OF_FRAME
    )
    return next(sizes, b"") == size


def _next_image(read: ReadAt, start: int) -> int | None:
    """Where the next image starts, after the end mark of the first one."""
    at = start
    while at < start + _MAX_FRAME_BYTES:
        block = read(at, _BLOCK)
        found = block.find(_END)
        if found >= 0:
            end = at + found + 2
            following = read(end, _MAX_PADDING)
            place = following.find(_START)
            return end + place if place >= 0 and not following[:place].strip(b"\0\xff") else None
        if len(block) < _BLOCK:
            return None
        at += len(block) - 1
    return None
