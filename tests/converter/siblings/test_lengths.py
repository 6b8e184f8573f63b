"""Lengths in headers that nobody may believe, and pictures that are cropped by their container."""

from __future__ import annotations

import struct

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, OUT, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import Bitmap
from tests.converter.siblings.inputs import (
    box_of,
    clap,
    clock,
    colour_of,
    flv,
    flv_tags,
    matroska_seconds,
    with_box,
)

TONES = (220, 440, 880)
BLUE = (0, 0, 254)
HUGE = 0x7FFFFFFFFFFFFFFF


# Placeholder lengths


def placeholder(kitchen: Kitchen, kind: str) -> str:
    """The recording of a program that could not go back to write the length."""
    arguments = {
        "caf": ("-c:a", "pcm_s16be", "-f", "caf"),
        "rf64.wav": ("-c:a", "pcm_s16le", "-rf64", "always"),
        "au": ("-c:a", "pcm_s16be"),
    }[kind]
    plain = kitchen.ffmpeg(f"sib-length.{kind}", *tone(), *arguments)

    def change(data: bytes) -> bytes:
        body = bytearray(data)
        if kind == "caf":
            at = data.index(b"data", data.index(b"desc")) + 4
            body[at : at + 8] = b"\xff" * 8
        elif kind == "rf64.wav":
            at = data.index(b"ds64") + 8
            body[at : at + 24] = struct.pack("<3Q", HUGE, HUGE - 100, HUGE // 2)
        else:
            body[8:12] = b"\x7f\xff\xff\x00"
        return bytes(body)

    return kitchen.edit(f"sib-placeholder.{kind}", plain, change)


@pytest.mark.parametrize("kind", ["caf", "rf64.wav", "au"])
def test_placeholder_lengths(kitchen: Kitchen, converter: Converter, lab: Lab, kind: str) -> None:
    run = converter.convert(AUDIO, placeholder(kitchen, kind), "o.mp3")
    assert abs(lab.seconds(run.path) - 3) <= 0.15
    assert lab.hertz(run.path, TONES) == 440


def test_a_wave64_that_was_written_to_a_pipe(kitchen: Kitchen, converter: Converter) -> None:
    """ffmpeg itself writes the largest possible lengths, which it cannot read."""
    content = kitchen.run("ffmpeg", "-v", "error", *tone(), "-f", "w64", "pipe:1")
    assert b"\xff" * 7 + b"\x7f" in content[:200]
    name = kitchen.write("sib-pipe.w64", content)
    run = converter.refused(AUDIO, name, "o.mp3", ExitReason.UNSUPPORTED_FORMAT)
    assert "Wave64" in run.report.message
    assert "WAV or FLAC" in run.report.message


def two_tones(kitchen: Kitchen, name: str, *arguments: str) -> str:
    """Three seconds of 220 Hz, then three of 880 Hz."""
    return kitchen.ffmpeg(
        name, *tone(220), *tone(880), "-filter_complex", "[0][1]concat=n=2:v=0:a=1", *arguments
    )


def test_a_start_behind_the_count_of_an_mp3_header(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = two_tones(kitchen, "sib-tones.mp3", "-c:a", "libmp3lame", "-q:a", "4")

    def change(data: bytes) -> bytes:
        at = next(data.index(mark) for mark in (b"Xing", b"Info") if mark in data) + 8
        count = int.from_bytes(data[at : at + 4], "big") // 10
        return data[:at] + count.to_bytes(4, "big") + data[at + 4 :]

    name = kitchen.edit("sib-tones-few.mp3", plain, change)
    run = converter.convert(AUDIO, name, "o.mp3", start=4)
    assert abs(lab.seconds(run.path) - 2) <= 0.2
    assert lab.hertz(run.path, TONES) == 880


def test_a_start_behind_the_length_of_a_live_flv(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg(
        "sib-length.flv", *clock(6), *tone(220), *tone(880), "-filter_complex",
        "[1][2]concat=n=2:v=0:a=1[a]", "-map", "0:v", "-map", "[a]", *X264, *AAC,
    )  # fmt: skip

    def change(data: bytes) -> bytes:
        changed = []
        for kind, time, body in flv_tags(data):
            at = body.index(b"duration") + 9 if kind == 18 else len(body)
            second = struct.pack(">d", 1.0) if kind == 18 else b""
            changed.append((kind, time, body[:at] + second + body[at + 8 :]))
        return flv(data, iter(changed))

    name = kitchen.edit("sib-length-1s.flv", plain, change)
    run = converter.convert(AUDIO, name, "o.mp3", start=4)
    assert abs(lab.seconds(run.path) - 2) <= 0.2
    assert lab.hertz(run.path, TONES) == 880
    film = converter.convert(VIDEO, name, "o.mp4", start=4)
    assert abs(lab.media(film.path).duration - 2) <= 0.2
    assert colour_of(lab.frame(film.path, 0.2)) == "magenta"
    still = converter.convert(THUMB, name, "o.png", time="5.5")
    assert colour_of(lab.image(still.path)) == "cyan"


@pytest.mark.parametrize("kind", [AUDIO, VIDEO, THUMB])
def test_a_start_behind_the_length_of_a_matroska_header(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType
) -> None:
    plain = kitchen.ffmpeg("sib-length.mkv", *clock(6), *tone(seconds=6), *X264, *AAC)
    name = kitchen.edit("sib-length-1s.mkv", plain, matroska_seconds(1))
    if kind is THUMB:
        shown = converter.convert(THUMB, name, "o.png", time="4.5")
        assert colour_of(lab.image(shown.path)) == "magenta"
        return
    run = converter.convert(kind, name, "o.mp4" if kind is VIDEO else "o.mp3", start=4)
    assert abs(lab.seconds(run.path) - 2) <= 0.2


# The crop of the container

BARS = "drawbox=0:0:80:360:red:fill,drawbox=560:0:80:360:red:fill,drawbox=270:130:100:100:blue:fill"
"""640x360 of which 480x360 in the middle are the picture, with a square."""


def barred(kitchen: Kitchen, name: str, *arguments: str) -> str:
    return kitchen.ffmpeg(
        name, "-f", "lavfi", "-i", "color=gray:s=640x360:r=25:d=1", "-vf", BARS, *arguments
    )


def cropped(bitmap: Bitmap, size: tuple[int, int]) -> None:
    assert bitmap.size == size
    wide, high = box_of(bitmap, BLUE)
    assert abs(wide / high - 1) <= 0.06
    assert bitmap.share((254, 0, 0), 60) < 0.01


def both(converter: Converter, lab: Lab, name: str, size: tuple[int, int]) -> None:
    cropped(lab.frame(converter.convert(VIDEO, name, "o.mp4").path), size)
    cropped(lab.image(converter.convert(THUMB, name, "o.png").path), size)


def test_the_crop_of_a_webm(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    plain = barred(
        kitchen, "sib-bars.webm", "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "2M"
    )

    def recipe(out: str) -> None:
        kitchen.run("cp", plain, out)
        kitchen.run(
            "mkvpropedit", "-q", out, "--edit", "track:v1", "--set", "pixel-crop-left=80", "--set",
            "pixel-crop-right=80", "--set", "display-width=480", "--set", "display-height=360",
        )  # fmt: skip

    both(converter, lab, kitchen.make("sib-crop.webm", recipe), (480, 360))


def test_the_crop_of_a_turned_quicktime_film(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """The clean aperture is of the stored picture, which is turned afterwards."""
    plain = barred(kitchen, "sib-bars.mov", *X264)
    turned = kitchen.ffmpeg("sib-turned.mov", "-display_rotation", "90", "-i", plain, "-c", "copy")
    name = kitchen.edit(
        "sib-clap.mov", turned, lambda data: with_box(data, b"avc1", clap(480, 360))
    )
    both(converter, lab, name, (360, 480))


def test_the_crop_of_the_codec_and_of_the_container(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """HEVC: 40 pixels at each side by its parameter set, the other 40 by the container."""
    plain = barred(
        kitchen, "sib-bars.hevc", "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
        "-x265-params", "log-level=error", "-bsf:v", "hevc_metadata=crop_left=40:crop_right=40",
        "-f", "hevc",
    )  # fmt: skip
    name = kitchen.by(
        "sib-crop-twice.mkv", "mkvmerge", "-q", "-o", OUT, "--cropping", "0:40,0,40,0",
        "--display-dimensions", "0:480x360", plain,
    )  # fmt: skip
    both(converter, lab, name, (480, 360))


def test_the_crop_of_an_av1_film(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    plain = barred(kitchen, "sib-bars.mkv", "-c:v", "libsvtav1", "-preset", "12")
    name = kitchen.by(
        "sib-crop-av1.mkv", "mkvmerge", "-q", "-o", OUT, "--cropping", "0:80,0,80,0",
        "--display-dimensions", "0:480x360", plain,
    )  # fmt: skip
    both(converter, lab, name, (480, 360))


def test_the_crop_of_an_avif(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    bitmap = barred(kitchen, "sib-bars.png", "-frames:v", "1", "-pix_fmt", "rgb24")
    name = kitchen.by(
        "sib-crop.avif", "avifenc", "-s", "10", "-q", "90", "--crop", "80,0,480,360", bitmap,
    )  # fmt: skip
    run = converter.convert(IMAGE, name, "o.png", size="2000x2000")
    cropped(lab.image(run.path), (480, 360))


def test_the_crop_of_a_turned_avif(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    bitmap = barred(kitchen, "sib-bars.png", "-frames:v", "1", "-pix_fmt", "rgb24")
    name = kitchen.by(
        "sib-crop-turned.avif", "avifenc", "-s", "10", "-q", "90", "--crop", "80,0,480,360",
        "--irot", "1", bitmap,
    )  # fmt: skip
    run = converter.convert(IMAGE, name, "o.png", size="2000x2000")
    cropped(lab.image(run.path), (360, 480))


def test_a_film_without_a_crop_keeps_its_bars(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg("sib-uncropped.mkv", *video("640x360", seconds=1), "-c:v", "mpeg4")
    assert lab.media(converter.convert(VIDEO, name, "o.mp4").path).size == (640, 360)
