"""Builds the ICC profile for colours that a file describes in another way.

libvips converts colours only by ICC profiles. So the converter writes the profile that says what
the tags of the file say.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Final

from media_converter.files.colour_tags import Chromaticities, ColourTags

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

_D65: Final = (0.3127, 0.3290)
_SRGB: Final[Chromaticities] = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_BT2020: Final[Chromaticities] = (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
# By the code points of H.273. BT.709 and unknown code points are those of sRGB.
_PRIMARIES: Final[dict[int, Chromaticities]] = {
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: _BT2020,
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
# The exponent of transfers that are a power. Like browsers, show the transfers of BT.709, BT.601
# and BT.2020, which differ little from sRGB, as sRGB.
_POWERS: Final = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_PQ: Final = 16
_HLG: Final = 18
_SRGB_GAMMA: Final = 2.2
# A gamma or a chromaticity this close to sRGB is meant to be sRGB.
_GAMMA_TOLERANCE: Final = 0.03
_CHROMATICITY_TOLERANCE: Final = 0.002
_GAMMAS: Final = (0.2, 5.0)
_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final[Matrix] = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)
_CURVE_POINTS: Final = 4096
_GRID: Final = 17
# What the filters for video use: 100 nits are white, and tone mapping expects ten times as much.
_PQ_WHITES: Final = 100.0
_HLG_WHITES: Final = 10.0
_PEAK: Final = 10.0
_LOW, _HIGH = 16 / 255, 235 / 255


def profile_for(tags: ColourTags | None, *, grey: bool) -> bytes | None:
    """The ICC profile of an image with these tags. None if its colours are sRGB.

    ``grey`` says that the image has no colours.
    """
    if tags is None:
        return None
    primaries = tags.chromaticities or _PRIMARIES.get(tags.primaries or 0, _SRGB)
    if not _is_possible(primaries) or _is_near(primaries, _SRGB):
        primaries = _SRGB
    if tags.transfer in (_PQ, _HLG):
        return _hdr_grey_profile(tags) if grey else _hdr_profile(primaries, tags)
    power = _POWERS.get(tags.transfer or 0) if tags.gamma is None else tags.gamma
    if power and (abs(power - _SRGB_GAMMA) < _GAMMA_TOLERANCE or not _is_gamma(power)):
        power = None
    if power is None and tags.full_range and (grey or primaries == _SRGB):
        return None

    def light(sample: float) -> float:
        value = _full_range(sample, tags)
        return _srgb_light(value) if power is None else value**power

    if grey:
        return _grey_profile(light)
    curve = _curve(light)
    red, green, blue = zip(*_to_d50(primaries), strict=True)
    tag_data = {b"wtpt": _xyz(_D50), b"rXYZ": _xyz(red), b"gXYZ": _xyz(green), b"bXYZ": _xyz(blue)}
    return _profile(b"RGB ", b"XYZ ", tag_data | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def float_grey_profile(*, linear: bool) -> bytes:
    """The ICC profile of a grey image that had floating-point samples: linear light or sRGB."""
    return _grey_profile(float if linear else _srgb_light)


def _grey_profile(light: Callable[[float], float]) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(_D50), b"kTRC": _curve(light)})


def _is_gamma(power: float) -> bool:
    return _GAMMAS[0] <= power <= _GAMMAS[1]


def _is_near(some: Chromaticities, other: Chromaticities) -> bool:
    return all(abs(a - b) < _CHROMATICITY_TOLERANCE for a, b in zip(some, other, strict=True))


def _is_possible(primaries: Chromaticities) -> bool:
    """Whether the primaries are a triangle with white inside. Others are nonsense."""
    if not all(0 <= value <= 1 for value in primaries) or min(primaries[1::2]) < 0.001:
        return False
    white, *corners = [(primaries[at], primaries[at + 1]) for at in range(0, 8, 2)]
    sides = [
        (b[0] - a[0]) * (white[1] - a[1]) - (b[1] - a[1]) * (white[0] - a[0])
        for a, b in zip(corners, (*corners[1:], corners[0]), strict=True)
    ]
    return min(sides) > 0.0001 or max(sides) < -0.0001


def _full_range(sample: float, tags: ColourTags) -> float:
    if tags.full_range:
        return sample
    return min(1.0, max(0.0, (sample - _LOW) / (_HIGH - _LOW)))


def _srgb_light(sample: float) -> float:
    return sample / 12.92 if sample <= 0.04045 else ((sample + 0.055) / 1.055) ** 2.4


def _hdr_profile(primaries: Chromaticities, tags: ColourTags) -> bytes:
    """A profile with a table that also brings high dynamic range down, as the video filters do."""
    levels = [_hdr_light(step / (_GRID - 1), tags) for step in range(_GRID)]
    to_srgb = _multiply(_inverse(_to_xyz(_SRGB)), _to_xyz(primaries))
    to_pcs = _to_d50(_SRGB)
    table = bytearray()
    for red in levels:
        for green in levels:
            for blue in levels:
                shown = _tone_map(_apply(to_srgb, (red, green, blue)))
                table += struct.pack(">3H", *_lab16(_apply(to_pcs, shown)))
    lut = b"mft2" + bytes(4) + bytes((3, 3, _GRID, 0))
    lut += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += struct.pack(">HH", 2, 2) + struct.pack(">2H", 0, 65535) * 3
    lut += table + struct.pack(">2H", 0, 65535) * 3
    return _profile(b"RGB ", b"Lab ", {b"wtpt": _xyz(_D50), b"A2B0": bytes(lut)})


def _hdr_grey_profile(tags: ColourTags) -> bytes:
    def light(sample: float) -> float:
        level = _hdr_light(sample, tags)
        return _tone_map((level, level, level))[0]

    return _grey_profile(light)


def _hdr_light(sample: float, tags: ColourTags) -> float:
    """Multiples of 100 nits."""
    value = _full_range(sample, tags)
    return _pq_light(value) if tags.transfer == _PQ else _hlg_light(value)


def _pq_light(sample: float) -> float:
    """SMPTE ST 2084: multiples of 100 nits."""
    power = math.pow(sample, 1 / 78.84375)
    ratio = max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)
    return _PQ_WHITES * math.pow(ratio, 1 / 0.1593017578125)


def _hlg_light(sample: float) -> float:
    """ARIB STD-B67 on a display of 1000 nits, as zimg has it: multiples of 100 nits."""
    if sample <= 0.5:
        scene = sample * sample / 3
    else:
        scene = (math.exp((sample - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return _HLG_WHITES * math.pow(scene, 1.2)


def _tone_map(rgb: Vector) -> Vector:
    """Light as an SDR display shows it, as ffmpeg's tonemap=hable:desat=0 and a BT.709 video."""
    brightest = max(*rgb, 1e-6)
    gain = _hable(brightest) / _hable(_PEAK) / brightest
    red, green, blue = (_srgb_light(min(1.0, max(0.0, value * gain)) ** (1 / 2.4)) for value in rgb)
    return red, green, blue


