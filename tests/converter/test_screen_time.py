"""A time means what is on the screen then: in every container, also while a picture stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.converter.harness import AUDIO, STORYBOARD, THUMB, VIDEO, Converter
from tests.converter.kitchen import X264, Kitchen, colour, tone
from tests.converter.lab import Lab
from tests.converter.siblings.inputs import clock as clock_of
from tests.converter.siblings.inputs import colour_of
from tests.converter.siblings.inputs import slides as slides_of

LONG = ("-g", "250", "-keyint_min", "250")
H264 = (*X264, *LONG)
HEVC = (
    "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
    "-x265-params", "keyint=250:min-keyint=250:log-level=error",
)  # fmt: skip
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", *LONG)
CONTAINERS: dict[str, tuple[str, ...]] = {
    "mp4": H264,
    "mkv": H264,
    "ts": H264,
    "h264": H264,
    "hevc": HEVC,
    "vob": MPEG2,
    "mpeg": MPEG2,
    "m2v": MPEG2,
    "avi": ("-c:v", "mpeg4", "-q:v", "2", *LONG),
    "flv": (*H264, "-bf", "0"),
    "ogv": ("-c:v", "libtheora", "-q:v", "9", "-g", "250"),
    "mjpeg": ("-c:v", "mjpeg", "-q:v", "2"),
}
STEP = 20
CLOCK = f"geq=lum='{STEP}+{STEP}*floor(T)':cb=128:cr=128"
"""Pictures whose brightness tells the second."""


def clock(kitchen: Kitchen, ending: str) -> str:
    return kitchen.ffmpeg(
        f"clock.{ending}", *colour("black", "64x48", seconds=10), "-vf",
        f"{CLOCK},noise=alls=6:allf=t",
        *CONTAINERS[ending],
    )  # fmt: skip


def second_of(lab: Lab, path: Path, at: float | None = None) -> int:
    luma = lab.image(path).luma if at is None else lab.frame(path, at).luma
    return round((luma * 219 / 255 + 16 - STEP) / STEP)


@pytest.mark.parametrize("ending", CONTAINERS)
def test_a_thumbnail_shows_its_second(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    source = clock(kitchen, ending)
    for time in ("7.5", "9.7"):
        run = converter.convert(THUMB, source, "out.png", time=time)
        assert second_of(lab, run.path) == int(float(time)), f"{ending} at {time} s"


@pytest.mark.parametrize("ending", ["mkv", "ts", "h264", "mpeg", "ogv", "mjpeg"])
def test_a_part_starts_at_its_second(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    run = converter.convert(VIDEO, clock(kitchen, ending), "out.mp4", start=6, duration=3)
    assert lab.media(run.path).duration == pytest.approx(3, abs=0.15)
    assert [second_of(lab, run.path, at) for at in (0.1, 1.5, 2.5)] == [6, 7, 8]


COLOURS = {"red": (254, 0, 0), "lime": (0, 254, 0), "blue": (0, 0, 254)}


def slides(kitchen: Kitchen, name: str, *sound: str) -> str:
    """Three pictures of ten seconds each."""
    inputs = [part for word in COLOURS for part in colour(word, "64x48", 1, 10)]
    graph = "[0][1][2]concat=n=3,select='not(mod(n,10))'[v]"
    audio = ("-map", f"{len(COLOURS)}:a", *sound) if sound else ()
    return kitchen.ffmpeg(
        name, *inputs, *(tone(seconds=30) if sound else ()), "-filter_complex", graph, "-map",
        "[v]", *audio, "-fps_mode", "vfr", *X264,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["slides.mp4", "slides.mkv", "talk.mp4", "talk.ts"])
def test_a_picture_that_stands_is_on_the_screen(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    source = slides(kitchen, name, *(("-c:a", "aac") if name.startswith("talk") else ()))
    for time, wanted in ((0, "red"), (5, "red"), (15, "lime"), (19.5, "lime"), (29, "blue")):
        run = converter.convert(THUMB, source, "out.png", time=str(time))
        assert lab.image(run.path).share(COLOURS[wanted], 40) > 0.9, f"{wanted} at {time} s"


def test_a_part_begins_with_the_picture_on_the_screen(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = slides(kitchen, "talk.mp4", "-c:a", "aac")
    run = converter.convert(VIDEO, source, "out.mp4", start=5, duration=10)
    assert lab.frame(run.path).share(COLOURS["red"], 40) > 0.9
    assert lab.frame(run.path, 6).share(COLOURS["lime"], 40) > 0.9
    assert lab.media(run.path).duration == pytest.approx(10, abs=0.3)


def test_a_time_behind_a_wrap_of_the_clock(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = clock(kitchen, "ts")
    # 33 bits of 90 kHz end after 95443.7 s.
    source = kitchen.ffmpeg(
        "wrap.ts", "-i", plain, "-c", "copy", "-output_ts_offset", "95438", "-f", "mpegts"
    )
    for time in ("3.5", "8.5"):
        run = converter.convert(THUMB, source, "out.png", time=time)
        assert second_of(lab, run.path) == int(float(time))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_part_of_a_slide_show_is_as_long_as_wanted(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    """Four pictures of five seconds. The part ends while one of them stands."""
    source = kitchen.ffmpeg(
        f"slides-part.{ending}", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=1/5:d=20", *X264
    )
    for options, seconds in (({"duration": 8}, 8), ({"start": 2, "duration": 11}, 11)):
        run = converter.convert(VIDEO, source, "out.mp4", **options)
        assert lab.media(run.path).duration == pytest.approx(seconds, abs=0.2), options


@pytest.mark.parametrize("ending", ["avi", "ogv"])
def test_a_part_of_slides_whose_clock_ticks_once_a_slide(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    codecs = {"avi": ("mpeg4", "pcm_s16le"), "ogv": ("libtheora", "libvorbis")}[ending]
    source = kitchen.ffmpeg(
        f"slow-clock.{ending}", *slides_of(3, 8), *tone(seconds=24), "-c:v", codecs[0], "-q:v",
        "5", "-c:a", codecs[1],
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4", start=6, duration=6)
    assert lab.media(run.path).duration == pytest.approx(6, abs=0.2)
    seen = [colour_of(lab.frame(run.path, at)) for at in (0, 1.8, 2.2, 5.5)]
    assert seen == ["red", "red", "lime", "lime"]


def restarted(kitchen: Kitchen, ending: str) -> str:
    """Two recordings of eight seconds in one file. The second one is a negative."""
    codec = {"ts": (*H264, "-an"), "vob": MPEG2, "numbers.ts": (*H264, "-an")}[ending]
    parts = []
    for number, change in enumerate(("null", "negate")):
        renumbered = ending == "numbers.ts" and number
        parts.append(
            kitchen.ffmpeg(
                f"restarted-{number}.{ending}", *clock_of(8), "-vf", change, *codec,
                *(("-mpegts_start_pid", "512") if renumbered else ()),
            )
        )  # fmt: skip
    return kitchen.write(f"restarted.{ending}", b"".join(kitchen.read(part) for part in parts))


@pytest.mark.parametrize("ending", ["ts", "vob", "numbers.ts"])
def test_a_time_behind_a_clock_that_starts_again(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    source = restarted(kitchen, ending)
    # The colours of the clock, and of its negative.
    for time, wanted in (
        (2.5, "blue"),
        (6.5, "white"),
        (8.5, "cyan"),
        (11.5, "blue"),
        (13.5, "red"),
    ):
        run = converter.convert(THUMB, source, "out.png", time=str(time))
        assert colour_of(lab.image(run.path)) == wanted, time
    part = converter.convert(VIDEO, source, "out.mp4", start=9, duration=4)
    assert lab.media(part.path).duration == pytest.approx(4, abs=0.2)
    seen = [colour_of(lab.frame(part.path, at)) for at in (0.3, 1.4, 2.5)]
    assert seen == ["magenta", "yellow", "blue"]


def test_a_part_of_the_sound_behind_a_clock_that_starts_again(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    parts = [
        kitchen.ffmpeg(
            f"tone-{hertz}.ts", *colour("gray", "64x48", seconds=seconds), *tone(hertz, seconds),
            *H264, "-c:a", "aac",
        )
        for hertz, seconds in ((400, 10), (1000, 20))
    ]  # fmt: skip
    source = kitchen.write("tones.ts", b"".join(kitchen.read(part) for part in parts))
    part = converter.convert(VIDEO, source, "out.mp4", duration=8)
    assert lab.media(part.path).duration == pytest.approx(8, abs=0.2)
    for start, duration, seconds, hertz in (
        (12, None, 18, 1000),
        (12, 4, 4, 1000),
        (2, 5, 5, 400),
    ):
        wanted = {"start": start} if duration is None else {"start": start, "duration": duration}
        found = converter.convert(AUDIO, source, "out.mp3", **wanted)
        assert lab.seconds(found.path) == pytest.approx(seconds, abs=0.3)
        assert lab.hertz(found.path, (400, 1000)) == hertz


def test_a_storyboard_behind_a_clock_that_starts_again(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    run = converter.convert(
        STORYBOARD, restarted(kitchen, "ts"), "out.jpg", interval=4, columns=4, size="64x36"
    )
    sprite = lab.image(run.path)
    assert sprite.size == (256, 36)
    seen = [colour_of(sprite, x) for x in (0.125, 0.375, 0.625, 0.875)]
    assert seen == ["red", "magenta", "cyan", "lime"]
