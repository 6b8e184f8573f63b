"""Files of images: JPEG without its end, large JPEG, BMP, and images that no loader reads."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Converter
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import Rgb, near, red_corner
from tests.converter.rawfiles import RGB, bmp, chunk, jpeg_segment, png
from tests.converter.recipes import photo


def noisy(kitchen: Kitchen, *save: str) -> bytes:
    name = f"noisy{''.join(save).replace('=', '')}.jpg"
    return kitchen.read(photo(kitchen, name, "400x300", "Q=75", *save))


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("save", ["optimize-coding", "interlace", "keep=none"])
def test_a_jpeg_without_its_end_mark(
    kitchen: Kitchen, converter: Converter, lab: Lab, save: str, cut: int
) -> None:
    whole = noisy(kitchen, save)
    source = kitchen.write("endless.jpg", whole[:-cut])
    reference = kitchen.write("whole.jpg", whole)
    for options in ({}, {"size": "40x40"}):
        found, wanted = (
            lab.image(converter.convert(IMAGE, name, "out.png", **options).path).pixels
            for name in (source, reference)
        )
        assert found == wanted


@pytest.mark.parametrize("save", ["optimize-coding", "interlace"])
@pytest.mark.parametrize("cut", [6, 40, 3000])
def test_a_jpeg_that_lacks_more_is_truncated(
    kitchen: Kitchen, converter: Converter, save: str, cut: int
) -> None:
    source = kitchen.write("cut.jpg", noisy(kitchen, save)[:-cut])
    converter.refused(IMAGE, source, "out.jpg", ExitReason.INPUT_TRUNCATED)
    converter.refused(IMAGE, source, "out.jpg", ExitReason.INPUT_TRUNCATED, size="40x40")


LEFT, RIGHT, LOW = (200, 60, 40), (20, 90, 250), (10, 220, 30)


def two_by_two(x: int, y: int) -> Rgb:
    """Left and right halves differ, and the last row."""
    return LOW if y == 47 else LEFT if x < 32 else RIGHT


@pytest.mark.parametrize(
    "kind",
    ["1", "4", "8", "16", "24", "32", "565", "bitfields", "1010", "alpha", "no-alpha", "core",
     "top-down", "rle8", "rle4", "size-0", "v5"],
)  # fmt: skip
def test_bitmaps_of_every_kind(kitchen: Kitchen, converter: Converter, lab: Lab, kind: str) -> None:
    source = kitchen.write(f"{kind}.bmp", bmp(63, 48, kind, two_by_two))
    tolerance = 9 if kind in {"16", "565"} else 3
    bitmap = lab.image(converter.convert(IMAGE, source, "out.png").path)
    assert bitmap.size == (63, 48)
    if kind == "1":  # two colours
        assert near(bitmap.at(0.2, 0.5), LEFT, 3)
        assert near(bitmap.at(0.8, 0.5), RIGHT, 3)
        return
    assert near(bitmap.at(0.2, 0.5), LEFT, tolerance), bitmap.at(0.2, 0.5)
    assert near(bitmap.at(0.8, 0.5), RIGHT, tolerance), bitmap.at(0.8, 0.5)
    assert near(bitmap.at(0.2, 0.999), LOW, tolerance), bitmap.at(0.2, 0.999)
    assert near(bitmap.at(0.99, 0.02), RIGHT, tolerance), bitmap.at(0.99, 0.02)


@pytest.mark.parametrize("extension", ["jpg", "webp", "avif", "gif"])
def test_a_bitmap_becomes_every_format(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    source = kitchen.write("24.bmp", bmp(63, 48, "24", two_by_two))
    bitmap = lab.image(converter.convert(IMAGE, source, f"out.{extension}", size="21x21").path)
    assert bitmap.size == (21, 16)
    assert near(bitmap.at(0.2, 0.4), LEFT, 16)


def test_a_transparent_bitmap(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.write("clear.bmp", bmp(63, 48, "alpha", two_by_two, alpha=128))
    run = converter.convert(IMAGE, source, "out.png")
    assert lab.header(run.path)["bands"] == "4"
    # Lab shows images on a green background.
    assert near(lab.image(run.path).at(0.2, 0.5), (100, 157, 20), 4)


def test_damaged_bitmaps(kitchen: Kitchen, converter: Converter) -> None:
    whole = bmp(63, 48, "24", two_by_two)
    runs = bmp(63, 48, "rle8", two_by_two)
    for name, content, reason in (
        ("cut.bmp", whole[: len(whole) // 2], ExitReason.INPUT_TRUNCATED),
        ("cut-runs.bmp", runs[: len(runs) // 2], ExitReason.INPUT_TRUNCATED),
        ("wide.bmp", whole[:18] + struct.pack("<i", -5) + whole[22:], ExitReason.INPUT_DAMAGED),
        (
            "bomb.bmp",
            runs[:18] + struct.pack("<ii", 60000, 60000) + runs[26:],
            ExitReason.INPUT_TOO_LARGE,
        ),
        (
            "packed.bmp",
            whole[:30] + struct.pack("<I", 4) + whole[34:],
            ExitReason.UNSUPPORTED_FORMAT,
        ),
    ):
        run = converter.refused(IMAGE, kitchen.write(name, content), "out.png", reason)
        assert run.wall < 5
    text = kitchen.write("text.bmp", b"BMessage for you\n" * 20)
    converter.refused(IMAGE, text, "out.png", ExitReason.UNSUPPORTED_FORMAT)


def precision(bits: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = data.index(b"\xff\xc0")
        return data[: at + 4] + bytes([bits]) + data[at + 5 :]

    return change


def test_images_that_no_loader_reads(kitchen: Kitchen, converter: Converter) -> None:
    plain = photo(kitchen, "photo.jpg")
    lossless = kitchen.edit(
        "lossless.jpg", plain, lambda data: data.replace(b"\xff\xc0", b"\xff\xc3", 1)
    )
    deep = kitchen.edit("twelve.jpg", plain, precision(12))
    heif = kitchen.edit(
        "vvc.heif", photo(kitchen, "photo.avif"), lambda data: data.replace(b"av01", b"vvc1")
    )
    for source, words in (
        (heif, "H.266"),
        (lossless, "lossless JPEG"),
        (deep, "12 bits"),
        (kitchen.write("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200)), "JPEG 2000"),
        (kitchen.write("a.jxl", b"\xff\x0a" + bytes(200)), "JPEG XL"),
        (kitchen.write("a.psd", b"8BPS\0\1" + bytes(200)), "Photoshop"),
        (kitchen.write("a.ico", b"\0\0\1\0\1\0" + bytes(200)), "icon"),
        (kitchen.write("a.exr", b"\x76\x2f\x31\x01\2\0\0\0" + bytes(200)), "OpenEXR"),
    ):
        run = converter.refused(IMAGE, source, "out.png", ExitReason.UNSUPPORTED_FORMAT)
        assert words in run.report.message
        assert "save it as" in run.report.message


DNG = """
import sys, numpy as np, tifffile
with tifffile.TiffWriter(sys.argv[1]) as file:
    version = [(50706, 'B', 4, (1, 4, 0, 0), True)] if sys.argv[2] == 'dng' else []
    preview = np.full((64, 96, 3), (200, 60, 40), 'u1')
    file.write(preview, photometric='rgb', subfiletype=1, subifds=1, extratags=version)
    file.write(np.full((480, 640), 1000, 'u2'), photometric=32803, subfiletype=0)
