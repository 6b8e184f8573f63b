"""Thumbnails: any time in any video, no black frames, covers, 4K within memory."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import THUMB, Case, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.recipes import covered

SHORT = {
    "one": (*video(), "-frames:v", "1"),
    "tenth": video(rate=30, seconds=0.1),
    "nine-tenths": video(rate=30, seconds=0.9),
    "second": video(seconds=1),
    "slow": video(rate=1, seconds=1),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_video_shorter_than_the_default_time(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    for extension, codec in (("mp4", X264), ("webm", ("-c:v", "libvpx")), ("ts", X264)):
        source = kitchen.ffmpeg(f"short-{name}.{extension}", *SHORT[name], *codec)
        bitmap = lab.image(converter.convert(THUMB, source, "out.jpg").path)
        assert bitmap.size == (320, 180)
        assert bitmap.commonest_share < 0.5


def stripes(kitchen: Kitchen) -> str:
    """Red for a second, then green, then blue, with few key frames."""
    return kitchen.ffmpeg(
        "stripes.mp4", *colour("red", seconds=3), "-vf",
        "drawbox=color=0x00FF00:t=fill:enable='gte(t,1)',"
        "drawbox=color=blue:t=fill:enable='gte(t,2)'",
        *X264, "-g", "250",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        (None, (0, 254, 0)),
        (0, (254, 0, 0)),
        ("0.5", (254, 0, 0)),
        (1.5, (0, 254, 0)),
        ("00:00:01.500", (0, 254, 0)),
        ("00:00:02.5", (0, 0, 254)),
        (2, (0, 0, 254)),
        ("0%", (254, 0, 0)),
        ("25.5%", (254, 0, 0)),
        ("50%", (0, 254, 0)),
        ("100%", (0, 0, 254)),
    ],
)
def test_any_time_in_the_video(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    time: object,
    wanted: tuple[int, int, int],
) -> None:
    options = {} if time is None else {"time": time}
    run = converter.convert(THUMB, stripes(kitchen), "out.png", **options)
    found = lab.image(run.path).at(0.5, 0.5)
    assert near(found, wanted, 12), found


def test_a_percentage_of_a_recording_without_a_length(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """Written to a pipe, a file has no length in its header. Its packets tell it."""
    inside = f"ffmpeg -v error -i /workspace/{stripes(kitchen)} -c copy"
    for name, muxer in (("live.mkv", "matroska -live 1"), ("raw.h264", "h264")):
        recording = kitchen.make(
            f"thumbnail-{name}",
            lambda out, muxer=muxer: kitchen.run(  # type: ignore[misc]
                "sh", "-c", f"{inside} -f {muxer} pipe:1 > {out}"
            ),
        )
        for time, wanted in (("10%", (254, 0, 0)), ("50%", (0, 254, 0)), ("90%", (0, 0, 254))):
            run = converter.convert(THUMB, recording, "out.png", time=time)
            found = lab.image(run.path).at(0.5, 0.5)
            assert near(found, wanted, 12), (name, time, found)


def test_more_than_all_of_a_video_is_refused(kitchen: Kitchen, converter: Converter) -> None:
    run = converter.refused(
        THUMB, stripes(kitchen), "out.png", ExitReason.INVALID_OPTIONS, time="100.1%"
    )
    assert 'or a percentage from "0%" to "100%"' in run.report.message


@pytest.mark.parametrize("time", [10, "01:00:00", 3])
def test_a_time_after_the_end_gives_the_last_frame(
    kitchen: Kitchen, converter: Converter, lab: Lab, time: object
) -> None:
    run = converter.convert(THUMB, stripes(kitchen), "out.png", time=time)
    assert near(lab.image(run.path).at(0.5, 0.5), (0, 0, 254), 12)


def test_audio_longer_than_the_video(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("song.mp4", *colour("blue", seconds=1), *tone(seconds=6), *X264, *AAC)
    for options in ({}, {"time": 4}, {"time": 0}):
        bitmap = lab.image(converter.convert(THUMB, source, "out.png", **options).path)
        assert near(bitmap.at(0.5, 0.5), (0, 0, 254), 12)


def dark(kitchen: Kitchen, name: str, seconds: float) -> str:
    return kitchen.ffmpeg(
        name, *colour("black", seconds=seconds), *video(), "-filter_complex",
        "[0][1]concat=n=2:v=1", *X264,
    )  # fmt: skip


def test_a_fade_in_from_black_is_skipped(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = dark(kitchen, "black2.mp4", 2)
    assert lab.image(converter.convert(THUMB, source, "out.jpg").path).luma > 30
    longer = dark(kitchen, "black4.mp4", 4)
    assert lab.image(converter.convert(THUMB, longer, "out.jpg").path).luma > 30


def test_a_requested_time_may_be_black(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = dark(kitchen, "black2.mp4", 2)
    for time in (0, 1):
        run = converter.convert(THUMB, source, "out.jpg", time=time)
        assert lab.image(run.path).luma < 20


def test_a_video_that_is_black_throughout(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("night.mp4", *colour("black", seconds=60), *X264)
    run = converter.convert(THUMB, source, "out.jpg")
    assert lab.image(run.path).size == (320, 180)
    assert lab.image(run.path).luma < 20
    assert run.wall < 5


@pytest.mark.parametrize(
    ("target", "codec"),
    [
        ("out.jpg", "mjpeg"), ("out.jpeg", "mjpeg"), ("out.png", "png"), ("out.webp", "webp"),
        ("out.avif", "av1"),
    ],
)  # fmt: skip
def test_the_extension_chooses_the_format(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str, codec: str
) -> None:
    run = converter.convert(THUMB, stripes(kitchen), target, time="0.5")
    assert lab.media(run.path).video["codec_name"] == codec
    assert near(lab.image(run.path).at(0.5, 0.5), (254, 0, 0), 20)


def test_quality_is_applied(kitchen: Kitchen, converter: Converter) -> None:
    sizes = [
        converter.convert(THUMB, kitchen.base(), "out.jpg", quality=q).path.stat().st_size
        for q in (5, 50, "95")
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.5 * sizes[2]


@pytest.mark.parametrize("name", ["cov.mp3", "cov.m4a", "cov.flac"])
def test_the_cover_is_the_thumbnail_of_a_song(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    bitmap = lab.image(converter.convert(THUMB, covered(kitchen, name), "out.jpg").path)
    assert bitmap.size == (64, 64)
    assert near(bitmap.at(0.5, 0.5), (254, 0, 0), 20)


def test_four_k_within_memory(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("uhd.mp4", *video("3840x2160", seconds=2), *X264)
    target = f"/{converter.workspace.scratch()}/out.jpg"
    run = converter.run(Case(THUMB, f"/{source}", target, {"size": "640x640"}), sample=True)
    assert lab.image(run.path).size == (640, 360)
    assert run.wall < 10
    assert run.ended.peak_kib
    assert run.ended.peak_kib < 400 * 1024


def test_far_into_a_long_video_is_as_fast_as_at_its_start(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    minute = kitchen.ffmpeg("minute.mp4", *video(seconds=60), *X264, "-g", "50")
    source = kitchen.ffmpeg("hour.mp4", "-stream_loop", "59", "-i", minute, "-c", "copy")
    run = converter.convert(THUMB, source, "out.jpg", time="00:50:00")
    assert lab.image(run.path).size == (320, 180)
    assert run.ended.cpu < 2


def test_a_file_without_video_or_cover(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg("tone.flac", *tone())
    converter.refused(THUMB, source, "out.jpg", ExitReason.NO_VIDEO_STREAM)
