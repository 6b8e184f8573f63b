"""Pictures of which the library takes something for granted."""

from __future__ import annotations

import struct

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import IMAGE, Converter
from tests.converter.kitchen import OUT, Kitchen, colour, video
from tests.converter.lab import Lab
from tests.converter.probing import Rgb, near
from tests.converter.rawfiles import (
    ASSOCIATED_ALPHA,
    RGB,
    TIFF_RGB,
    UNASSOCIATED_ALPHA,
    bmp,
    chunk,
    exif,
    jpeg_segment,
    png,
    tiff,
)
from tests.converter.recipes import photo

PATCH = (200, 60, 40)
WHITE = (255, 255, 255)


def shown(converter: Converter, lab: Lab, name: str, target: str = "o.png") -> Rgb:
    run = converter.convert(IMAGE, name, target)
    return lab.image(run.path).at(0.5, 0.5)


# TIFF

ARRAYS = {
    "sib-planes.tif": (
        "np.stack([np.full((40, 60), v, 'u1') for v in (200, 60, 40, 0, 0)])",
        "photometric='rgb', planarconfig='separate', extrasamples=['unspecified'] * 2",
    ),
    "sib-16-bit-extra.tif": (
        "np.full((40, 60, 4), (200 * 257, 60 * 257, 40 * 257, 0), 'u2')",
        "photometric='rgb', extrasamples=['unspecified'], compression='zlib'",
    ),
    "sib-big.tif": (
        "np.full((40, 60, 4), (200, 60, 40, 255), 'u1')",
        "photometric='rgb', extrasamples=['unassalpha'], bigtiff=True",
    ),
    "sib-tiles.tif": (
        "np.full((64, 64, 6), (200, 60, 40, 0, 9, 99), 'u1')",
        "photometric='rgb', extrasamples=['unspecified'] * 3, tile=(32, 32), compression='zlib'",
    ),
    "sib-32-bit.tif": (
        "np.full((40, 60, 3), (200 * 16843009, 60 * 16843009, 40 * 16843009), 'u4')",
        "photometric='rgb'",
    ),
    "sib-lab.tif": (
        "np.full((40, 60, 3), (112, 53, 44), 'u1')",
        "photometric='cielab'",
    ),
}
"""The array, and how it is written. The CIELAB colour is L 43.9, a 53, b 44."""


def array_tiff(kitchen: Kitchen, name: str, values: str, keywords: str) -> str:
    script = (
        "import sys; import numpy as np, tifffile\n"
        f"tifffile.imwrite(sys.argv[1], {values}, {keywords})"
    )
    return kitchen.make(name, lambda out: kitchen.agent.python(script, out))


@pytest.mark.parametrize("target", ["o.png", "o.jpg"])
@pytest.mark.parametrize("name", ARRAYS)
def test_tiffs_of_laboratories(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, target: str
) -> None:
    place = array_tiff(kitchen, name, *ARRAYS[name])
    assert near(shown(converter, lab, place, target), PATCH, 14)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_floating_point_from_0_to_1(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: str
) -> None:
    values = f"np.full((40, 60, 3), (1.0, 0.3, 0.0), '{kind}')"
    name = array_tiff(kitchen, f"sib-float-{kind}.tif", values, "photometric='rgb'")
    run = converter.convert(IMAGE, name, "o.png")
    if kind == "f8" and run.reason is ExitReason.UNSUPPORTED_FORMAT:
        return
    red, green, blue = lab.image(run.path).at(0.5, 0.5)
    # 0.3 is 77 of 255, or 148 if the numbers are of light.
    assert red >= 250
    assert blue <= 5
    assert 60 <= green <= 160