"""


@pytest.mark.parametrize("kind", ["dng", "nef"])
def test_the_preview_of_a_raw_image_is_not_the_image(
    kitchen: Kitchen, converter: Converter, kind: str
) -> None:
    source = kitchen.make(f"raw.{kind}", lambda out: kitchen.agent.python(DNG, out, kind))
    run = converter.refused(IMAGE, source, "out.jpg", ExitReason.UNSUPPORTED_FORMAT)
    assert "raw image of a camera" in run.report.message


def test_a_png_of_an_ios_app(kitchen: Kitchen, converter: Converter) -> None:
    whole = png(64, 48, 8, RGB, b"\xc8\x3c\x28" * 64)
    extra = chunk(b"CgBI", b"\x50\0\x20\x06")
    source = kitchen.write("app.png", whole[:8] + extra + whole[8:])
    run = converter.refused(IMAGE, source, "out.png", ExitReason.UNSUPPORTED_FORMAT)
    assert "iOS" in run.report.message


def test_raw_motion_jpeg_is_a_video(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("raw.mjpeg", *video(seconds=2), "-c:v", "mjpeg", "-f", "mjpeg")
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frames(run.path) == 50
    assert lab.image(converter.convert(THUMB, source, "out.png").path).size == (320, 180)


def test_a_photo_with_a_second_picture_is_an_image(kitchen: Kitchen, converter: Converter) -> None:
    first = kitchen.read(photo(kitchen, "photo.jpg"))
    second = kitchen.read(photo(kitchen, "small.jpg", "40x30"))
    marked = jpeg_segment(first, 0xE2, b"MPF\0" + bytes(40))
    for name, content in (("preview.jpg", first + second), ("mpo.jpg", marked + first)):
        source = kitchen.write(name, content)
        for kind, target in ((VIDEO, "out.mp4"), (AUDIO, "out.mp3"), (THUMB, "out.jpg")):
            run = converter.refused(kind, source, target, ExitReason.UNSUPPORTED_FORMAT)
            assert "image_resize" in run.report.message
        assert converter.convert(IMAGE, source, "out.png").output


def test_large_jpegs_are_shrunk_while_they_are_decoded(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    tile = kitchen.write("tile.png", png(1500, 1500, 8, RGB, b"\xff\0\0" * 750 + b"\0\0\xff" * 750))
    source = kitchen.vips("200mp.jpg", "replicate", tile, "--", "12", "8")
    assert lab.header(source)["width"] == "18000"
    run = converter.convert(IMAGE, source, "out.jpg")
    assert lab.image(run.path).size == (800, 533)
    assert run.ended.largest_kib < 300 * 1024


def test_every_output_of_an_oriented_image_keeps_its_corner(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    def corner(x: int, y: int) -> Rgb:
        return (255, 0, 0) if x < 16 and y < 12 else (255, 255, 255)

    for kind in ("24", "top-down", "rle8"):
        source = kitchen.write(f"corner-{kind}.bmp", bmp(63, 48, kind, corner))
        assert red_corner(lab.image(converter.convert(IMAGE, source, "out.png").path)) == "TL"


def test_the_conversion_types_name_each_other(kitchen: Kitchen, converter: Converter) -> None:
    sound = kitchen.ffmpeg("tone-second.wav", *tone(seconds=1))
    silent = kitchen.ffmpeg("silent-second.mp4", *video(seconds=1), *X264)
    for kind, source, target, reason, words in (
        (IMAGE, kitchen.base(), "out.jpg", ExitReason.UNSUPPORTED_FORMAT, "video_to_mp4"),
        (IMAGE, sound, "out.jpg", ExitReason.UNSUPPORTED_FORMAT, "audio_to_mp3"),
        (VIDEO, photo(kitchen, "photo.png"), "out.mp4", ExitReason.UNSUPPORTED_FORMAT,
         "image_resize"),
        (VIDEO, sound, "out.mp4", ExitReason.NO_VIDEO_STREAM, "audio_to_mp3"),
        (AUDIO, silent, "out.mp3", ExitReason.NO_AUDIO_STREAM, "video_to_mp4"),
    ):  # fmt: skip
        run = converter.refused(kind, source, target, reason)
        assert words in run.report.message
