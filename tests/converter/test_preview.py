"""Previews: a few seconds from several places of a video, without sound."""

from __future__ import annotations

import pytest

from media_converter.contract import Action, ExitReason, OutputState
from media_converter.files import png
from media_converter.planning.image import page_step
from media_converter.step import INPUT
from tests.converter import several
from tests.converter.harness import PREVIEW, Converter, Run
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.several import Wanted

COLOURS = ("red", "lime", "cyan", "white")


def quarters(kitchen: Kitchen, name: str = "quarters.mp4", seconds: float = 10) -> str:
    """A film with sound whose quarters have one colour each, with a small moving pattern."""
    inputs = [
        word
        for colour in COLOURS
        for word in ("-f", "lavfi", "-i", f"color={colour}:s=320x180:r=25:d={seconds}")
    ]
    graph = "".join(f"[{i}]" for i in range(4)) + "concat=n=4[c];[c][4]overlay=0:0[v]"
    pattern = ("-f", "lavfi", "-i", f"testsrc2=s=64x36:r=25:d={4 * seconds}")
    return kitchen.ffmpeg(
        name, *inputs, *pattern, *tone(seconds=4 * seconds), "-filter_complex", graph,
        "-map", "[v]", "-map", "5:a", *X264, *AAC,
    )  # fmt: skip


def colours(run: Run, lab: Lab, *times: float) -> list[str]:
    """The name of the colour at the right side of the picture, at each time."""
    names = {(1, 0, 0): "red", (0, 1, 0): "lime", (0, 1, 1): "cyan", (1, 1, 1): "white"}
    found = (lab.frame(run.path, time).at(0.9, 0.5) for time in times)
    return [names.get((red > 128, green > 128, blue > 128), "?") for red, green, blue in found]


@pytest.mark.parametrize(
    ("options", "seconds", "shown"),
    [
        ({}, 6, dict(zip((0.1, 1.6, 3.1, 4.6), COLOURS, strict=True))),
        ({"duration": "8s", "segments": 2}, 8, {0.1: "red", 3.9: "lime", 4.1: "cyan"}),
        ({"duration": 3, "segments": "1", "size": "160x160"}, 3, {}),
    ],
)
def test_an_mp4_of_several_places(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    options: dict[str, object],
    seconds: float,
    shown: dict[float, str],
) -> None:
    run = converter.convert(PREVIEW, quarters(kitchen), "out.mp4", **options)
    media = lab.media(run.path, count=True)
    assert media.kinds == ["video"], "there is no sound"
    assert media.video["codec_name"] == "h264"
    assert media.duration == pytest.approx(seconds, abs=0.05)
    assert int(media.video["nb_read_frames"]) == pytest.approx(25 * seconds, abs=2)
    assert media.size == ((160, 90) if "size" in options else (320, 180))
    if shown:
        assert colours(run, lab, *shown) == [*shown.values()]
    assert run.report.output
    assert run.report.output.duration_seconds == pytest.approx(seconds, abs=0.05)


