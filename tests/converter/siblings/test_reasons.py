"""Whether the reason is true: noise, formats without a decoder, lengths that lie, lost sound."""

from __future__ import annotations

import struct

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, OUT, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.rawfiles import RGB, chunk, png
from tests.converter.siblings.inputs import (
    clock,
    colour_of,
    ebml_elements,
    matroska_seconds,
    noise,
    webm_noise,
)

UNSUPPORTED = ExitReason.UNSUPPORTED_FORMAT
DAMAGED = ExitReason.INPUT_DAMAGED
COMPLETED = ExitReason.COMPLETED


def red(kitchen: Kitchen) -> str:
    return kitchen.write("sib-flat-red.png", png(64, 48, 8, RGB, b"\xdc\x28\x28" * 64))


# A tool's words are not the reason


def test_a_format_of_the_jpeg_family_without_a_loader(
    kitchen: Kitchen, converter: Converter
) -> None:
    name = kitchen.ffmpeg("sib-jpegls.jpg", "-i", red(kitchen), "-c:v", "jpegls", "-f", "image2")
    converter.refused(IMAGE, name, "o.png", UNSUPPORTED)


def test_a_jpeg_with_arithmetic_coding(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """Loads, or is told as a format without a loader; it is not damaged."""
    bitmap = kitchen.ffmpeg("sib-red.ppm", "-i", red(kitchen))
    name = kitchen.by("sib-arithmetic.jpg", "cjpeg", "-arithmetic", "-outfile", OUT, bitmap)
    run = converter.convert(IMAGE, name, "o.png")
    if run.reason is not UNSUPPORTED:
        assert near(lab.image(run.path).at(0.5, 0.5), (220, 40, 40), 8)


@pytest.mark.parametrize(("kind", "target"), [(VIDEO, "o.mp4"), (THUMB, "o.jpg")])
def test_a_film_of_noise_is_damaged_and_not_too_large(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, target: str
) -> None:
    plain = kitchen.ffmpeg(
        "sib-vp9.webm", *video(seconds=2), "-c:v", "libvpx-vp9", "-deadline", "realtime",
        "-cpu-used", "8",
    )  # fmt: skip
    name = kitchen.edit("sib-noise.webm", plain, lambda data: webm_noise(data, 1))
    converter.refused(kind, name, target, DAMAGED)


def test_digital_cinema_is_no_damage(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """JPEG 2000 in the colours of a cinema (XYZ), in MXF."""
    name = kitchen.ffmpeg(
        "sib-cinema.mxf", *clock(2, rate=24), "-pix_fmt", "xyz12le", "-c:v", "jpeg2000"
    )
    run = converter.convert(VIDEO, name, "o.mp4")
    if run.reason is not UNSUPPORTED:
        assert [colour_of(lab.frame(run.path, at)) for at in (0.5, 1.5)] == ["red", "lime"]


def test_a_picture_whose_data_are_noise_is_damaged(kitchen: Kitchen, converter: Converter) -> None:
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", noise(4000)) + chunk(b"IEND", b"")
    name = kitchen.write("sib-noise.png", b"\x89PNG\r\n\x1a\n" + body)
    converter.refused(IMAGE, name, "o.png", DAMAGED)


# VerificationFailed is retried, so it is not the end of a file that another run cannot change


def test_a_matroska_header_with_a_wrong_length(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg("sib-3s.mkv", *clock(3), *tone(), *X264, *AAC)
    name = kitchen.edit("sib-60s.mkv", plain, matroska_seconds(60))
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.media(run.path).duration - 3) <= 0.15
    assert lab.frames(run.path) == 75


def test_an_mp3_header_that_counts_ten_times_the_frames(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg("sib-3s.mp3", *tone(), "-c:a", "libmp3lame", "-q:a", "4")

    def change(data: bytes) -> bytes:
        at = next(data.index(mark) for mark in (b"Xing", b"Info") if mark in data) + 8
        count = int.from_bytes(data[at : at + 4], "big") * 10
        return data[:at] + count.to_bytes(4, "big") + data[at + 4 :]

    name = kitchen.edit("sib-30s.mp3", plain, change)
    run = converter.convert(AUDIO, name, "o.mp3")
    assert abs(lab.seconds(run.path) - 3) <= 0.15


def test_an_avi_header_that_counts_four_times_the_frames(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg("sib-3s.avi", *clock(3), "-c:v", "mpeg4", "-q:v", "4")

    def change(data: bytes) -> bytes:
        # dwTotalFrames of avih and dwLength of strh.
        body = bytearray(data)
        for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
            assert int.from_bytes(data[at : at + 4], "little") == 75
            body[at : at + 4] = (300).to_bytes(4, "little")
        return bytes(body)

    name = kitchen.edit("sib-12s.avi", plain, change)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.media(run.path).duration - 3) <= 0.15
    assert lab.frames(run.path) == 75


def test_sound_that_goes_on_after_the_picture(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg("sib-tail.mkv", *clock(2), *tone(seconds=8), "-c:v", "mpeg4", *AAC)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.seconds(run.path) - 8) <= 0.2


@pytest.mark.parametrize("kind", [VIDEO, AUDIO])
def test_a_part_of_one_frame(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType
) -> None:
    name = kitchen.ffmpeg("sib-3s.mkv", *clock(3), *tone(), *X264, *AAC)
    target = {VIDEO: "o.mp4", AUDIO: "o.mp3"}[kind]
    run = converter.convert(kind, name, target, start="1.2", duration="0.04")
    if kind is VIDEO:
        assert 1 <= lab.frames(run.path) <= 2
        assert colour_of(lab.frame(run.path)) == "lime"
    assert run.output


# Sound that exists and cannot be decoded


def sound_without_decoder(kitchen: Kitchen, container: str) -> str:
    """A film whose only sound has a codec that nobody knows."""
    codec = {"mkv": "flac", "avi": "pcm_s16le", "mov": "aac", "wmv": "wmav2"}[container]
    plain = kitchen.ffmpeg(
        f"sib-sound.{container}", *clock(3), *tone(), "-c:v", "mpeg4", "-c:a", codec,
        *(("-f", "asf") if container == "wmv" else ()),
    )  # fmt: skip

    def change(data: bytes) -> bytes:
        body = bytearray(data)
        if container == "mkv":
            return data.replace(b"A_FLAC", b"A_XQZW", 1)
        if container == "mov":
            at = data.rindex(b"stsd")
            entry = data[at:].replace(b"mp4a", b"mhm1").replace(b"esds", b"mhaC")
            return data[:at] + entry
        if container == "avi":
            at = data.index(b"strf", data.index(b"auds")) + 8
            body[at : at + 2] = b"\x34\x12"
        else:
            at = data.index(b"\x61\x01\x01\x00\x80\xbb\x00\x00")
            body[at : at + 2] = b"\x34\x12"
        return bytes(body)

    return kitchen.edit(f"sib-no-decoder.{container}", plain, change)


@pytest.mark.parametrize("container", ["mkv", "avi", "mov", "wmv"])
def test_sound_without_a_decoder_is_told(
    kitchen: Kitchen, converter: Converter, lab: Lab, container: str
) -> None:
    name = sound_without_decoder(kitchen, container)
    run = converter.convert(VIDEO, name, "o.mp4")
    if run.reason is not UNSUPPORTED:
        assert lab.media(run.path).duration >= 2.8
        assert "no audio" in " ".join(run.report.warnings), run.report
    alone = converter.convert(AUDIO, name, "o.mp3")
    assert alone.reason in {ExitReason.NO_AUDIO_STREAM, UNSUPPORTED}, alone.report


def test_sound_of_noise_in_place_of_packets(kitchen: Kitchen, converter: Converter) -> None:
    """The picture is whole, and no packet of the sound decodes."""
    plain = kitchen.ffmpeg(
        "sib-flac.mkv", *clock(3), *tone(), "-map", "1", "-map", "0", "-c:v", "mpeg4", "-c:a",
        "flac", "-live", "1",
    )  # fmt: skip

    def change(data: bytes) -> bytes:
        body = bytearray(data)
        for number, first, last in ebml_elements(data):
            if number in {0xA3, 0xA1} and data[first] == 0x81:
                body[first + 4 : last] = noise(last - first - 4, seed=first)
        return bytes(body)

    name = kitchen.edit("sib-flac-noise.mkv", plain, change)
    converter.refused(VIDEO, name, "o.mp4", DAMAGED)
    converter.refused(AUDIO, name, "o.mp3", DAMAGED)
