"""Finds out whether the clock of a transport or program stream starts again.

It does where recordings were joined. Then a time may be in two places of the file, and a search for
it finds either of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from media_converter.probing import transport
from media_converter.probing.isobmff import ReadAt

_PLACES: Final = 64
_CHUNK_BYTES: Final = 64 * 1024
_MAX_CHUNKS: Final = 8
_TICKS: Final = 90_000
_WRAP: Final = 1 << 33
_PACK: Final = b"\0\0\1\xba"
_PACKET: Final = b"\0\0\1"
_FIRST_MEDIA: Final = 32
_ENOUGH_PLACES: Final = 3
"""So many places must agree that streams have new numbers."""

Reading = tuple[int, int]
"""The number of a stream, and its clock in ticks."""


def restarts(read: ReadAt, size_bytes: int) -> bool:
    """Whether the clock goes back by more than a second. False for other formats.

    Looks at 64 places, so a short part may be missed. The programs of a broadcast have clocks of
    their own, so only times of the same stream are compared, or of streams that take the place of
    others for good.
    """
    readings = list(_readings(read, size_bytes))
    last: dict[int, int] = {}
    for at, (stream, time) in enumerate(readings):
        before = last.get(stream)
        if before is None and _is_renumbered(readings, at):
            before = readings[at - 1][1]
        if before is not None and _difference(before, time) < -_TICKS:
            return True
        last[stream] = time
    return False


def _is_renumbered(readings: list[Reading], at: int) -> bool:
    """Whether the streams have other numbers from a place on, as in the next recording."""
    earlier = {stream for stream, _ in readings[:at]}
    later = [stream for stream, _ in readings[at:]]
    return at > 0 and len(later) >= _ENOUGH_PLACES and earlier.isdisjoint(later)


def _difference(first: int, second: int) -> int:
    """Ticks from one to the other. The clock has 33 bits and begins again at 0."""
    return (second - first + _WRAP // 2) % _WRAP - _WRAP // 2


def _readings(read: ReadAt, size_bytes: int) -> Iterator[Reading]:
    """A time at each place. If possible, it is that of a stream of an earlier place."""
    shape = transport.shape(read)
    if shape is None and read(0, 4) != _PACK:
        return
    known: set[int] = set()
    for number in range(_PLACES):
        found = _first(read, size_bytes * number // _PLACES, shape, known)
        if found is not None:
            known.add(found[0])
            yield found


def _first(
    read: ReadAt, place: int, shape: tuple[int, int] | None, known: set[int]
) -> Reading | None:
    """The first time of a known stream behind a place. If there is none, that of another one."""
    other = None
    for number in range(_MAX_CHUNKS):
        at = place + number * _CHUNK_BYTES
        if shape is None:
            found = _of_packs(read(at, _CHUNK_BYTES))
        else:
            size, first = shape
            at -= at % size
            found = _of_packets(read(at, _CHUNK_BYTES), size, first)
        for reading in found:
            if not known or reading[0] in known:
                return reading
            other = other or reading
    return other


def _of_packs(data: bytes) -> Iterator[Reading]:
    at = data.find(_PACK)
    while 0 <= at <= len(data) - 10:
        if data[at + 4] & 0xC0 == 0x40:
            bits = int.from_bytes(data[at + 4 : at + 10], "big")
            yield 0, (bits >> 43 & 7) << 30 | (bits >> 27 & 0x7FFF) << 15 | bits >> 11 & 0x7FFF
        elif data[at + 4] & 0xF0 == 0x20:
            yield 0, _time(data[at + 4 : at + 9])
        at = data.find(_PACK, at + 4)


def _of_packets(data: bytes, size: int, first: int) -> Iterator[Reading]:
    for at in range(first, len(data) - 187, size):
        pid = int.from_bytes(data[at + 1 : at + 3], "big")
        # The flag says that a unit starts in this packet.
        if data[at] != 0x47 or not pid & 0x4000 or pid & 0x1FFF < _FIRST_MEDIA:
            continue
        start = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        unit = data[start : min(start + 14, at + 188)]
        if len(unit) == 14 and unit[:3] == _PACKET and unit[7] & 0x80:
            yield pid & 0x1FFF, _time(unit[9:14])


def _time(data: bytes) -> int:
    """A time of 33 bits in five bytes."""
    bits = int.from_bytes(data, "big")
    return (bits >> 33 & 7) << 30 | (bits >> 17 & 0x7FFF) << 15 | bits >> 1 & 0x7FFF
