"""Checks the H.264 packets of an MP4 without decoding them.

Every packet must be a whole number of NAL units, hold one frame, and use the parameter sets of
the header only. This finds holes and changed parameter sets anywhere in a video, at the cost of
reading it once. It also finds the units that are neither frames nor parameter sets: they can have
captions, a GPS position and any other data.
"""

from typing import Final, NamedTuple

from media_converter.probing.isobmff import ReadAt, Track

_SLICES: Final = (1, 5)
_PARAMETER_SETS: Final = (7, 8)
# Delimiters, ends and filler have no content.
_EMPTY: Final = (9, 10, 11, 12)
_FILLER: Final = 12
_PREFIX_BYTES: Final = 12
"""Enough of a slice for its first macroblock, its type and the number of its parameter set."""


class Inspection(NamedTuple):
    """``fault`` is what is wrong with the packets, in words; empty if nothing is.

    ``foreign`` are the offsets and sizes of the units with other data.
    """

    fault: str = ""
    foreign: tuple[tuple[int, int], ...] = ()


class Configuration(NamedTuple):
    """The content of avcC: the width of a length, and all parameter sets."""

    length_bytes: int
    parameter_sets: frozenset[bytes]
    picture_parameter_ids: frozenset[int]


def inspect(track: Track, read: ReadAt) -> Inspection:
    """Look at all packets of a track."""
    if len(track.entries) != 1:
        return Inspection("it has more than one configuration")
    configuration = _configuration(track.entries[0][1])
    if configuration is None or track.samples is None:
        return Inspection("its header has no parameter sets")
    sizes, offsets = track.samples
    if not sizes or len(sizes) != len(offsets):
        return Inspection("its index is incomplete")
    foreign: list[tuple[int, int]] = []
    for number, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
        units = _units(read(offset, size), size, configuration.length_bytes)
        found = units if isinstance(units, str) else _fault(units, configuration, number == 0)
        if isinstance(units, str) or found:
            return Inspection(f"packet {number + 1} of {len(sizes)} {found}")
        foreign += [
            (offset + unit.start, len(unit.data))
            for unit in units
            if unit.kind not in (*_SLICES, *_PARAMETER_SETS, *_EMPTY)
        ]
    return Inspection("", tuple(foreign))


def filler(size: int) -> bytes:
    """A unit of ``size`` bytes that says nothing, to put in the place of another one."""
    return bytes([_FILLER, *[0xFF] * (size - 2), 0x80]) if size > 1 else bytes([_FILLER])


class Unit(NamedTuple):
    """A NAL unit of a packet, and where it starts in it."""

    start: int
    data: bytes

    @property
    def kind(self) -> int:
        """The type of the unit, 0 to 31."""
        return self.data[0] & 31


def _units(packet: bytes, size: int, width: int) -> list[Unit] | str:
    """The units of a packet, or what is wrong with it."""
    if len(packet) != size:
        return "is outside of the file"
    units, place = [], 0
    while place < size:
        start = place + width
        place = start + int.from_bytes(packet[place:start], "big")
        if place == start or place > size or packet[start] & 0x80:
            return "is damaged"
        units.append(Unit(start, packet[start:place]))
    return units


def _configuration(entry: bytes) -> Configuration | None:
    at = entry.find(b"avcC")
    if at < 0:
        return None
    data = entry[at + 4 :]
    units: list[bytes] = []
    place = 5
    for mask in (0x1F, 0xFF):
        if place >= len(data):
            return None
        count = data[place] & mask
        place += 1
        for _ in range(count):
            length = int.from_bytes(data[place : place + 2], "big")
            units.append(data[place + 2 : place + 2 + length])
            place += 2 + length
    ids = frozenset(_golomb(unit[1:], 1)[0] for unit in units if unit and unit[0] & 31 == 8)
    # Zeros may follow a unit.
    sets = frozenset(unit.rstrip(b"\0") for unit in units)
    return Configuration((data[4] & 3) + 1, sets, ids)


def _fault(units: list[Unit], configuration: Configuration, first: bool) -> str:
    """What is wrong with the units of a packet. ``first`` says that it is the first packet."""
    frames = 0
    for unit in units:
        # A unit never has these three bytes, except at its end: they would look like a start code.
        if b"\0\0\0" in unit.data and b"\0\0\0" in unit.data.rstrip(b"\0"):
            return "is damaged"
        if (
            unit.kind in _PARAMETER_SETS
            and unit.data.rstrip(b"\0") not in configuration.parameter_sets
        ):
            return "changes the parameter sets"
        if unit.kind not in _SLICES:
            continue
        prefix = unit.data[1 : 1 + _PREFIX_BYTES].replace(b"\0\0\3", b"\0\0")
        first_macroblock, slice_type, parameter_id = _golomb(prefix, 3)
        if slice_type > 9 or parameter_id not in configuration.picture_parameter_ids:
            return "has a damaged slice"
        if first and unit.kind != 5:
            return "is not a keyframe"
        frames += first_macroblock == 0
    return "" if frames == 1 else f"has {frames} frames"


def _golomb(data: bytes, count: int) -> tuple[int, ...]:
    """The first unsigned Exp-Golomb numbers. A number that is not there is very large."""
    bits = int.from_bytes(data, "big")
    left = 8 * len(data)
    found: list[int] = []
    for _ in range(count):
        significant = (bits & ((1 << left) - 1)).bit_length()
        zeros = left - significant
        width = 2 * zeros + 1
        if not significant or width > left:
            return (*found, *[1 << 32] * (count - len(found)))
        left -= width
        found.append(((bits >> left) & ((1 << width) - 1)) - 1)
    return tuple(found)