def _hable(light: float) -> float:
    return (light * (0.15 * light + 0.05) + 0.004) / (
        light * (0.15 * light + 0.5) + 0.06
    ) - 0.02 / 0.3


def _lab16(xyz: Vector) -> tuple[int, int, int]:
    """The encoding of CIE Lab in a profile's table."""
    x, y, z = (
        ratio ** (1 / 3) if ratio > 0.008856 else 7.787 * ratio + 16 / 116
        for ratio in (max(0.0, value / white) for value, white in zip(xyz, _D50, strict=True))
    )
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    encoded = (lightness * 652.8, (a + 128) * 256, (b + 128) * 256)
    first, second, third = (min(65535, max(0, round(value))) for value in encoded)
    return first, second, third


def _curve(light: Callable[[float], float]) -> bytes:
    values = (light(step / (_CURVE_POINTS - 1)) for step in range(_CURVE_POINTS))
    points = [min(65535, max(0, round(65535 * value))) for value in values]
    return b"curv" + struct.pack(f">II{_CURVE_POINTS}H", 0, _CURVE_POINTS, *points)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _profile(space: bytes, connection_space: bytes, tag_data: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2.4, for a display."""
    at = 128 + 4 + 12 * len(tag_data)
    table, bodies = struct.pack(">I", len(tag_data)), b""
    for name, body in tag_data.items():
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    header = struct.pack(">I4sI", at + len(bodies), bytes(4), 0x02400000)
    header += b"mntr" + space + connection_space + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", *(round(65536 * value) for value in _D50))
    return header.ljust(128, b"\0") + table + bodies


def _to_d50(primaries: Chromaticities) -> Matrix:
    """The matrix from linear RGB to XYZ, adapted from its white to D50, as Bradford did."""
    white = _xyz_of(primaries[0], primaries[1])
    source, target = _apply(_BRADFORD, white), _apply(_BRADFORD, _D50)
    x, y, z = (b / a for a, b in zip(source, target, strict=True))
    scale: Matrix = ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, z))
    adapt = _multiply(_inverse(_BRADFORD), _multiply(scale, _BRADFORD))
    return _multiply(adapt, _to_xyz(primaries))


def _to_xyz(primaries: Chromaticities) -> Matrix:
    """The matrix from linear RGB to XYZ."""
    white_x, white_y, *corners = primaries
    columns = [_xyz_of(corners[at], corners[at + 1]) for at in (0, 2, 4)]
    rows = _rows(*zip(*columns, strict=True))
    strengths = _apply(_inverse(rows), _xyz_of(white_x, white_y))
    return _rows(*((r * strengths[0], g * strengths[1], b * strengths[2]) for r, g, b in rows))


def _xyz_of(x: float, y: float) -> Vector:
    return x / y, 1.0, (1 - x - y) / y


def _rows(*rows: tuple[float, ...]) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return (a, b, c), (d, e, f), (g, h, i)


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _apply(matrix: Matrix, vector: Vector) -> Vector:
    return _dot(matrix[0], vector), _dot(matrix[1], vector), _dot(matrix[2], vector)


def _multiply(left: Matrix, right: Matrix) -> Matrix:
    columns = _rows(*zip(*right, strict=True))
    return _rows(*(_apply(columns, row) for row in left))


def _inverse(m: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = m
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return (
        ((e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det),
        ((f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det),
        ((d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det),
    )
