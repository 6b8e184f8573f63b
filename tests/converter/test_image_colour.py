"""Colours of images: profiles, CMYK, deep and grey, transparency."""

from __future__ import annotations

from functools import partial

import pytest

from tests.converter.harness import IMAGE, Case, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.rawfiles import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    chunk,
    jpeg_segment,
    png,
)
from tests.converter.recipes import photo


def swapped(kitchen: Kitchen) -> str:
    """A red JPEG with a profile that swaps red and green."""
    flat = kitchen.write("red.png", png(64, 64, 8, RGB, b"\xff\0\0" * 64))
    with_profile = kitchen.vips("red-srgb.tif", "copy", flat, save="[profile=srgb]")
    srgb = kitchen.write("srgb.icc", kitchen.run("exiftool", "-b", "-icc_profile", with_profile))
    profile = kitchen.edit(
        "swap.icc",
        srgb,
        lambda data: (
            data.replace(b"rXYZ", b"tXYZ", 1)
            .replace(b"gXYZ", b"rXYZ", 1)
            .replace(b"tXYZ", b"gXYZ", 1)
        ),
    )
    plain = kitchen.vips("red.jpg", "copy", flat, save="[Q=95]")
    return kitchen.edit(
        "swap.jpg",
        plain,
        lambda data: jpeg_segment(data, 0xE2, b"ICC_PROFILE\0\1\1" + kitchen.read(profile)),
    )


