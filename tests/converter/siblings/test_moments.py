"""Time: what is on the screen at a moment, the last picture, files without an index."""

from __future__ import annotations

import json

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone
from tests.converter.lab import Lab
from tests.converter.siblings.inputs import clock, colour_of, flv, flv_tags, slides

TONES = (220, 440, 880)


def still(converter: Converter, lab: Lab, name: str, at: float) -> str:
    run = converter.convert(THUMB, name, "o.png", time=str(at))
    return colour_of(lab.image(run.path))


# A picture that stands


def gif_slides(kitchen: Kitchen) -> str:
    return kitchen.ffmpeg("sib-slides.gif", *slides(3, 3))


def test_moments_of_a_gif(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    name = gif_slides(kitchen)
    seen = [still(converter, lab, name, at) for at in (0.5, 2.9, 5.8, 8.5)]
    assert seen == ["red", "red", "lime", "blue"]


def test_moments_of_a_lecture_in_windows_media(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg(
        "sib-slides.wmv", *slides(3, 4), *tone(seconds=12), "-c:v", "wmv2", "-q:v", "3", "-c:a",
        "wmav2",
    )  # fmt: skip
    seen = [still(converter, lab, name, at) for at in (3.5, 7.5, 11.5)]
    assert seen == ["red", "lime", "blue"]


def test_moments_of_a_recorder_that_repeats_pictures_by_empty_chunks(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """AVI at 25 frames a second, of which three have a picture."""
    name = kitchen.ffmpeg(
        "sib-empty-chunks.avi", *clock(9, each=3), "-vf", "select='not(mod(n,75))'", "-fps_mode",
        "vfr", "-c:v", "mpeg4", "-q:v", "3",
    )  # fmt: skip
    seen = [still(converter, lab, name, at) for at in (2.5, 5.5, 6.5)]
    assert seen == ["red", "lime", "blue"]


def test_a_part_that_begins_while_a_picture_stands(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg(
        "sib-slides.mov", *slides(4, 2), *tone(seconds=8), "-c:v", "qtrle", "-c:a", "pcm_s16le"
    )
    run = converter.convert(VIDEO, name, "o.mp4", start="2.6", duration="3")
    assert abs(lab.media(run.path).duration - 3) <= 0.2
    seen = [colour_of(lab.frame(run.path, at)) for at in (0, 1.6)]
    assert seen == ["lime", "blue"]


def test_a_moment_after_the_last_picture_while_the_sound_goes_on(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg("sib-sound-tail.mp4", *clock(3), *tone(seconds=8), *X264, *AAC)
    assert still(converter, lab, name, 6) == "blue"


# The last picture


def test_the_last_picture_of_an_animated_webp(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    frames = []
    for number, name in enumerate(("red", "lime", "blue")):
        png_name = kitchen.ffmpeg(f"sib-{name}.png", *colour(name, "64x64"), "-frames:v", "1")
        frames.append(kitchen.ffmpeg(f"sib-{number}.webp", "-i", png_name, "-lossless", "1"))
    listed = [
        text
        for frame, delay in zip(frames, (100, 100, 3000), strict=True)
        for text in ("-frame", frame, f"+{delay}")
    ]
    name = kitchen.make(
        "sib-last.webp", lambda out: kitchen.run("webpmux", *listed, "-loop", "0", "-o", out)
    )
    # The decoder of videos cannot read this kind, and the reason names the type that can.
    refused = converter.refused(VIDEO, name, "o.mp4", ExitReason.UNSUPPORTED_FORMAT)
    assert "image_resize" in refused.report.message
    small = converter.convert(IMAGE, name, "o.gif", size="32x32")
    assert lab.header(small.path)["delay"].split() == ["100", "100", "3000"]


def test_two_slides_of_an_mp4(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    name = kitchen.ffmpeg("sib-two.mp4", *slides(2, 4), *X264)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.media(run.path).duration - 8) <= 0.2
    assert still(converter, lab, name, 7.5) == "lime"


def test_the_last_picture_of_a_recording_rests(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """One second of 25 frames, of which the last one stands for 5 s by the index."""
    name = kitchen.ffmpeg(
        "sib-rest.mov", *clock(1, each=0.5), "-c:v", "mpeg4", "-q:v", "3", "-bsf:v",
        "setts=duration='if(eq(N,24),5/TB,DURATION)'",
    )  # fmt: skip
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.media(run.path).duration - 5.96) <= 0.25
    assert still(converter, lab, name, 5) == "lime"


# No index

NO_INDEX = {
    "sib-plain.obu": ("-c:v", "libsvtav1", "-preset", "12", "-g", "250", "-f", "obu"),
    "sib-plain.ivf": ("-c:v", "libvpx", "-deadline", "realtime", "-g", "250", "-f", "ivf"),
    "sib-plain.m4v": ("-c:v", "mpeg4", "-q:v", "4", "-g", "250", "-f", "m4v"),
    "sib-plain.y4m": ("-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe"),
    "sib-live.mkv": (*X264, "-g", "250", "-live", "1", "-f", "matroska"),
    "sib-no-index.avi": ("-c:v", "mpeg4", "-q:v", "4", "-g", "250"),
    "sib-plain.mjpg": ("-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p", "-f", "mjpeg"),
}
RARE = ("sib-plain.obu", "sib-plain.y4m")
"""Formats that nobody uploads: they may be refused as unsupported."""


def without_index(kitchen: Kitchen, name: str) -> str:
    if name != "sib-no-index.avi":
        return kitchen.ffmpeg(name, *clock(6, "160x90"), *NO_INDEX[name])
    plain = kitchen.ffmpeg("sib-index.avi", *clock(6, "160x90"), *NO_INDEX[name])

    def change(data: bytes) -> bytes:
        at = data.rindex(b"idx1")
        body = bytearray(data[:at])
        flags = data.index(b"avih") + 8 + 12
        body[flags] &= ~0x10
        body[4:8] = (len(body) - 8).to_bytes(4, "little")
        return bytes(body)

    return kitchen.edit(name, plain, change)


@pytest.mark.parametrize("name", NO_INDEX)
def test_moments_and_parts_without_an_index(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    place = without_index(kitchen, name)
    shown = converter.convert(THUMB, place, "o.png", time="4.5")
    if name in RARE and shown.reason is ExitReason.UNSUPPORTED_FORMAT:
        return
    assert colour_of(lab.image(shown.path)) == "magenta"
    part = converter.convert(VIDEO, place, "o.mp4", start=3)
    assert abs(lab.media(part.path).duration - 3) <= 0.2
    assert [colour_of(lab.frame(part.path, at)) for at in (0, 2.5)] == ["yellow", "cyan"]


def test_a_part_of_a_raw_surround_sound(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    name = kitchen.ffmpeg(
        "sib-plain.eac3", "-f", "lavfi", "-i", "sine=f=220:d=3,aformat=channel_layouts=5.1",
        "-f", "lavfi", "-i", "sine=f=880:d=3,aformat=channel_layouts=5.1", "-filter_complex",
        "[0][1]concat=n=2:v=0:a=1", "-c:a", "eac3",
    )  # fmt: skip
    run = converter.convert(AUDIO, name, "o.mp3", start=4)
    assert abs(lab.seconds(run.path) - 2) <= 0.2
    assert lab.hertz(run.path, TONES) == 880


# Time stamps of sound that stands alone


def test_the_clock_of_a_broadcast_jumps(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """MPEG layer 2 in a transport stream whose clock jumps by 1000 s after 3 of 6 s."""
    name = kitchen.ffmpeg(
        "sib-jump.ts", *tone(seconds=6), "-c:a", "mp2", "-bsf:a",
        "setts=ts='TS+if(gte(N,125),1000/TB,0)'",
    )  # fmt: skip
    run = converter.convert(AUDIO, name, "o.mp3")
    assert abs(lab.seconds(run.path) - 6) <= 0.2
    assert lab.silences(run.path) == []


def test_the_clock_of_a_live_stream_stands_still(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg("sib-sound.flv", *tone(seconds=4), *AAC)
    name = kitchen.edit(
        "sib-no-time.flv", plain,
        lambda data: flv(data, iter([(kind, 0, body) for kind, _, body in flv_tags(data)])),
    )  # fmt: skip
    run = converter.convert(AUDIO, name, "o.mp3")
    assert abs(lab.seconds(run.path) - 4) <= 0.2
    assert lab.hertz(run.path, TONES) == 440


def test_the_clock_of_a_recording_runs_at_half_speed(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg(
        "sib-slow.mka", *tone(seconds=4), "-c:a", "flac", "-bsf:a", "setts=ts=TS*2"
    )
    assert float(packets(kitchen, name)[-1]["pts_time"]) > 7
    run = converter.convert(AUDIO, name, "o.mp3")
    assert abs(lab.seconds(run.path) - 4) <= 0.2
    assert lab.silences(run.path) == []
    assert lab.hertz(run.path, TONES) == 440


def test_a_pause_that_was_not_stored_stays(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """A recorder that stores nothing while nobody speaks: the second of four is missing."""
    name = kitchen.ffmpeg(
        "sib-pause.mka", *tone(seconds=4), "-c:a", "libopus", "-bsf:a",
        "noise=drop='between(n,50,99)'",
    )  # fmt: skip
    run = converter.convert(AUDIO, name, "o.mp3")
    assert abs(lab.seconds(run.path) - 4) <= 0.2
    ((start, end),) = lab.silences(run.path)
    assert abs(end - start - 1) <= 0.2


def packets(kitchen: Kitchen, name: str) -> list[dict[str, str]]:
    command = ("ffprobe", "-v", "error", "-show_entries", "packet=pts_time", "-of", "json", name)
    found: list[dict[str, str]] = json.loads(kitchen.run(*command))["packets"]
    return found
