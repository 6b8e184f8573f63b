"""Colours that a file describes without an ICC profile: gAMA, cHRM, cICP, nclx, and HDR."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.converter.harness import IMAGE, THUMB, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import Rgb, near
from tests.converter.rawfiles import GREY, GREY_ALPHA, RGB, RGBA, chunk, png

LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))
SRGB_GAMMA = chunk(b"gAMA", struct.pack(">I", 45_455))
SRGB = chunk(b"sRGB", b"\0")
# White D65, then red, green and blue of Display P3.
P3 = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
SRGB_PRIMARIES = chunk(
    b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
)
NONSENSE_PRIMARIES = chunk(b"cHRM", struct.pack(">8I", 0, 0, 1, 1, 1, 1, 1, 1))
GREEN = (100, 200, 100)
# Display P3 (100, 200, 100) as sRGB, with the matrices of CSS Color 4.
GREEN_AS_SRGB = (45, 203, 86)


def cicp(primaries: int, transfer: int, full_range: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, full_range]))


def plain(kitchen: Kitchen, extra: bytes, colour: Rgb = (55, 55, 55)) -> str:
    name = f"tags-{zlib.crc32(extra + bytes(colour)):08x}.png"
    return kitchen.write(name, png(64, 48, 8, RGB, bytes(colour) * 64, extra=extra))


@pytest.mark.parametrize(
    ("extra", "colour", "wanted"),
    [
        # Light 55 / 255 as sRGB is 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055) = 128.
        (LINEAR, (55, 55, 55), (128, 128, 128)),
        (cicp(1, 8), (55, 55, 55), (128, 128, 128)),
        (SRGB + LINEAR, (55, 55, 55), (55, 55, 55)),
        (SRGB_GAMMA, (55, 55, 55), (55, 55, 55)),
        (SRGB_GAMMA + SRGB_PRIMARIES, GREEN, GREEN),
        (chunk(b"gAMA", bytes(4)), GREEN, GREEN),
        # (55 / 255) ** 1.8 of light, as sRGB.
        (chunk(b"gAMA", struct.pack(">I", 55_556)), (55, 55, 55), (71, 71, 71)),
        (P3, GREEN, GREEN_AS_SRGB),
        (SRGB_GAMMA + P3, GREEN, GREEN_AS_SRGB),
        (NONSENSE_PRIMARIES, GREEN, GREEN),
        (cicp(12, 13), GREEN, GREEN_AS_SRGB),
        (cicp(12, 13) + SRGB + LINEAR, GREEN, GREEN_AS_SRGB),
        (cicp(1, 13), GREEN, GREEN),
        (cicp(1, 1), GREEN, GREEN),
        (cicp(2, 2), GREEN, GREEN),
        # 16 is black and 235 is white.
        (cicp(1, 13, 0), (126, 126, 126), (128, 128, 128)),
    ],
)
def test_the_colour_chunks_of_a_png(
    kitchen: Kitchen, converter: Converter, lab: Lab, extra: bytes, colour: Rgb, wanted: Rgb
) -> None:
    run = converter.convert(IMAGE, plain(kitchen, extra, colour), "out.png")
    assert near(lab.image(run.path).at(0.5, 0.5), wanted, 4), lab.image(run.path).at(0.5, 0.5)


@pytest.mark.parametrize("target", ["out.jpg", "out.webp", "out.avif", "out.gif"])
def test_every_output_format_gets_the_converted_colours(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    run = converter.convert(IMAGE, plain(kitchen, LINEAR), target, quality=95)
    assert near(lab.image(run.path).at(0.5, 0.5), (128, 128, 128), 7)


@pytest.mark.parametrize(
    ("depth", "colour_type", "pixel"),
    [
        (8, GREY, b"\x37"),
        (8, GREY_ALPHA, b"\x37\xff"),
        (8, RGBA, b"\x37\x37\x37\xff"),
        (16, RGB, b"\x37\0" * 3),
        (16, GREY, b"\x37\0"),
    ],
)
def test_gamma_of_every_kind_of_pixel(
    kitchen: Kitchen, converter: Converter, lab: Lab, depth: int, colour_type: int, pixel: bytes
) -> None:
    source = kitchen.write("gamma.png", png(64, 48, depth, colour_type, pixel * 64, extra=LINEAR))
    bitmap = lab.image(converter.convert(IMAGE, source, "out.png").path)
    assert near(bitmap.at(0.5, 0.5), (128, 128, 128), 4), bitmap.at(0.5, 0.5)


def test_cicp_comes_before_a_profile(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    flat = kitchen.write("flat.png", png(64, 48, 8, RGB, bytes(GREEN) * 64))
    profiled = kitchen.vips("profiled.png", "copy", flat, save="[profile=srgb]")
    assert "icc-profile-data" in lab.header(profiled)
    both = kitchen.edit("both.png", profiled, lambda data: data[:33] + cicp(12, 13) + data[33:])
    bitmap = lab.image(converter.convert(IMAGE, both, "out.png").path)
    assert near(bitmap.at(0.5, 0.5), GREEN_AS_SRGB, 4), bitmap.at(0.5, 0.5)


@pytest.mark.parametrize("extension", ["avif", "heic"])
@pytest.mark.parametrize(
    ("codes", "wanted"),
    [((12, 13), GREEN_AS_SRGB), ((1, 13), GREEN), ((1, 8), (168, 229, 168))],
)
def test_nclx_colours(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    extension: str,
    codes: tuple[int, int],
    wanted: Rgb,
) -> None:
    primaries, transfer = codes
    flat = kitchen.write("flat.png", png(64, 48, 8, RGB, bytes(GREEN) * 64))
    if extension == "avif":
        tags = f"{primaries}/{transfer}/6"
        recipe: tuple[str, ...] = (
            "avifenc",
            "-s",
            "9",
            "-q",
            "95",
            "-y",
            "444",
            "--cicp",
            tags,
            flat,
        )
    else:
        recipe = (
            "heif-enc", "-q", "95", "--colour_primaries", str(primaries),
            "--transfer_characteristic", str(transfer), "--matrix_coefficients", "6", flat, "-o",
        )  # fmt: skip
    source = kitchen.by(f"nclx-{primaries}-{transfer}.{extension}", *recipe)
    bitmap = lab.image(converter.convert(IMAGE, source, "out.png").path)
    assert near(bitmap.at(0.5, 0.5), wanted, 7), bitmap.at(0.5, 0.5)


def test_a_grid_has_the_colours_of_its_primary_item(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    flat = kitchen.write("flat-large.png", png(1024, 512, 8, RGB, bytes(GREEN) * 1024))
    source = kitchen.by(
        "grid-p3.avif",
        "avifenc",
        "-s",
        "10",
        "-y",
        "444",
        "--cicp",
        "12/13/6",
        "--grid",
        "2x1",
        flat,
    )
    bitmap = lab.image(converter.convert(IMAGE, source, "out.png").path)
    assert near(bitmap.at(0.5, 0.5), GREEN_AS_SRGB, 7), bitmap.at(0.5, 0.5)


HDR = {16: "smpte2084", 18: "arib-std-b67"}
# Samples of 16 bits: grey in the middle, bright grey, and three colours.
HDR_COLOURS = [
    (33000, 33000, 33000),
    (42000, 42000, 42000),
    (40000, 30000, 26000),
    (24000, 34000, 30000),
    (26000, 26000, 36000),
]


@pytest.mark.parametrize("transfer", HDR)
@pytest.mark.parametrize("colour", HDR_COLOURS)
def test_hdr_stills_look_like_hdr_videos(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    transfer: int,
    colour: tuple[int, int, int],
) -> None:
    pixel = struct.pack(">3H", *colour)
    still = kitchen.write("hdr.png", png(128, 96, 16, RGB, pixel * 128, extra=cicp(9, transfer)))
    tags = f"color_primaries=bt2020:color_trc={HDR[transfer]}:colorspace=bt2020nc:range=tv"
    name = f"hdr-{transfer}-{'-'.join(map(str, colour))}.mkv"
    film = kitchen.ffmpeg(
        name, "-loop", "1", "-framerate", "10", "-t", "1", "-i", still,
        "-vf", f"scale=out_color_matrix=bt2020:out_range=tv,format=yuv444p10le,setparams={tags}",
        "-c:v", "libx264", "-qp", "1", "-preset", "ultrafast",
    )  # fmt: skip
    wanted = lab.image(converter.convert(THUMB, film, "out.png").path).at(0.5, 0.5)
    found = lab.image(converter.convert(IMAGE, still, "out.png").path).at(0.5, 0.5)
    assert near(found, wanted, 8), (found, wanted)


def test_an_hdr_avif_becomes_sdr(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    pixel = struct.pack(">3H", *HDR_COLOURS[0])
    still = kitchen.write("hdr-plain.png", png(128, 96, 16, RGB, pixel * 128))
    wanted = kitchen.write("hdr.png", png(128, 96, 16, RGB, pixel * 128, extra=cicp(9, 16)))
    source = kitchen.by(
        "hdr.avif", "avifenc", "-s", "9", "-q", "95", "-d", "10", "-y", "444", "--cicp", "9/16/9",
        still,
    )  # fmt: skip
    found, right = (
        lab.image(converter.convert(IMAGE, file, "out.png").path).at(0.5, 0.5)
        for file in (source, wanted)
    )
    assert near(found, right, 5), (found, right)
    # PQ sample 33000 / 65535 is 94 nits; hable makes 156 of it.
    assert near(found, (156, 156, 156), 5), found


def test_a_grey_hdr_still_becomes_sdr(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.write(
        "hdr-grey.png", png(64, 48, 16, GREY, struct.pack(">H", 33000) * 64, extra=cicp(9, 16))
    )
    found = lab.image(converter.convert(IMAGE, source, "out.png").path).at(0.5, 0.5)
    assert near(found, (156, 156, 156), 5), found
