"""Placeholders of pictures. Other implementations computed the expected ones."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.files import placeholder, png
from media_converter.files.png import Pixels


def picture(width: int, height: int, seed: int, *, alpha: bool) -> Pixels:
    """Two gradients and a pattern. The left half of some is transparent."""
    chance, data = random.Random(seed), bytearray()  # noqa: S311
    for y in range(height):
        for x in range(width):
            see_through = alpha and x < width // 2
            data += bytes((255 * x // width, 255 * y // height, (x * y * 7 + seed) % 256))
            data.append(chance.randrange(256) if see_through else 255)
    return Pixels(width, height, bytes(data))


@pytest.mark.parametrize(
    ("width", "height", "seed", "alpha", "wanted"),
    [
        (30, 30, 4, True, "YCiKJRIrgHaQd4doeKGgGvmGgHqIeHeHeA=="),
        (17, 80, 5, True, "YCiKKRIrgJB4Z3iikBj5hnCKiIh3d3c="),
        (100, 3, 6, False, "mFgOMZpzd4aAiGiIkHoO+Ic="),
        (1, 1, 9, False, "gQcCFwAI9wiIh4hwj3CI+AiIcH/4AAAA"),
    ],
)
def test_thumbhash(width: int, height: int, seed: int, alpha: bool, wanted: str) -> None:
    assert placeholder.thumbhash(picture(width, height, seed, alpha=alpha)) == wanted


@pytest.mark.parametrize(
    ("width", "height", "seed", "wanted"),
    [
        (10, 10, 1, "LmG94|31n{xoumRljwj1fxfmfUfg"),
        (40, 20, 2, "LyH2TV2pwuX4qOWTjsaygGfhfPfj"),
        (20, 45, 3, "TyGu];2:wul|aejsgZfhfOnQa$ju"),
        (100, 3, 6, "L#HKFi2V$2Sd:oJksTWod=f8fSf8"),
        (1, 1, 9, "L00009fZfZfZfZfZfZfZfZfZfZfZ"),
    ],
)
def test_blurhash(width: int, height: int, seed: int, wanted: str) -> None:
    assert placeholder.blurhash(picture(width, height, seed, alpha=False)) == wanted


def test_the_dominant_colour_is_the_commonest_not_the_mean() -> None:
    red, sky = bytes((200, 10, 10, 255)), bytes((100, 150, 240, 255))
    assert placeholder.dominant_colour(Pixels(5, 1, red * 3 + sky * 2)) == "#C80A0A"
    hidden = bytes((0, 255, 0, 0))
    assert placeholder.dominant_colour(Pixels(5, 1, hidden * 4 + sky)) == "#6496F0"
    assert placeholder.dominant_colour(Pixels(2, 1, hidden * 2)) is None


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum


def predicted(kind: int, left: int, above: int, corner: int) -> int:
    """What the PNG specification subtracts from a sample."""
    paeth = left + above - corner
    nearest = sorted(
        (
            (abs(paeth - left), 0, left),
            (abs(paeth - above), 1, above),
            (abs(paeth - corner), 2, corner),
        )
    )
    return (0, left, above, (left + above) // 2, nearest[0][2])[kind]


def encode(width: int, height: int, bands: int, data: bytes, filters: list[int]) -> bytes:
    """A PNG whose rows have these filters."""
    stride, packed = width * bands, bytearray()
    for y in range(height):
        kind = filters[y % len(filters)]
        packed.append(kind)
        for x in range(stride):
            left = data[y * stride + x - bands] if x >= bands else 0
            above = data[(y - 1) * stride + x] if y else 0
            corner = data[(y - 1) * stride + x - bands] if y and x >= bands else 0
            packed.append((data[y * stride + x] - predicted(kind, left, above, corner)) % 256)
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header += bytes((8, kinds[bands], 0, 0, 0))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(packed))) + chunk(b"IEND", b"")


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.randoms(),
)
def test_a_png_with_any_filters_is_decoded(
    width: int, height: int, bands: int, filters: list[int], chance: random.Random
) -> None:
    data = chance.randbytes(width * height * bands)
    found = png.decode(encode(width, height, bands, data, filters))
    assert found is not None
    assert (found.width, found.height) == (width, height)
    pixels = [data[at : at + bands] for at in range(0, len(data), bands)]
    wanted = b"".join(
        (p[:1] * 3 if bands < 3 else p[:3]) + (p[-1:] if bands in {2, 4} else b"\xff")
        for p in pixels
    )
    assert found.rgba == wanted


def test_a_cut_or_foreign_png_is_none() -> None:
    whole = encode(4, 4, 3, bytes(48), [0])
    assert png.decode(whole)
    assert png.decode(whole[:45]) is None
    assert png.decode(b"GIF89a") is None
    assert png.decode(whole.replace(b"\x08\x02\x00\x00\x00", b"\x10\x02\x00\x00\x00")) is None
