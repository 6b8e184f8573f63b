"""Time in video: odd rates, unknown and wrong durations, streams that start late, cuts."""

from __future__ import annotations

import re

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near


def test_a_variable_frame_rate_stays_variable(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "vfr.mp4", *video(rate=240), "-vf", "select='lt(n,24)+not(mod(n,8))'",
        "-fps_mode", "vfr", *X264, "-video_track_timescale", "90000",
    )  # fmt: skip
    for options in ({}, {"resolution": "240p"}, {"quality": "low"}):
        run = converter.convert(VIDEO, source, "out.mp4", **options)
        found = lab.media(run.path, count=True)
        assert found.duration == pytest.approx(3, abs=0.1)
        assert int(found.video["nb_read_frames"]) <= 200
        top, _, bottom = found.video["avg_frame_rate"].partition("/")
        assert float(top) / float(bottom) <= 60.5


def test_a_screen_recording_with_few_frames_stays_small(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # Matroska counts in milliseconds, so ffprobe reports 1000 frames per second.
    source = kitchen.ffmpeg(
        "screen.mkv", *video(rate=100), "-vf", "select='not(mod(n,37))+eq(n,299)'",
        "-fps_mode", "vfr", *X264,
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path, count=True)
    assert found.duration == pytest.approx(3, abs=0.15)
    assert int(found.video["nb_read_frames"]) <= 190


@pytest.mark.parametrize("rate", ["60.02", "62.5", "72", "90", "120", "1000"])
def test_high_frame_rates_are_limited_to_sixty(
    kitchen: Kitchen, converter: Converter, lab: Lab, rate: str
) -> None:
    source = kitchen.ffmpeg(
        f"rate{rate}.mp4", "-f", "lavfi", "-i", f"testsrc2=s=160x120:r={rate}:d=1", *X264
    )
    found = lab.media(converter.convert(VIDEO, source, "out.mp4").path, count=True)
    assert found.duration == pytest.approx(1, abs=0.1)
    assert 57 <= int(found.video["nb_read_frames"]) <= 62


def test_sixty_frames_in_whole_milliseconds_are_kept(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg("ms.mkv", *video("160x120", 60, 2), "-c:v", "mpeg4")
    assert lab.frames(converter.convert(VIDEO, source, "out.mp4").path) >= 119


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30", "50", "12", "1"])
def test_ordinary_frame_rates_are_kept(
    kitchen: Kitchen, converter: Converter, lab: Lab, rate: str
) -> None:
    seconds = 4 if rate == "1" else 2
    source = kitchen.ffmpeg(
        f"rate-{rate.replace('/', '-')}.avi", "-f", "lavfi", "-i",
        f"testsrc2=s=160x120:r={rate}:d={seconds}", "-c:v", "mpeg4",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frames(run.path) == lab.frames(source)
    assert lab.media(run.path).duration == pytest.approx(seconds, abs=0.1)


def test_no_duration_in_the_container(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    webm = kitchen.make(
        "md.webm",
        lambda out: kitchen.run(
            "sh", "-c", 'exec "$@" > "$0"', out, "ffmpeg", "-nostdin", "-v", "error",
            *video(), *tone(), "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus",
            "-f", "webm", "-live", "1", "pipe:1",
        ),
    )  # fmt: skip
    assert "duration" not in lab.media(webm).body["format"]
    raw = kitchen.ffmpeg("raw.m2v", *video(), "-c:v", "mpeg2video")
    mkv = kitchen.make(
        "live.mkv",
        lambda out: kitchen.run(
            "sh", "-c", 'exec "$@" > "$0"', out, "ffmpeg", "-nostdin", "-v", "error",
            *video(), *tone(), *X264, *AAC, "-f", "matroska", "-live", "1", "pipe:1",
        ),
    )  # fmt: skip
    for source in (webm, raw, mkv):
        run = converter.convert(VIDEO, source, "out.mp4")
        assert lab.media(run.path).duration == pytest.approx(3, abs=0.15)
        assert lab.frames(run.path) in range(73, 77)
        thumb = converter.convert(THUMB, source, "out.jpg")
        assert lab.image(thumb.path).size == (320, 180)


def test_fragmented_mp4(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "frag.mp4", *video(), *tone(), *X264, *AAC, "-movflags", "frag_keyframe+empty_moov"
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(3, abs=0.1)
    assert lab.frames(run.path) == 75


def transport(kitchen: Kitchen, name: str = "big.ts") -> str:
    return kitchen.ffmpeg(
        name, *video(), *tone(), *X264, "-g", "50", *AAC, "-output_ts_offset", "90000",
        "-f", "mpegts",
    )  # fmt: skip


def rising(lab: Lab, path: str) -> bool:
    """Whether the decoding timestamps of every stream strictly increase."""
    out = lab.agent.run(
        (
            "ffprobe",
            "-v",
            "error",
            "-show_entries",
            "packet=stream_index,dts",
            "-of",
            "csv=p=0",
            path,
        )
    ).decode()
    last: dict[str, int] = {}
    for line in out.split():
        stream, dts = line.strip(",").split(",")[:2]
        if stream in last and int(dts) <= last[stream]:
            return False
        last[stream] = int(dts)
    return bool(last)


def test_a_transport_stream_that_starts_at_hours(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = transport(kitchen)
    found = lab.media(converter.convert(VIDEO, source, "out.mp4").path)
    assert found.start < 0.1
    assert found.duration == pytest.approx(3, abs=0.15)
    # Times count from the start of the video, not from timestamp zero.
    thumb = lab.image(converter.convert(THUMB, source, "out.png", time=2).path)
    reference = lab.frame(kitchen.base(), 2)
    assert abs(thumb.luma - reference.luma) < 6
    assert thumb.commonest_share < 0.5


def test_joined_transport_streams(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.edit("twice.ts", transport(kitchen), lambda data: data + data)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(6, abs=0.3)
    assert lab.frames(run.path) in range(145, 156)
    assert rising(lab, lab.inside(run.path))


def test_a_stream_cut_in_the_middle_of_a_group(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.edit("midgop.ts", transport(kitchen), lambda data: data[40000:])
    for options in ({}, {"time": 0}, {"time": 0.2}):
        bitmap = lab.image(converter.convert(THUMB, source, "out.png", **options).path)
        assert bitmap.commonest_share < 0.5, "a grey broken frame"
        assert abs(bitmap.luma - lab.frame(kitchen.base(), 2).luma) < 15
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frame(run.path).commonest_share < 0.5
    assert rising(lab, lab.inside(run.path))


def test_program_streams_and_disc_files(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "disc.vob", *video("720x576"), *tone(), "-target", "pal-dvd", "-c:a", "ac3"
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(3, abs=0.15)
    assert lab.media(run.path).kinds == ["video", "audio"]


def test_audio_that_starts_late_stays_late(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    for name in ("late.mkv", "late.mp4", "late.ts"):
        source = kitchen.ffmpeg(
            name, *video(), "-itsoffset", "1", *tone(seconds=2), "-map", "0", "-map", "1",
            *X264, *AAC,
        )  # fmt: skip
        for options in ({}, {"quality": "low"}):
            run = converter.convert(VIDEO, source, "out.mp4", **options)
            found = lab.media(run.path)
            audible = float(found.audio["start_time"])
            quiet = [end for start, end in lab.silences(run.path) if start < 0.1]
            heard = quiet[0] if quiet else audible
            assert heard == pytest.approx(1, abs=0.06), (name, options, audible, quiet)
            assert found.duration == pytest.approx(3, abs=0.1)


def test_video_that_starts_late_stays_late(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # A white flash in the video and the end of the silence are at the same time.
    source = kitchen.ffmpeg(
        "late-video.mkv", "-itsoffset", "0.8", *colour("black"), *tone(seconds=3),
        "-filter_complex", "[0:v]drawbox=color=white:t=fill:enable='gte(t,1.4)'[v];"
        "[1:a]volume=0:enable='lt(t,1.4)'[a]",
        "-map", "[v]", "-map", "[a]", *X264, *AAC,
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4", quality="low")
    (heard,) = [end for start, end in lab.silences(run.path) if start < 0.1]
    text = lab.agent.run(
        (
            "ffprobe",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-show_entries",
            "frame=pts_time:frame_tags",
            "-of",
            "compact",
            f"movie={lab.inside(run.path)},signalstats",
        )
    ).decode()
    seen = next(
        float(pts)
        for pts, luma in re.findall(r"pts_time=([\d.]+).*?YAVG=([\d.]+)", text)
        if float(luma) > 120
    )
    assert seen == pytest.approx(heard, abs=0.08)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"start": 1, "duration": 1}, 1),
        ({"start": "00:00:02.000"}, 1),
        ({"start": "2.5"}, 0.5),
        ({"duration": "1.5"}, 1.5),
        ({"duration": 90}, 3),
        ({"start": "00:00:00.400", "duration": "00:00:01.200"}, 1.2),
        ({"duration": 0.04}, 0.04),
    ],
)
def test_start_and_duration(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    options: dict[str, object],
    wanted: float,
) -> None:
    run = converter.convert(VIDEO, kitchen.base(), "out.mp4", **options)
    assert lab.media(run.path).duration == pytest.approx(wanted, abs=0.1)


def test_a_cut_starts_with_the_requested_frame(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "switch.mp4", *colour("red", seconds=3), "-vf",
        "drawbox=color=blue:t=fill:enable='gte(t,1.5)'", *X264, "-g", "250",
    )  # fmt: skip
    late = converter.convert(VIDEO, source, "out.mp4", start="1.6", duration=1)
    assert near(lab.frame(late.path).at(0.5, 0.5), (0, 0, 254))
    early = converter.convert(VIDEO, source, "out.mp4", start="1.2", duration=1)
    assert near(lab.frame(early.path).at(0.5, 0.5), (254, 0, 0))
    assert near(lab.frame(early.path, 0.6).at(0.5, 0.5), (0, 0, 254))


@pytest.mark.parametrize("gap", [4, 50])
def test_a_start_in_a_gap_is_not_after_the_end(
    kitchen: Kitchen, converter: Converter, lab: Lab, gap: int
) -> None:
    """The signal was lost for a while. The packets of this WebM state no durations."""
    later = f"setpts='PTS+if(gte(N,25),{gap}/TB,0)'"
    source = kitchen.ffmpeg(
        f"gap-{gap}.webm", *video("160x120", 25, 2), "-vf", later, "-fps_mode", "vfr",
        "-c:v", "libvpx", "-deadline", "realtime", "-g", "5",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4", start=3, duration=2)
    assert lab.media(run.path).duration == pytest.approx(2, abs=0.1)


def test_a_start_after_the_end_has_nothing_in_range(kitchen: Kitchen, converter: Converter) -> None:
    for start in (3.5, 60, "01:00:00"):
        run = converter.refused(
            VIDEO, kitchen.base(), "out.mp4", ExitReason.NOTHING_IN_RANGE, start=start
        )
        assert run.wall < 5


def test_audio_longer_than_the_video_and_vice_versa(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    for name, seen, heard in (("long-audio.mp4", 1, 4), ("long-video.mp4", 4, 1)):
        source = kitchen.ffmpeg(name, *video(seconds=seen), *tone(seconds=heard), *X264, *AAC)
        for options in ({}, {"resolution": "240p", "quality": "low"}):
            found = lab.media(converter.convert(VIDEO, source, "out.mp4", **options).path)
            assert found.duration == pytest.approx(4, abs=0.15)
            assert float(found.video["duration"]) == pytest.approx(seen, abs=0.15)
            assert float(found.audio["duration"]) == pytest.approx(heard, abs=0.15)


def test_a_header_that_promises_more_than_the_streams_hold(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # Many recorders write the planned duration: a good file with a wrong header.
    plain = kitchen.ffmpeg("plain.mkv", *video(), *tone(), *X264, *AAC)
    at = kitchen.read(plain).index(b"\x44\x89")

    def lie(data: bytes) -> bytes:
        assert data[at + 2] == 0x88, "Duration is expected as eight bytes"
        return data[: at + 3] + bytes.fromhex("40dd4c0000000000") + data[at + 11 :]  # 30000 ms

    source = kitchen.edit("lying.mkv", plain, lie)
    assert lab.media(source).duration == pytest.approx(30, abs=0.1)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(3, abs=0.15)
    assert lab.frames(run.path) == 75