@pytest.mark.parametrize("target", ["out.jpg", "out.png", "out.webp", "out.avif", "out.gif"])
def test_an_embedded_profile_is_applied(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    run = converter.convert(IMAGE, swapped(kitchen), target)
    red, green, _ = lab.image(run.path).at(0.5, 0.5)
    assert "icc-profile-data" not in lab.header(run.path), "converted pixels have no old profile"
    assert green > red + 100


def test_display_p3_becomes_srgb(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    flat = kitchen.write("orange.png", png(64, 64, 8, RGB, bytes([234, 51, 35]) * 64))
    source = kitchen.vips("p3.jpg", "copy", flat, save="[Q=95,profile=p3]")
    assert "icc-profile-data" in lab.header(source)
    bitmap = lab.image(converter.convert(IMAGE, source, "out.png").path)
    # P3 (234, 51, 35) is the red primary of sRGB.
    assert near(bitmap.at(0.5, 0.5), (255, 0, 0), 12), bitmap.at(0.5, 0.5)


def test_a_broken_profile_does_not_fail(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    plain = photo(kitchen, "photo.jpg")
    for name, profile in (
        ("garbage", b"not a profile at all" * 20),
        ("short", b"\0\0\2\x0clcms"),
        ("empty", b""),
    ):
        source = kitchen.edit(
            f"profile-{name}.jpg",
            plain,
            partial(jpeg_segment, marker=0xE2, body=b"ICC_PROFILE\0\1\1" + profile),
        )
        run = converter.convert(IMAGE, source, "out.jpg")
        assert lab.image(run.path).luma == pytest.approx(lab.image(plain).luma, abs=3)


def test_cmyk_becomes_rgb(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    flat = kitchen.write("teal.png", png(64, 64, 8, RGB, bytes([40, 120, 120]) * 64))
    with_profile = kitchen.vips("cmyk.tif", "icc_transform", flat, "--", "cmyk")
    jpeg = kitchen.vips("cmyk.jpg", "copy", with_profile, save="[Q=95]")
    bare = kitchen.vips("cmyk-bare.jpg", "copy", with_profile, save="[Q=95,keep=none]")
    for source in (with_profile, jpeg, bare):
        run = converter.convert(IMAGE, source, "out.jpg")
        header = lab.header(run.path)
        assert header["bands"] == "3"
        assert header["interpretation"] == "srgb"
        # Without a profile the colours can only be approximate.
        tolerance = 45 if source == bare else 24
        found = lab.image(run.path).at(0.5, 0.5)
        assert near(found, (40, 120, 120), tolerance), (source, found)


@pytest.mark.parametrize("target", ["out.jpg", "out.png", "out.webp", "out.avif"])
def test_sixteen_bits_become_eight(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    source = kitchen.write("deep.png", png(64, 64, 16, RGB, b"\xc0\0\x80\0\x40\0" * 64))
    run = converter.convert(IMAGE, source, target, quality=95)
    assert lab.header(run.path)["format"] == "uchar"
    assert near(lab.image(run.path).at(0.5, 0.5), (192, 128, 64), 6)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_every_depth(kitchen: Kitchen, converter: Converter, lab: Lab, depth: int) -> None:
    row = b"\xff" * (64 * depth // 16) + b"\0" * (64 * depth // 16)
    source = kitchen.write(f"grey{depth}.png", png(64, 64, depth, GREY, row))
    bitmap = lab.image(converter.convert(IMAGE, source, "out.jpg").path)
    assert near(bitmap.at(0.2, 0.5), (255, 255, 255), 6)
    assert near(bitmap.at(0.8, 0.5), (0, 0, 0), 6)


@pytest.mark.parametrize("target", ["out.jpg", "out.jpeg"])
def test_transparent_parts_become_white_in_jpeg(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    half = kitchen.write("t.png", png(64, 64, 8, RGBA, b"\xff\0\0\0" * 32 + b"\xff\0\0\x80" * 32))
    bitmap = lab.image(converter.convert(IMAGE, half, target, quality=95).path)
    assert min(bitmap.at(0.1, 0.5)) >= 250
    assert near(bitmap.at(0.85, 0.5), (255, 127, 127), 5), bitmap.at(0.85, 0.5)
    grey = kitchen.write("ga.png", png(64, 64, 8, GREY_ALPHA, b"\0\0" * 64))
    assert min(lab.image(converter.convert(IMAGE, grey, target).path).at(0.5, 0.5)) >= 250
    palette = kitchen.write(
        "pal.png",
        png(64, 64, 8, PALETTE, b"\0" * 32 + b"\1" * 32,
            extra=chunk(b"PLTE", b"\xff\0\0\0\0\xff") + chunk(b"tRNS", b"\0\xff")),
    )  # fmt: skip
    bitmap = lab.image(converter.convert(IMAGE, palette, target, quality=95).path)
    assert min(bitmap.at(0.1, 0.5)) >= 250
    assert near(bitmap.at(0.9, 0.5), (0, 0, 254), 12)
    deep = kitchen.write("deepalpha.png", png(64, 64, 16, RGBA, b"\xff\xff\0\0\0\0\0\0" * 64))
    assert min(lab.image(converter.convert(IMAGE, deep, target).path).at(0.5, 0.5)) >= 250


def test_no_dark_fringe_around_transparent_parts(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # Black under the transparent half shows at the edge if alpha is not premultiplied.
    row = b"\0\0\0\0" * 301 + b"\xff\xff\xff\xff" * 299
    source = kitchen.write("fringe.png", png(600, 60, 8, RGBA, row))
    bitmap = lab.image(converter.convert(IMAGE, source, "out.jpg", size="97x97", quality=100).path)
    darkest = min(min(bitmap.at(x / 97, 0.5)) for x in range(97))
    assert darkest > 245


@pytest.mark.parametrize("target", ["out.png", "out.webp", "out.avif"])
def test_transparency_is_kept_if_the_format_has_it(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    half = kitchen.write("t.png", png(64, 64, 8, RGBA, b"\xff\0\0\0" * 32 + b"\xff\0\0\x80" * 32))
    run = converter.convert(IMAGE, half, target)
    assert lab.header(run.path)["bands"] == "4"
    # Lab shows images on a green background.
    bitmap = lab.image(run.path)
    assert near(bitmap.at(0.1, 0.5), (0, 255, 0), 12)
    assert near(bitmap.at(0.85, 0.5), (128, 127, 0), 12)


def test_the_background_can_be_chosen(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.write("clear.png", png(64, 64, 8, RGBA, b"\xff\0\0\0" * 64))
    folder = converter.workspace.scratch("background")
    case = Case(IMAGE, source, f"{folder}/out.jpg")
    bitmap = lab.image(converter.run(case, env={"BACKGROUND": "0040FF"}).path)
    assert near(bitmap.at(0.5, 0.5), (0, 64, 255), 6)


@pytest.mark.parametrize(("mode", "chroma"), [("off", "4:4:4"), ("on", "4:2:0")])
def test_the_colours_of_a_jpeg_stay_sharp(
    kitchen: Kitchen, converter: Converter, lab: Lab, mode: str, chroma: str
) -> None:
    plain = photo(kitchen, "photo.jpg")
    source = kitchen.vips(f"{mode}.jpg", "copy", plain, save=f"[Q=85,subsample-mode={mode}]")
    assert lab.header(source)["jpeg-chroma-subsample"] == chroma
    run = converter.convert(IMAGE, source, "out.jpg")
    assert lab.header(run.path)["jpeg-chroma-subsample"] == chroma
