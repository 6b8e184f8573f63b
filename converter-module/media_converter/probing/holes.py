"""Finds the bytes of a file that its structure does not explain, without decoding anything.

A demuxer skips what it cannot read and says nothing about it: the frames of a damaged stretch
are simply not there, and neither are those behind the end of a file that was cut. The elements of
a file form a chain, because each one names its length or its number. Where the chain breaks,
something is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from media_converter.files import structure
from media_converter.probing import containers, fragments, frames, ogg, transport
from media_converter.probing.chain import Hole, Window
from media_converter.probing.isobmff import ReadAt

_Walk = Callable[[ReadAt, int], list[Hole]]

_BY_MAGIC: Final[tuple[tuple[bytes, _Walk], ...]] = (
    (b"\x1a\x45\xdf\xa3", containers.matroska),
    (b"FLV", containers.flv),
    (b"OggS", ogg.walk),
    (b"\x00\x00\x01\xba", containers.program_stream),
    (b"\x30\x26\xb2\x75", containers.asf),
    (b"ID3", frames.walk),
    (b"\xff", frames.walk),
    (b"\x0b\x77", frames.walk),
)
# Lists of chunks and tables say more than their elements, so these are always walked to the end.
_WITH_TABLES: Final[tuple[_Walk, ...]] = (fragments.walk, containers.avi)
# A hole before the last packet may end behind it.
_MARGIN_BYTES: Final = 1 << 20
# A file may end with bytes that belong to nothing.
_MAX_TRAILING_BYTES: Final = 65_536


def find(read: ReadAt, size_bytes: int, until: int | None = None) -> tuple[Hole, ...]:
    """The holes of a file, in order. Empty for formats that are not looked at.

    Reads the whole file if it is a transport stream or Ogg, otherwise only the heads of elements.
    Holes that start behind the offset ``until`` may be left out, so that a range of a long file
    costs no more than what comes before its end.
    """
    walk = _walk(read)
    end = size_bytes
    if until is not None and walk not in _WITH_TABLES and until + _MARGIN_BYTES < size_bytes:
        end = until + _MARGIN_BYTES
    found = walk(Window(read).read, end) if walk else []
    if end < size_bytes:
        # The element where the walk ended seems to be cut.
        found = [hole for hole in found if hole.start < end]
    return tuple(hole for hole in found if not _is_trailing(hole, size_bytes))


def can_miss_bytes(read: ReadAt) -> bool:
    """Whether the walk of a file can show that its end is missing.

    A transport stream is a row of short packets. None of them promises another.
    """
    return _walk(read) not in (None, transport.walk)


def missing_bytes(holes: tuple[Hole, ...], size_bytes: int) -> int:
    """How many bytes the structure promises beyond the end of the file."""
    return max((0, *(hole.end - size_bytes for hole in holes)))


def _walk(read: ReadAt) -> _Walk | None:
    head = read(0, 12)
    if structure.is_mp4(head):
        return fragments.walk
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return containers.avi
    for magic, walk in _BY_MAGIC:
        if head.startswith(magic):
            return walk
    return transport.walk if transport.shape(read) else None


def _is_trailing(hole: Hole, size_bytes: int) -> bool:
    return hole.end == size_bytes and 0 < hole.size <= _MAX_TRAILING_BYTES and not hole.lost_bytes
