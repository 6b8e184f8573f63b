"""Computes what a page shows while an image loads: ThumbHash, BlurHash and the dominant colour.

All are computed from an image of at most 100 x 100 pixels.
"""

import math
from base64 import b64encode
from typing import Final, NamedTuple

from media_converter.files.png import Pixels

MAX_SIDE: Final = 100
_BASE83: Final = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
)
_OPAQUE: Final = 128
Plane = list[float]
"""One value per pixel, row by row."""


class _Waves(NamedTuple):
    """The frequencies of a plane: the mean, the others from -1 to 1, and what they count."""

    mean: float
    others: list[float]
    scale: float


def dominant_colour(pixels: Pixels) -> str | None:
    """The mean of the commonest colours, as #RRGGBB. None if no pixel is opaque.

    Colours that share the four high bits of each channel count as one.
    """
    bins: dict[tuple[int, int, int], list[int]] = {}
    data = pixels.rgba
    for red, green, blue, alpha in zip(data[::4], data[1::4], data[2::4], data[3::4], strict=True):
        if alpha >= _OPAQUE:
            sums = bins.setdefault((red >> 4, green >> 4, blue >> 4), [0, 0, 0, 0])
            for place, value in enumerate((red, green, blue, 1)):
                sums[place] += value
    if not bins:
        return None
    *sums, count = max(bins.values(), key=lambda found: found[3])
    return "#" + "".join(f"{round(value / count):02X}" for value in sums)


def thumbhash(pixels: Pixels) -> str:
    """The ThumbHash in Base64."""
    width, height = pixels.width, pixels.height
    light, yellow, red, alpha = _opponent_colours(pixels)
    has_alpha = min(alpha, default=1.0) < 1
    most = 5 if has_alpha else 7
    across = max(1, _round(most * width / max(width, height)))
    down = max(1, _round(most * height / max(width, height)))
    size = width, height
    waves = [
        _waves(light, size, max(3, across), max(3, down)),
        _waves(yellow, size, 3, 3),
        _waves(red, size, 3, 3),
        *([_waves(alpha, size, 5, 5)] if has_alpha else []),
    ]
    head = (
        _round(63 * waves[0].mean)
        | _round(31.5 + 31.5 * waves[1].mean) << 6
        | _round(31.5 + 31.5 * waves[2].mean) << 12
        | _round(31 * waves[0].scale) << 18
        | has_alpha << 23
    )
    is_landscape = width > height
    tail = (
        (down if is_landscape else across)
        | _round(63 * waves[1].scale) << 3
        | _round(63 * waves[2].scale) << 9
        | is_landscape << 15
    )
    found = bytearray(head.to_bytes(3, "little") + tail.to_bytes(2, "little"))
    if has_alpha:
        found.append(_round(15 * waves[3].mean) | _round(15 * waves[3].scale) << 4)
    halves = [_round(15 * value) for wave in waves for value in wave.others]
    halves += [0] * (len(halves) % 2)
    found += bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return b64encode(found).decode("ascii")


def _opponent_colours(pixels: Pixels) -> tuple[Plane, Plane, Plane, Plane]:
    """Lightness, yellow against blue, red against green, and alpha, each 0 to 1 or -1 to 1.

    Transparent pixels are laid on the mean colour.
    """
    bands = [[value / 255 for value in pixels.rgba[place::4]] for place in range(4)]
    alpha = bands[3]
    total = sum(alpha)
    laid = []
    for band in bands[:3]:
        mean = sum(v * a for v, a in zip(band, alpha, strict=True)) / total if total else 0.0
        laid.append([mean * (1 - a) + a * v for v, a in zip(band, alpha, strict=True)])
    rgb = list(zip(*laid, strict=True))
    return (
        [(r + g + b) / 3 for r, g, b in rgb],
        [(r + g) / 2 - b for r, g, b in rgb],
        [r - g for r, g, _ in rgb],
        alpha,
    )


def _waves(plane: Plane, size: tuple[int, int], across: int, down: int) -> _Waves:
    """The low frequencies of a plane: those in the triangle of ``across`` and ``down``."""
    width, height = size
    rows = [plane[y * width : (y + 1) * width] for y in range(height)]
    sums = [
        [sum(map(float.__mul__, row, cosines)) for row in rows]
        for cosines in (_cosines(n, width) for n in range(across))
    ]
    found = []
    for y in range(down):
        cosines = _cosines(y, height)
        for x in range(across):
            if x * down >= across * (down - y):
                break
            found.append(sum(map(float.__mul__, sums[x], cosines)) / (width * height))
    mean, *others = found
    scale = max(map(abs, others), default=0.0)
    if scale:
        others = [0.5 + 0.5 / scale * value for value in others]
    return _Waves(mean, others, scale)


def blurhash(pixels: Pixels) -> str:
    """The BlurHash with 4 components for the longer side and 3 for the other."""
    across, down = (4, 3) if pixels.width >= pixels.height else (3, 4)
    size = pixels.width, pixels.height
    linear = [_to_linear(value) for value in range(256)]
    planes = [[linear[value] for value in pixels.rgba[band::4]] for band in range(3)]
    factors = list(zip(*(_factors(plane, size, across, down) for plane in planes), strict=True))
    mean, others = factors[0], factors[1:]
    most = max(abs(value) for factor in others for value in factor)
    steps = max(0, min(82, math.floor(most * 166 - 0.5)))
    top = (steps + 1) / 166
    text = _base83(across - 1 + (down - 1) * 9, 1) + _base83(steps, 1)
    red, green, blue = map(_to_srgb, mean)
    text += _base83(red << 16 | green << 8 | blue, 4)
    for factor in others:
        r, g, b = (_quantized(value / top) for value in factor)
        text += _base83(r * 19 * 19 + g * 19 + b, 2)
    return text


def _factors(plane: Plane, size: tuple[int, int], across: int, down: int) -> list[float]:
    width, height = size
    rows = [plane[y * width : (y + 1) * width] for y in range(height)]
    found = []
    for y in range(down):
        vertical = _cosines(y, height, offset=0.0)
        for x in range(across):
            horizontal = _cosines(x, width, offset=0.0)
            total = sum(
                weight * sum(map(float.__mul__, row, horizontal))
                for row, weight in zip(rows, vertical, strict=True)
            )
            found.append((2 if x or y else 1) * total / (width * height))
    return found


def _cosines(frequency: int, length: int, offset: float = 0.5) -> list[float]:
    return [math.cos(math.pi / length * frequency * (i + offset)) for i in range(length)]


def _quantized(value: float) -> int:
    root = math.copysign(abs(value) ** 0.5, value)
    return max(0, min(18, math.floor(root * 9 + 9.5)))


def _to_linear(value: int) -> float:
    part = value / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _to_srgb(value: float) -> int:
    part = max(0.0, min(1.0, value))
    shown = 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
    return int(shown * 255 + 0.5)


def _base83(value: int, length: int) -> str:
    digits = (value // 83**place % 83 for place in reversed(range(length)))
    return "".join(_BASE83[digit] for digit in digits)


def _round(value: float) -> int:
    return math.floor(value + 0.5)
