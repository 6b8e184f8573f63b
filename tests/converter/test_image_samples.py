"""TIFF samples: bands that are no transparency, floating point, 32 bits, signed numbers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import IMAGE, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.rawfiles import (
    FLOATING,
    SIGNED,
    TIFF_BLACK_IS_ZERO,
    TIFF_CMYK,
    UNASSOCIATED_ALPHA,
    UNSPECIFIED,
    tiff,
)

COLOUR = (200, 60, 40)
PIXEL = bytes(COLOUR)
GREY: Mapping[str, Any] = {"samples": 1, "photometric": TIFF_BLACK_IS_ZERO}


@pytest.mark.parametrize("target", ["out.jpg", "out.png", "out.webp"])
@pytest.mark.parametrize(
    ("pixel", "tags"),
    [
        (PIXEL + b"\0", {"samples": 4, "extra": (UNSPECIFIED,)}),
        (PIXEL + b"\x80", {"samples": 4, "extra": (UNSPECIFIED,)}),
        (PIXEL + b"\0", {"samples": 4, "extra": (UNSPECIFIED,), "planar": True}),
        (PIXEL + b"\0", {"samples": 4, "extra": (UNSPECIFIED,), "big_endian": True}),
        (PIXEL + b"\0", {"samples": 4}),
        (PIXEL + b"\0\0", {"samples": 5, "extra": (UNSPECIFIED, UNSPECIFIED)}),
        (PIXEL + b"\0\0\0\0", {"samples": 7, "extra": (UNSPECIFIED,) * 4}),
        (PIXEL + b"\xff\0", {"samples": 5, "extra": (UNASSOCIATED_ALPHA, UNSPECIFIED)}),
        (
            struct.pack("<4H", *(value << 8 for value in COLOUR), 0),
            {"samples": 4, "bits": 16, "extra": (UNSPECIFIED,)},
        ),
    ],
)
def test_bands_after_the_colours_are_no_transparency(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    pixel: bytes,
    tags: Mapping[str, Any],
    target: str,
) -> None:
    source = kitchen.write("bands.tif", tiff(64, 48, pixel, **tags))
    bitmap = lab.image(converter.convert(IMAGE, source, target, quality=95).path)
    assert bitmap.size == (64, 48)
    assert near(bitmap.at(0.5, 0.5), COLOUR, 10), bitmap.at(0.5, 0.5)


@pytest.mark.parametrize(
    ("pixel", "tags", "wanted"),
    [
        (b"\xc8\0", {"samples": 2, "extra": (UNSPECIFIED,)}, 200),
        (b"\xc8\0\0\0\0", {"samples": 5, "extra": (UNSPECIFIED,) * 4}, 200),
    ],
)
def test_bands_after_grey_are_no_transparency(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    pixel: bytes,
    tags: Mapping[str, Any],
    wanted: int,
) -> None:
    source = kitchen.write(
        "grey-bands.tif", tiff(64, 48, pixel, photometric=TIFF_BLACK_IS_ZERO, **tags)
    )
    for target in ("out.jpg", "out.png"):
        bitmap = lab.image(converter.convert(IMAGE, source, target).path)
        assert near(bitmap.at(0.5, 0.5), (wanted,) * 3, 6), bitmap.at(0.5, 0.5)


def test_bands_after_inks_are_no_transparency(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    inks = b"\0\xc8\xc8\x32"
    plain = kitchen.write("inks.tif", tiff(64, 48, inks, samples=4, photometric=TIFF_CMYK))
    more = kitchen.write(
        "more-inks.tif",
        tiff(64, 48, inks + b"\0", samples=5, photometric=TIFF_CMYK, extra=(UNSPECIFIED,)),
    )
    wanted = lab.image(converter.convert(IMAGE, plain, "out.png").path).at(0.5, 0.5)
    assert near(lab.image(converter.convert(IMAGE, more, "out.png").path).at(0.5, 0.5), wanted, 2)


def test_real_transparency_of_a_tiff_stays(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.write(
        "alpha.tif", tiff(64, 48, PIXEL + b"\x80", samples=4, extra=(UNASSOCIATED_ALPHA,))
    )
    run = converter.convert(IMAGE, source, "out.png")
    assert lab.header(run.path)["bands"] == "4"
    # Lab shows images on a green background.
    assert near(lab.image(run.path).at(0.5, 0.5), (100, 157, 20), 6)


# Light 0.5, 0.25 and 0.1 as sRGB: 255 * (1.055 * light ** (1 / 2.4) - 0.055).
LIGHT = (0.5, 0.25, 0.1)
SHOWN = (188, 137, 89)


@pytest.mark.parametrize(
    ("pixel", "tags", "wanted"),
    [
        (struct.pack("<3f", *LIGHT), {"samples": 3, "bits": 32, "sample_format": FLOATING}, SHOWN),
        (struct.pack("<3e", *LIGHT), {"samples": 3, "bits": 16, "sample_format": FLOATING}, SHOWN),
        (
            struct.pack(">3f", *LIGHT),
            {"samples": 3, "bits": 32, "sample_format": FLOATING, "big_endian": True},
            SHOWN,
        ),
        (
            struct.pack("<4f", *LIGHT, 0),
            {"samples": 4, "bits": 32, "sample_format": FLOATING, "extra": (UNSPECIFIED,)},
            SHOWN,
        ),
        (struct.pack("<f", 0.5), {**GREY, "bits": 32, "sample_format": FLOATING}, (188,) * 3),
        (
            struct.pack("<2f", 0.5, 0),
            {**GREY, "samples": 2, "bits": 32, "sample_format": FLOATING, "extra": (UNSPECIFIED,)},
            (188,) * 3,
        ),
        # Numbers that are far larger than light are those of fewer bits.
        (
            struct.pack("<3f", *COLOUR),
            {"samples": 3, "bits": 32, "sample_format": FLOATING},
            COLOUR,
        ),
        (struct.pack("<f", 51400), {**GREY, "bits": 32, "sample_format": FLOATING}, (200,) * 3),
        (struct.pack("<3I", *(v << 24 for v in COLOUR)), {"samples": 3, "bits": 32}, COLOUR),
        (struct.pack("<I", 200 << 24), {**GREY, "bits": 32}, (200,) * 3),
        (struct.pack("<I", 200), {**GREY, "bits": 32}, (200,) * 3),
        (struct.pack("<I", 200 << 8), {**GREY, "bits": 32}, (200,) * 3),
        (
            struct.pack("<4I", *(v << 24 for v in COLOUR), 0),
            {"samples": 4, "bits": 32, "extra": (UNSPECIFIED,)},
            COLOUR,
        ),
        (
            struct.pack("<3h", *(v << 7 for v in COLOUR)),
            {"samples": 3, "bits": 16, "sample_format": SIGNED},
            COLOUR,
        ),
        (struct.pack("<h", -32768 + (200 << 8)), {**GREY, "bits": 16, "sample_format": SIGNED},
         (200,) * 3),
    ],
)  # fmt: skip
def test_deep_samples(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    pixel: bytes,
    tags: Mapping[str, Any],
    wanted: tuple[int, int, int],
) -> None:
    if pixel == struct.pack("<h", -32768 + (200 << 8)):
        # A negative number elsewhere says that zero is in the middle.
        content = bytearray(tiff(64, 48, pixel, **tags))
        content[-2:] = struct.pack("<h", -32768)
        source = kitchen.write("signed.tif", bytes(content))
    else:
        source = kitchen.write("deep.tif", tiff(64, 48, pixel, **tags))
    for target in ("out.jpg", "out.png"):
        bitmap = lab.image(converter.convert(IMAGE, source, target, quality=95).path)
        assert near(bitmap.at(0.5, 0.5), wanted, 4), bitmap.at(0.5, 0.5)


@pytest.mark.parametrize(("bits", "pixel"), [(64, struct.pack("<d", 0.5)), (24, b"\x10\x20\x30")])
def test_samples_without_a_loader_are_an_unsupported_format(
    kitchen: Kitchen, converter: Converter, bits: int, pixel: bytes
) -> None:
    source = kitchen.write("wide.tif", tiff(64, 48, pixel, **GREY, bits=bits))
    run = converter.refused(IMAGE, source, "out.png", ExitReason.UNSUPPORTED_FORMAT)
    assert f"{bits} bits" in run.report.message
