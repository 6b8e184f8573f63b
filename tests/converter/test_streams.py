"""Streams that begin late, that nobody can decode, or that are encrypted."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab

KEY = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb")
KEY_ID = ("-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
TARGETS = {VIDEO: "out.mp4", AUDIO: "out.mp3", THUMB: "out.jpg"}
MPEG2 = ("-c:v", "mpeg2video", "-c:a", "mp2")


def late(kitchen: Kitchen, name: str, first: str, *codecs: str) -> str:
    picture = video("160x90", seconds=20 if first == "video" else 8)
    sound = tone(seconds=20 if first == "audio" else 8)
    inputs = (*picture, "-itsoffset", "12", *sound) if first == "video" else (
        *sound, "-itsoffset", "12", *picture
    )  # fmt: skip
    return kitchen.ffmpeg(name, *inputs, "-map", "0", "-map", "1", *codecs)


@pytest.mark.parametrize("ending", ["ts", "vob", "mpeg"])
def test_sound_that_begins_after_twelve_seconds(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    codecs = (*X264, *AAC) if ending == "ts" else MPEG2
    source = late(kitchen, f"late-sound.{ending}", "video", *codecs)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.loudness(run.path, "atrim=13:19")[0] > -35
    assert lab.media(run.path).duration == pytest.approx(20, abs=0.3)
    song = converter.convert(AUDIO, source, "out.mp3")
    assert lab.seconds(song.path) >= 7.5


@pytest.mark.parametrize("ending", ["ts", "mpeg"])
def test_a_picture_that_begins_after_twelve_seconds(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    codecs = (*X264, *AAC) if ending == "ts" else MPEG2
    source = late(kitchen, f"late-picture.{ending}", "audio", *codecs)
    assert lab.media(converter.convert(VIDEO, source, "out.mp4").path).streams("video")
    assert lab.image(converter.convert(THUMB, source, "out.jpg").path).size == (160, 90)


def test_sound_without_a_decoder_is_told(kitchen: Kitchen, converter: Converter) -> None:
    def ac4(data: bytes) -> bytes:
        at = data.rindex(b"mp4a")
        return (data[:at] + b"ac-4" + data[at + 4 :]).replace(b"esds", b"dac4")

    source = kitchen.edit("ac4.mp4", kitchen.base(), ac4)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert any("no sound" in text for text in run.report.warnings), run.report
    converter.refused(AUDIO, source, "out.mp3", ExitReason.NO_AUDIO_STREAM)


def test_the_sound_of_a_studio_is_heard(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "studio.ts", *video(), *tone(), *X264, "-ac", "2", "-c:a", "s302m", "-strict", "-2"
    )
    assert lab.loudness(converter.convert(VIDEO, source, "out.mp4").path)[0] > -35


ENCRYPTED = {
    "h264.mp4": (*X264, *AAC),
    "hevc.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
    "opus.mp4": ("-vn", "-c:a", "libopus"),
    "song.m4a": ("-vn", *AAC),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", ENCRYPTED)
def test_an_encrypted_file_is_refused_as_encrypted(
    kitchen: Kitchen, converter: Converter, name: str, kind: ConversionType
) -> None:
    source = kitchen.ffmpeg(f"encrypted-{name}", *video(), *tone(), *ENCRYPTED[name], *KEY, *KEY_ID)
    run = converter.refused(kind, source, TARGETS[kind], ExitReason.ENCRYPTED)
    assert "encrypted" in run.report.message


def test_a_scrambled_broadcast_is_encrypted(kitchen: Kitchen, converter: Converter) -> None:
    def scramble(data: bytes) -> bytes:
        out = bytearray(data)
        for at in range(0, len(out) - 187, 188):
            pid = int.from_bytes(out[at + 1 : at + 3], "big") & 0x1FFF
            if 32 <= pid < 0x1FFF and pid != 4096:
                out[at + 3] |= 0x80
        return bytes(out)

    clear = kitchen.ffmpeg("clear.ts", *video(), *tone(), *X264, *AAC)
    converter.refused(
        VIDEO, kitchen.edit("scrambled.ts", clear, scramble), "out.mp4", ExitReason.ENCRYPTED
    )


def test_a_purchased_song_is_encrypted(kitchen: Kitchen, converter: Converter) -> None:
    song = kitchen.ffmpeg("plain.m4a", *tone(), *AAC)
    source = kitchen.edit("bought.m4a", song, lambda data: data.replace(b"mp4a", b"drms"))
    converter.refused(AUDIO, source, "out.mp3", ExitReason.ENCRYPTED)


def test_sound_comes_from_the_program_of_the_picture(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "programs.ts", *tone(1000), *video(), *tone(440),
        "-map", "0", "-map", "1", "-map", "2", *X264, *AAC,
        "-program", "title=radio:st=0", "-program", "title=tv:st=1:st=2",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.hertz(run.path, (440, 1000)) == 440