def test_an_animated_webp(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(PREVIEW, quarters(kitchen), "out.webp", duration=4, size="160x160")
    fields = lab.header(run.path, "[n=-1]")
    assert (fields["width"], fields["page-height"]) == ("160", "90")
    frames = int(fields["n-pages"])
    assert 25 <= frames <= 40
    delays = [int(word) for word in fields["delay"].split()]
    assert sum(delays) == pytest.approx(4000, abs=200)
    assert int(fields["loop"]) == 0
    found = [lab.image(run.path, page=page).at(0.9, 0.5) for page in (1, frames // 2 - 3)]
    assert found[0][0] > 200
    assert found[1][1] > 200


def test_the_frames_of_an_animation_can_be_looked_at(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    run = converter.convert(PREVIEW, quarters(kitchen), "look.webp", duration=4, size="160x160")
    frames = int(lab.header(run.path, "[n=-1]")["n-pages"])
    for page in (0, frames // 2, frames - 1):
        argv = [word.replace(INPUT, lab.inside(run.path)) for word in page_step(page).argv]
        small = png.decode(converter.agent.run(argv))
        assert small
        assert (small.width, small.height) == (16, 16)
        assert len(set(small.rgba[::4])) > 1, "the pattern of the film"


@pytest.mark.parametrize("seconds", [0.04, 0.5, 2.0, 4.0, 9.0])
@pytest.mark.parametrize("target", ["out.mp4", "out.webp"])
def test_a_film_that_is_shorter_than_the_preview(
    kitchen: Kitchen, converter: Converter, lab: Lab, seconds: float, target: str
) -> None:
    source = kitchen.ffmpeg(f"preview-{seconds}.mp4", *video(seconds=seconds), *X264)
    run = converter.convert(PREVIEW, source, target)
    if target.endswith("mp4"):
        assert lab.media(run.path).duration == pytest.approx(min(6, seconds), abs=0.06)
    else:
        assert int(lab.header(run.path).get("n-pages", 1)) >= 1


def test_dark_places_are_left_out(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "preview-dark.mp4", "-f", "lavfi", "-i", "color=black:s=320x180:r=25:d=20",
        *video(seconds=20), "-filter_complex", "[0][1]concat=n=2", *X264, "-g", "25",
    )  # fmt: skip
    # The middle of the film without the preview begins in the dark.
    run = converter.convert(PREVIEW, source, "out.mp4", duration=4, segments=1)
    assert lab.frame(run.path, 0.5).luma > 60


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("preview-live.mkv", ("-c", "copy", "-f", "matroska", "-live", "1")),
        ("preview.ts", ("-c", "copy", "-f", "mpegts")),
        ("preview.h264", ("-map", "0:v", "-c", "copy", "-f", "h264")),
        ("preview.flv", ("-c", "copy", "-f", "flv", "-flvflags", "no_duration_filesize")),
    ],
)
def test_recordings_without_a_length_and_other_containers(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, arguments: tuple[str, ...]
) -> None:
    source = quarters(kitchen)
    inside = f"ffmpeg -v error -i /workspace/{source} {' '.join(arguments)} pipe:1"
    recording = kitchen.make(name, lambda out: kitchen.run("sh", "-c", f"{inside} > {out}"))
    run = converter.convert(PREVIEW, recording, "out.mp4")
    assert colours(run, lab, 0.2, 1.7, 3.2, 4.7) == [*COLOURS]
    assert lab.media(run.path).duration == pytest.approx(6, abs=0.1)


def test_a_picture_that_stands_for_long(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """Slides of eight seconds: each part shows the slide that is on the screen."""
    slides = kitchen.ffmpeg(
        "preview-slides.mkv", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=1/8:d=64", *X264
    )
    run = converter.convert(PREVIEW, slides, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(6, abs=0.1)


def test_a_truncated_film_is_refused(kitchen: Kitchen, converter: Converter) -> None:
    whole = kitchen.ffmpeg(
        "preview-long.mp4", *video(seconds=30), *X264, "-g", "25", "-movflags", "+faststart"
    )
    cut = kitchen.edit("preview-cut.mp4", whole, lambda data: data[: len(data) // 2])
    for target in ("out.mp4", "out.webp"):
        converter.refused(PREVIEW, cut, target, ExitReason.INPUT_TRUNCATED)


def test_a_song_has_no_preview(kitchen: Kitchen, converter: Converter) -> None:
    song = kitchen.ffmpeg("preview-song.mp3", *tone(seconds=2), "-c:a", "libmp3lame")
    converter.refused(PREVIEW, song, "out.webp", ExitReason.NO_VIDEO_STREAM)


def test_only_the_places_are_decoded(kitchen: Kitchen, converter: Converter) -> None:
    """Pictures between two places that cannot be decoded leave no trace in the log."""
    whole = quarters(kitchen, "preview-minutes.mp4", seconds=60)

    def damage(data: bytes) -> bytes:
        place = len(data) // 5
        return data[:place] + b"\xff" * 4000 + data[place + 4000 :]

    source = kitchen.edit("preview-minutes-damaged.mp4", whole, damage)
    run = converter.convert(PREVIEW, source, "out.mp4")
    assert run.output
    log = run.ended.stdout.decode()
    assert "4 places" in log
    assert "encode: " not in log, "a line about what cannot be decoded"


def test_a_plan_comes_true(kitchen: Kitchen, converter: Converter) -> None:
    source = quarters(kitchen)
    folder = converter.workspace.scratch("plan")
    wanted = [
        Wanted(PREVIEW, f"{folder}/a.mp4", {"size": "160x161"}),
        Wanted(PREVIEW, f"{folder}/a.webp", {"size": "64x64", "duration": 3}),
    ]
    plan = several.run(converter, source, wanted, env={"DRY_RUN": "true"}).report.plan
    assert [(each.action, each.width, each.height) for each in plan] == [
        (Action.ENCODE, 160, 90),
        (Action.ENCODE, 64, 36),
    ]
    done = several.run(converter, source, wanted)
    assert done.states == [OutputState.SUCCEEDED] * 2
    for each, result in zip(plan, done.report.outputs, strict=True):
        assert result.output
        assert result.size
        assert (result.output.width, result.output.height) == (each.width, each.height)
        assert result.output.video_codec == each.video_codec
        assert each.memory
        assert each.estimated_size
        assert result.size < 20 * each.estimated_size


def test_less_memory_makes_fewer_parts(kitchen: Kitchen, converter: Converter) -> None:
    """A decoder of a 4K film takes 190 MiB by the plan. Four do not fit into 1 GiB."""
    source = kitchen.ffmpeg("preview-4k.mp4", *video("3840x2160", 2, 20), *X264, "-g", "2")
    run = converter.convert(PREVIEW, source, "out.mp4", size="320x320", segments=10, duration=3)
    assert "parts instead of 10. More need more memory." in run.report.warnings[0]
