"""Finds holes in MPEG transport streams, by the marks and the numbers of their packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from media_converter.probing import chain
from media_converter.probing.chain import Hole
from media_converter.probing.isobmff import ReadAt

PACKET_SIZES: Final = (188, 192, 204)
_SYNC: Final = 0x47
_MIN_PACKETS_PER_BLOCK: Final = 32
_MAX_PACKETS_PER_BLOCK: Final = 4096
_IN_STEP: Final = 3
_NULL: Final = 0x1FFF
_POLYNOMIAL: Final = 0x104C11DB7
_FIRST_MEDIA: Final = 32


def shape(read: ReadAt) -> tuple[int, int] | None:
    """The size of a packet and the offset of the first one. None if it is another format."""
    head = read(0, 5 * max(PACKET_SIZES))
    for size in PACKET_SIZES:
        first = size - 188 if size == 192 else 0
        if len(head) >= 3 * size and all(head[first + i * size] == _SYNC for i in range(3)):
            return size, first
    return None


def has_valid_checksum(section: bytes) -> bool:
    """Whether a section of a table ends with its CRC-32 (MPEG-2)."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (_POLYNOMIAL if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    return crc == 0


def walk(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Check the mark and the counter of every packet."""
    found = shape(read)
    return chain.collect(_holes(read, size_bytes, *found), size_bytes) if found else []


def _holes(read: ReadAt, size_bytes: int, packet: int, offset: int) -> Iterator[Hole]:
    counters = _Counters(packet)
    # Holes are often near each other, so the first blocks behind one are small.
    block = _MIN_PACKETS_PER_BLOCK
    while offset < size_bytes:
        data = read(offset, packet * block)
        marks = data[::packet]
        good = len(marks) - len(marks.lstrip(b"\x47"))
        yield from counters.check(data[: good * packet], offset)
        offset += good * packet
        block = min(2 * block, _MAX_PACKETS_PER_BLOCK)
        if good < len(marks):
            again = _resync(read, size_bytes, offset + 1, packet)
            if again < size_bytes or size_bytes - offset > packet:
                yield Hole(offset, again)
            # The counters behind a hole say nothing new.
            counters.forget()
            offset = again
            block = _MIN_PACKETS_PER_BLOCK


def _resync(read: ReadAt, size_bytes: int, offset: int, packet: int) -> int:
    """Where three packets follow each other again."""
    block = _MIN_PACKETS_PER_BLOCK
    while offset < size_bytes:
        data = read(offset, packet * block)
        at = data.find(b"\x47")
        while at >= 0 and at + (_IN_STEP - 1) * packet < len(data):
            if all(data[at + i * packet] == _SYNC for i in range(_IN_STEP)):
                return offset + at
            at = data.find(b"\x47", at + 1)
        if len(data) < packet * block:
            break
        offset += len(data) - _IN_STEP * packet
        block = min(2 * block, _MAX_PACKETS_PER_BLOCK)
    return size_bytes


class _Counters:
    """Follows the counter of each stream, which every packet with content increases."""

    def __init__(self, packet: int) -> None:
        self._packet = packet
        self._last: dict[int, int] = {}
        # Streams of which a packet came since the last table of programs.
        self._since_table: set[int] = set()

    def forget(self) -> None:
        """Accept any number next."""
        self._last.clear()

    def check(self, data: bytes, offset: int) -> list[Hole]:
        """The holes in a block of packets with intact marks."""
        step, last, holes = self._packet, self._last, []
        columns = (data[column::step] for column in (1, 2, 3, 4, 5))
        for number, (high, low, flags, length, field) in enumerate(zip(*columns, strict=False)):
            pid = (high & 0x1F) << 8 | low
            if pid == 0:
                self._since_table.clear()
            if pid < _FIRST_MEDIA or pid == _NULL:
                continue
            announced = flags & 0x20 and length and field & 0x80
            if not flags & 0x10:
                # A packet without content may announce that the next number is another one.
                if announced:
                    last.pop(pid, None)
                continue
            at = offset + number * step
            counter = flags & 15
            before = last.get(pid)
            last[pid] = counter
            is_joint = high & 0x40 and pid not in self._since_table
            self._since_table.add(pid)
            if high & 0x80:
                holes.append(Hole(at, at + step))
            elif before is None or counter in (before, (before + 1) & 15):
                continue
            # Where two recordings were joined, the tables come first and each stream starts again.
            elif not announced:
                lost = 0 if is_joint else counter - before - 1 & 15
                holes.append(Hole(at, at, lost * step))
        return holes
