"""Finds holes in Ogg: pages that are not there, that are damaged or that come out of turn."""

from __future__ import annotations

import re
import zlib
from typing import Final

from media_converter.probing import chain
from media_converter.probing.chain import Hole
from media_converter.probing.isobmff import ReadAt

_MARK: Final = re.compile(rb"OggS\x00")
_HEAD_BYTES: Final = 27
_BEGIN: Final = 2
# Pages of headers have the position 0. Pages on which no packet ends have -1.
_NO_POSITION: Final = (bytes(8), b"\xff" * 8)
_ALL: Final = 0xFFFFFFFF
# zlib's checksum has the same polynomial, but takes the bits of a byte in the other order.
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def walk(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Check length, checksum and number of every page."""
    numbers: dict[bytes, int] = {}
    lost: list[Hole] = []
    pages = 0
    # Streams of which a page came since the last damaged one, where any number may follow.
    in_turn: set[bytes] = set()
    # Streams of which content came. A server of live streams sends the stored headers first, and
    # then the pages of the moment.
    begun: set[bytes] = set()

    def next_of(offset: int) -> int | None:
        nonlocal pages
        head = read(offset, _HEAD_BYTES)
        if head[:5] != b"OggS\0":
            in_turn.clear()
            return None
        if len(head) < _HEAD_BYTES:
            return size_bytes + 1
        lengths = read(offset + _HEAD_BYTES, head[26])
        end = offset + _HEAD_BYTES + head[26] + sum(lengths)
        if end > size_bytes or len(lengths) < head[26]:
            return max(end, size_bytes + 1)
        if not is_intact(read(offset, end - offset)):
            in_turn.clear()
            return None
        pages += 1
        number, serial = int.from_bytes(head[18:22], "little"), head[14:18]
        expected = numbers.get(serial, number)
        if head[5] & _BEGIN:
            begun.discard(serial)
        elif number > expected and serial in in_turn and serial in begun:
            gap = Hole(offset, offset, (number - expected) * offset // pages)
            chain.add(lost, gap, size_bytes)
        numbers[serial] = number + 1
        in_turn.add(serial)
        if head[6:14] not in _NO_POSITION:
            begun.add(serial)
        return end

    resync = chain.search(read, size_bytes, _MARK, lambda _: True)
    found = chain.collect(chain.walk(size_bytes, 0, next_of, resync), size_bytes)
    return chain.collect(sorted([*found, *lost]), size_bytes)


def is_intact(page: bytes) -> bool:
    """Whether the checksum of a page is right."""
    return checksum(page) == int.from_bytes(page[22:26], "little")


def checksum(page: bytes) -> int:
    """The checksum that a page must have."""
    content = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    reflected = zlib.crc32(content, _ALL) ^ _ALL
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")
