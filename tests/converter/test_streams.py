"""Streams that begin late, that nobody can decode, or that are encrypted."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.siblings.inputs import clock, colour_of, noise

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


def test_streams_that_begin_after_more_than_a_minute(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """They are within the bytes that a tool may read while it looks for streams."""
    quiet = kitchen.ffmpeg(
        "late-sound-75.ts", *video("64x48", 5, 80), "-itsoffset", "75", *tone(seconds=5),
        "-map", "0", "-map", "1", *X264, *AAC, "-f", "mpegts",
    )  # fmt: skip
    run = converter.convert(VIDEO, quiet, "out.mp4")
    assert lab.loudness(run.path, "atrim=76:79")[0] > -35
    assert lab.seconds(converter.convert(AUDIO, quiet, "out.mp3").path) >= 4.5
    dark = kitchen.ffmpeg(
        "late-picture-75.ts", *tone(seconds=80), "-itsoffset", "75", *video("64x48", 5, 5),
        "-map", "0", "-map", "1", *X264, *AAC, "-f", "mpegts",
    )  # fmt: skip
    assert lab.frames(converter.convert(VIDEO, dark, "out.mp4").path) >= 24
    assert lab.image(converter.convert(THUMB, dark, "out.png").path).size == (64, 48)


def test_a_sound_that_is_announced_late(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """The map of the programme names it after the first look, and the clock starts again."""
    silent = kitchen.ffmpeg("silent-90.ts", *video("64x48", 5, 90), *X264)
    spoken = kitchen.ffmpeg("spoken-9.ts", *video("64x48", 5, 9), *tone(seconds=9), *X264, *AAC)
    source = kitchen.write("unannounced.ts", kitchen.read(silent) + kitchen.read(spoken))
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.loudness(run.path, "atrim=91:98")[0] > -35


@pytest.mark.parametrize("kind", [VIDEO, AUDIO])
def test_a_broadcast_whose_streams_get_other_numbers(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType
) -> None:
    """Two recordings in one file: the second half has other packet identifiers."""
    first = kitchen.ffmpeg("pid-256.ts", *clock(8), *tone(440, 8), *X264, *AAC)
    second = kitchen.ffmpeg(
        "pid-512.ts", *clock(8), *tone(880, 8), "-vf", "negate", *X264, *AAC,
        "-mpegts_start_pid", "512",
    )  # fmt: skip
    source = kitchen.write("pids.ts", kitchen.read(first) + kitchen.read(second))
    run = converter.convert(kind, source, TARGETS[kind])
    assert lab.seconds(run.path) == pytest.approx(16, abs=0.4)
    for start, hertz in ((1, 440), (9, 880)):
        part = f"atrim={start}:{start + 5},bandpass=f={hertz}:width_type=h:w=40"
        assert lab.loudness(run.path, part)[0] > -35, f"{hertz} Hz from {start} s"
    if kind is VIDEO:
        assert lab.frames(run.path) == pytest.approx(400, abs=4)
        # The third second is blue, and yellow in the second recording.
        assert colour_of(lab.frame(run.path, 10.5)) == "yellow"


def test_sound_without_a_decoder_is_told(kitchen: Kitchen, converter: Converter) -> None:
    def ac4(data: bytes) -> bytes:
        at = data.rindex(b"mp4a")
        return (data[:at] + b"ac-4" + data[at + 4 :]).replace(b"esds", b"dac4")

    source = kitchen.edit("ac4.mp4", kitchen.base(), ac4)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert any("no audio" in text for text in run.report.warnings), run.report
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


def with_stream_types(data: bytes, types: dict[int, int]) -> bytes:
    """A transport stream whose program maps name other types of streams."""
    body = bytearray(data)
    for at in range(0, len(body), 188):
        if int.from_bytes(body[at + 1 : at + 3], "big") & 0x5FFF != 0x5000:
            continue
        start = at + 5 + body[at + 4]
        end = start + 3 + (int.from_bytes(body[start + 1 : start + 3], "big") & 0xFFF) - 4
        place = start + 12 + (int.from_bytes(body[start + 10 : start + 12], "big") & 0xFFF)
        while place < end:
            body[place] = types.get(body[place], body[place])
            place += 5 + (int.from_bytes(body[place + 3 : place + 5], "big") & 0xFFF)
        crc = 0xFFFFFFFF
        for byte in body[start:end]:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ (0x104C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
        body[end : end + 4] = crc.to_bytes(4, "big")
    return bytes(body)


@pytest.mark.parametrize("kind", TARGETS)
def test_encrypted_samples_of_a_live_stream(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    """SAMPLE-AES: the packets are clear, the inside of pictures and sound is not."""
    clear = kitchen.ffmpeg("clear.ts", *video(), *tone(), *X264, *AAC)

    def encrypt(data: bytes) -> bytes:
        body = bytearray(with_stream_types(data, {0x1B: 0xDB, 0x0F: 0xCF}))
        for at in range(0, len(body), 188):
            pid = int.from_bytes(body[at + 1 : at + 3], "big") & 0x5FFF
            if pid in {0x100, 0x101} and not body[at + 3] & 0x20:
                body[at + 40 : at + 188] = noise(148, seed=at)
        return bytes(body)

    source = kitchen.edit("samples.ts", clear, encrypt)
    converter.refused(kind, source, TARGETS[kind], ExitReason.ENCRYPTED)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_scrambled_dvd(kitchen: Kitchen, converter: Converter, kind: ConversionType) -> None:
    """CSS: the start of each pack is clear. Not every pack is scrambled."""
    clear = kitchen.ffmpeg(
        "dvd.vob", *video("720x576"), *tone(), "-target", "pal-dvd", "-c:a", "ac3"
    )

    def scramble(data: bytes) -> bytes:
        body = bytearray(data)
        for number, at in enumerate(range(0, len(body), 2048)):
            start = at + 14
            if number > 20 and number % 2 and body[start + 3] in {0xBD, 0xE0}:
                body[start + 6] |= 0x10
                body[at + 128 : at + 2048] = noise(1920, seed=at)
        return bytes(body)

    source = kitchen.edit("css.vob", clear, scramble)
    converter.refused(kind, source, TARGETS[kind], ExitReason.ENCRYPTED)


def test_an_audio_book_of_a_shop_is_encrypted(kitchen: Kitchen, converter: Converter) -> None:
    plain = kitchen.ffmpeg("book.m4a", *tone(), *AAC)
    source = kitchen.edit("book.aax", plain, lambda data: data.replace(b"mp4a", b"aavd"))
    converter.refused(AUDIO, source, "out.mp3", ExitReason.ENCRYPTED)