def test_ink_on_white(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """A fax: one bit a pixel, 0 is white."""
    values = "np.eye(64, dtype=bool)"
    name = array_tiff(kitchen, "sib-fax.tif", values, "photometric='miniswhite'")
    picture = lab.image(converter.convert(IMAGE, name, "o.png").path)
    assert near(picture.at(0.75, 0.25), WHITE, 3)
    assert near(picture.at(0.5, 0.5), (0, 0, 0), 3)


@pytest.mark.parametrize(
    ("label", "pixel", "extra"),
    [
        ("associated", b"\x80\0\0\x80", ASSOCIATED_ALPHA),
        ("unassociated", b"\xff\0\0\x80", UNASSOCIATED_ALPHA),
    ],
)
def test_both_kinds_of_transparency(
    kitchen: Kitchen, converter: Converter, lab: Lab, label: str, pixel: bytes, extra: int
) -> None:
    content = tiff(64, 48, pixel, samples=4, photometric=TIFF_RGB, extra=(extra,))
    name = kitchen.write(f"sib-{label}.tif", content)
    assert near(shown(converter, lab, name, "o.jpg"), (255, 127, 127), 8)


def test_a_tiff_whose_strip_has_no_length(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """StripByteCounts of a writer that could not go back."""
    plain = tiff(64, 48, bytes(PATCH), samples=3)
    size = (64 * 48 * 3).to_bytes(4, "little")
    tag = struct.pack("<HHI", 279, 4, 1)
    assert plain.count(tag + size) == 1
    name = kitchen.write("sib-strip.tif", plain.replace(tag + size, tag + bytes(4)))
    assert near(shown(converter, lab, name), PATCH, 4)


# JPEG, WebP, PNG, GIF, BMP


def test_a_stereo_camera_whose_second_picture_lacks_its_end(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    first = kitchen.read(photo(kitchen, "sib-photo.jpg"))
    index = b"MPF\0" + b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
    name = kitchen.write("sib-stereo.jpg", jpeg_segment(first, 0xE2, index) + first[:-2])
    run = converter.convert(IMAGE, name, "o.png")
    assert lab.image(run.path).size == (400, 300)
    assert lab.similarity(run.path, f"media/{'sib-photo.jpg'}") > 0.97


@pytest.mark.parametrize("cut", [1, 2])
def test_a_progressive_jpeg_with_a_preview_lacks_its_end(
    kitchen: Kitchen, converter: Converter, lab: Lab, cut: int
) -> None:
    plain = kitchen.vips(
        "sib-progressive.jpg", "copy", photo(kitchen, "sib-photo.png"), save="[interlace]"
    )
    # The preview has an end of its own, which is not the end of the picture.
    body = exif(1) + b"\xff\xd8\xff\xd9"
    content = jpeg_segment(kitchen.read(plain), 0xE1, b"Exif\0\0" + body)[:-cut]
    name = kitchen.write(f"sib-no-end-{cut}.jpg", content)
    run = converter.convert(IMAGE, name, "o.png")
    assert lab.similarity(run.path, plain) > 0.97


def test_half_of_that_jpeg_is_still_refused(kitchen: Kitchen, converter: Converter) -> None:
    content = kitchen.read(photo(kitchen, "sib-photo.jpg"))
    name = kitchen.write("sib-half.jpg", content[: len(content) * 6 // 10] + b"\xff\xd9")
    run = converter.convert(IMAGE, name, "o.png")
    assert run.reason in {ExitReason.INPUT_TRUNCATED, ExitReason.INPUT_DAMAGED}, run.report


def test_a_webp_without_its_padding(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """The last chunk has an odd length, and its byte of padding was never written."""
    for width in range(64, 94):
        place = kitchen.ffmpeg(
            f"sib-{width}.webp", *video(f"{width}x48"), "-frames:v", "1", "-c:v", "libwebp",
            "-lossless", "1",
        )  # fmt: skip
        data = kitchen.read(place)
        at = data.index(b"VP8L") + 4
        if int.from_bytes(data[at : at + 4], "little") % 2:
            break
    else:
        pytest.fail("no width gives an odd length")
    name = kitchen.write("sib-no-padding.webp", data[:-1])
    run = converter.convert(IMAGE, name, "o.png")
    assert lab.similarity(run.path, place) > 0.99


def test_one_colour_of_a_deep_png_is_transparent(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """16 bits a sample, and tRNS names a colour. Its neighbour by one bit is not transparent."""
    key = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)
    other = struct.pack(">3H", 0x1234, 0x5678, 0x9ABD)
    content = png(64, 48, 16, RGB, key * 32 + other * 32, extra=chunk(b"tRNS", key))
    name = kitchen.write("sib-key.png", content)
    picture = lab.image(converter.convert(IMAGE, name, "o.jpg").path)
    assert near(picture.at(0.2, 0.5), WHITE, 6)
    assert near(picture.at(0.8, 0.5), (0x12, 0x56, 0x9A), 10)


def test_a_bmp_with_lying_sizes(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    content = bytearray(bmp(64, 48, "24", lambda _x, _y: PATCH))
    content[2:6] = b"\xff\xff\xff\x7f"
    content[34:38] = b"\xff\xff\xff\x7f"
    name = kitchen.write("sib-sizes.bmp", bytes(content))
    assert near(shown(converter, lab, name), PATCH, 4)


def test_a_gif_without_its_end(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    plain = kitchen.ffmpeg("sib-end.gif", *colour("red", "64x48", 5, 1))
    name = kitchen.edit("sib-no-end.gif", plain, lambda data: data[:-1])
    assert near(shown(converter, lab, name), (254, 0, 0), 12)


# HEIC and AVIF


def test_a_heic_is_turned_once(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """Its Exif says the same as its own property, which alone counts."""
    bitmap = kitchen.ffmpeg(
        "sib-corner.jpg", *colour("white", "160x80"), "-vf", "drawbox=0:0:40:20:red:fill",
        "-frames:v", "1", "-q:v", "2",
    )  # fmt: skip
    turned = kitchen.edit(
        "sib-corner-6.jpg", bitmap, lambda data: jpeg_segment(data, 0xE1, b"Exif\0\0" + exif(6))
    )
    name = kitchen.by("sib-corner-6.heic", "heif-enc", "-q", "90", "-o", OUT, turned)
    witness = kitchen.by("sib-corner-6-heic.png", "heif-dec", "-o", OUT, name)
    run = converter.convert(IMAGE, name, "o.png")
    seen, wanted = lab.image(run.path), lab.image(witness)
    assert seen.size == wanted.size
    for corner, pixel in wanted.corners.items():
        assert near(seen.corners[corner], pixel, 30), (corner, seen.corners, wanted.corners)


def test_a_heic_with_transparency(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.write(
        "sib-alpha.png", png(64, 64, 8, 6, b"\xff\0\0\0" * 32 + b"\xff\0\0\xff" * 32)
    )
    name = kitchen.by("sib-alpha.heic", "heif-enc", "-q", "90", "-o", OUT, source)
    picture = lab.image(converter.convert(IMAGE, name, "o.jpg").path)
    assert near(picture.at(0.15, 0.5), WHITE, 8)
    assert near(picture.at(0.85, 0.5), (254, 0, 0), 16)


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_half_a_modern_picture_is_refused(
    kitchen: Kitchen, converter: Converter, kind: str, share: float
) -> None:
    source = photo(kitchen, "sib-photo.png")
    command = ("avifenc", "-s", "10") if kind == "avif" else ("heif-enc", "-q", "60", "-o")
    plain = kitchen.make(
        f"sib-photo.{kind}",
        lambda out: kitchen.run(*command, *((source, out) if kind == "avif" else (out, source))),
    )
    name = kitchen.edit(
        f"sib-half-{share}.{kind}", plain, lambda data: data[: int(len(data) * share)]
    )
    converter.refused(IMAGE, name, "o.png", ExitReason.INPUT_TRUNCATED)
