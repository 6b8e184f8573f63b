"""Finds out whether the clock of a transport or program stream starts again.

It does where recordings were joined. Then a time may be in two places of the file, and a search for
it finds either of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
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

Reading = tuple[int, int]
"""The number of a stream, and its clock in ticks."""


def restarts(read: ReadAt, size_bytes: int) -> bool:
    """Whether the clock goes back by more than a second. False for other formats.

    Looks at 64 places, so a short part may be missed.
    """
    times = list(_times(read, size_bytes))
    return any(_difference(a, b) < -_TICKS for a, b in pairwise(times))


def _difference(first: int, second: int) -> int:
    """Ticks from one to the other. The clock has 33 bits and begins again at 0."""
    return (second - first + _WRAP // 2) % _WRAP - _WRAP // 2


def _times(read: ReadAt, size_bytes: int) -> Iterator[int]:
    """A time at each place. If possible, it is always that of the same stream."""
    shape = transport.shape(read)
    if shape is None and read(0, 4) != _PACK:
        return
    stream = None
    for number in range(_PLACES):
        place = size_bytes * number // _PLACES
        found = _first(read, place, shape, stream)
        if found is not None:
            stream = found[0] if stream is None else stream
            yield found[1]


def _first(
    read: ReadAt, place: int, shape: tuple[int, int] | None, stream: int | None
) -> Reading | None:
    """The first time of ``stream`` behind a place. If it has none there, that of another one."""
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
            if stream is None or reading[0] == stream:
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
