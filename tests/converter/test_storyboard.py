"""Storyboards: an image of small pictures, and a WebVTT file that says when each one counts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import webvtt

from media_converter.contract import Action, ExitReason, OutputState
from tests.converter import several
from tests.converter.harness import STORYBOARD, THUMB, VIDEO, Case, Converter, Run
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import Bitmap
from tests.converter.several import Wanted

GREYS = (40, 80, 120, 160, 200, 240)
"""The luma of each second of a film of six seconds."""


def stairs(kitchen: Kitchen, name: str, *encoder: str, seconds: float = 1) -> str:
    """A film that becomes brighter from second to second. Its key pictures are the encoder's."""
    inputs = [
        word
        for grey in GREYS
        for word in ("-f", "lavfi", "-i", f"color=0x{grey:02x}{grey:02x}{grey:02x}:"
                     f"s=320x180:r=25:d={seconds}")
    ]  # fmt: skip
    graph = "".join(f"[{i}]" for i in range(len(GREYS))) + f"concat=n={len(GREYS)}[v]"
    return kitchen.ffmpeg(
        name, *inputs, "-filter_complex", graph, "-map", "[v]", *(encoder or X264)
    )


@dataclass(frozen=True)
class Entry:
    """A cue, by an independent parser. Times are in seconds."""

    start: float
    end: float
    image: str
    box: tuple[int, ...]


def entries(vtt: Path) -> list[Entry]:
    found = []
    for caption in webvtt.read(str(vtt)).captions:
        image, _, box = caption.text.partition("#xywh=")
        start, end = (
            time.hours * 3600 + time.minutes * 60 + time.seconds + time.milliseconds / 1000
            for time in (caption.start_time, caption.end_time)
        )
        found.append(Entry(start, end, unquote(image), tuple(map(int, box.split(",")))))
    return found


def made(run: Run, lab: Lab, seconds: float) -> tuple[list[Entry], Bitmap]:
    """The cues and the sprite. The cues cover the film, and point into the sprite."""
    sprite = lab.image(run.path)
    found = entries(run.path.with_suffix(".vtt"))
    assert found[0].start == 0
    assert found[-1].end == pytest.approx(seconds, abs=0.002)
    for one, following in pairwise(found):
        assert one.end == following.start
    boxes = set()
    for entry in found:
        assert entry.end > entry.start
        assert entry.image == run.path.name
        x, y, width, height = entry.box
        assert x + width <= sprite.width
        assert y + height <= sprite.height
        boxes.add(entry.box)
    assert len(boxes) == len(found)
    return found, sprite


def luma(sprite: Bitmap, entry: Entry) -> float:
    x, y, width, height = entry.box
    return sum(pixel(sprite, x + width // 2, y + height // 2)) / 3


def pixel(sprite: Bitmap, x: int, y: int) -> bytes:
    at = 3 * (y * sprite.width + x)
    return sprite.pixels[at : at + 3]


def near(found: Sequence[float], wanted: Sequence[float]) -> None:
    assert len(found) == len(wanted)
    assert [abs(a - b) < 8 for a, b in zip(found, wanted, strict=True)] == [True] * len(found)


def log_of(run: Run) -> str:
    return run.ended.stdout.decode()


@pytest.mark.parametrize("target", ["out.jpg", "out.webp", "out.JPEG", "a b#1%é&.jpg"])
def test_each_second_has_its_picture(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    run = converter.convert(STORYBOARD, source, target)
    found, sprite = made(run, lab, 6.0)
    near([luma(sprite, entry) for entry in found], GREYS)
    assert {entry.box[2:] for entry in found} == {(160, 90)}
    assert run.report.output
    assert (run.report.output.width, run.report.output.height) == (960, 90)
    assert run.report.output_size == run.path.stat().st_size, "the size is that of the sprite"
    assert not run.report.warnings


@pytest.mark.parametrize("encoder", [("-g", "300"), ("-g", "50", "-bf", "3")])
def test_a_picture_that_is_no_key_picture(
    kitchen: Kitchen, converter: Converter, lab: Lab, encoder: tuple[str, ...]
) -> None:
    name = f"stairs{''.join(encoder)}.mp4"
    source = stairs(kitchen, name, *X264, "-sc_threshold", "0", *encoder)
    found, sprite = made(converter.convert(STORYBOARD, source, "out.jpg"), lab, 6.0)
    near([luma(sprite, entry) for entry in found], GREYS)


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({"interval": 2}, [0, 2, 4]),
        ({"interval": "2.5"}, [0, 2.5, 5]),
        ({"interval": "5.9"}, [0]),
        ({"interval": 600}, [0]),
        ({"count": 2}, [0, 3]),
        ({"count": 4, "columns": 3, "size": "64x64"}, [0, 1.5, 3, 4.5]),
        ({"count": "1"}, [0]),
    ],
)
def test_options(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    options: dict[str, object],
    starts: list[float],
) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    found, sprite = made(converter.convert(STORYBOARD, source, "out.jpg", **options), lab, 6.0)
    assert [entry.start for entry in found] == starts
    wanted = [GREYS[int(start)] for start in starts]
    if options.get("interval") != "2.5" and options.get("count") != 4:
        near([luma(sprite, entry) for entry in found], wanted)
    if "columns" in options:
        assert (sprite.width, sprite.height) == (3 * 64, 2 * 36)
        assert found[3].box == (0, 36, 64, 36)


@pytest.mark.parametrize("seconds", [2.0, 0.4, 0.04])
def test_a_film_of_two_seconds_or_less(
    kitchen: Kitchen, converter: Converter, lab: Lab, seconds: float
) -> None:
    source = kitchen.ffmpeg(f"short-{seconds}.mp4", *video(seconds=seconds), *X264)
    found, _ = made(converter.convert(STORYBOARD, source, "out.webp"), lab, seconds)
    assert len(found) == max(1, int(seconds))
    run = converter.convert(STORYBOARD, source, "out.jpg", count=1000)
    found, _ = made(run, lab, seconds)
    assert len(found) == max(1, round(10 * seconds - 0.5))
    assert "images instead of 1000" in run.report.warnings[0]


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("live.mkv", ("-c:v", "copy", "-f", "matroska", "-live", "1")),
        ("raw.h264", ("-c:v", "copy", "-f", "h264")),
        ("live.flv", ("-c:v", "copy", "-f", "flv", "-flvflags", "no_duration_filesize")),
        ("live.ts", ("-c:v", "copy", "-f", "mpegts")),
        ("moving.mov", ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")),
        ("fragments.mp4", ("-c:v", "copy", "-movflags", "+frag_keyframe+empty_moov", "-f", "mp4")),
    ],
)
def test_recordings_without_a_length_and_other_containers(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, encoder: tuple[str, ...]
) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    # Written to a pipe, a file cannot have its length in the header.
    inside = f"ffmpeg -v error -i /workspace/{source} {' '.join(encoder)} -y "
    pipe = inside + "pipe:1 > " if name.startswith(("live", "raw", "frag")) else inside
    recording = kitchen.make(
        f"storyboard-{name}", lambda out: kitchen.run("sh", "-c", f"{pipe}{out}")
    )
    run = converter.convert(STORYBOARD, recording, "out.jpg", count=6)
    found = entries(run.path.with_suffix(".vtt"))
    assert found[-1].end == pytest.approx(6.0, abs=0.1)
    _, sprite = made(run, lab, found[-1].end)
    near([luma(sprite, entry) for entry in found], GREYS)


def test_a_still_picture_and_its_sound(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """The picture stands until the sound ends, and no part is without one."""
    source = kitchen.ffmpeg(
        "storyboard-stands.mp4", *video(seconds=1), *tone(seconds=9), *X264, *AAC, "-g", "300"
    )
    run = converter.convert(STORYBOARD, source, "out.jpg", interval=1)
    found, sprite = made(run, lab, 9.0)
    assert len(found) == 9
    last = [pixel(sprite, e.box[0] + 20, e.box[1] + 20) for e in found[1:]]
    assert len(set(last)) == 1
    assert not run.report.warnings


def test_a_sprite_has_a_bounded_size(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = stairs(kitchen, "large.mp4", *X264, "-g", "5", "-s", "1920x1080")
    run = converter.convert(STORYBOARD, source, "out.webp", count=60, columns=20, size="1920x1080")
    _, sprite = made(run, lab, 6.0)
    assert max(sprite.width, sprite.height) <= 16383
    assert sprite.width * sprite.height <= 1 << 24
    assert "The storyboard has 8 images instead of 60." in run.report.warnings[0]


def test_a_truncated_film_is_refused(kitchen: Kitchen, converter: Converter) -> None:
    whole = kitchen.ffmpeg("storyboard-long.ts", *video(seconds=30), *X264, "-g", "25")
    mp4 = kitchen.ffmpeg(
        "storyboard-long.mp4", *video(seconds=30), *X264, "-g", "25", "-movflags", "+faststart"
    )
    cut = kitchen.edit("storyboard-cut.mp4", mp4, lambda data: data[: len(data) // 2])
    converter.refused(STORYBOARD, cut, "out.jpg", ExitReason.INPUT_TRUNCATED)
    kept = converter.run(
        Case(STORYBOARD, f"/{cut}", f"/{converter.workspace.scratch()}/out.jpg"),
        env={"DAMAGED_INPUT": "Convert"},
    )
    assert kept.report.warnings
    assert entries(kept.path.with_suffix(".vtt"))[-1].end == pytest.approx(30, abs=0.1)
    assert converter.convert(STORYBOARD, whole, "out.jpg").output


def test_a_song_has_no_storyboard(kitchen: Kitchen, converter: Converter) -> None:
    song = kitchen.ffmpeg("storyboard-song.mp3", *tone(seconds=2), "-c:a", "libmp3lame")
    converter.refused(STORYBOARD, song, "out.jpg", ExitReason.NO_VIDEO_STREAM)


def test_a_rotated_film_is_upright(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    flat = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    turned = kitchen.ffmpeg(
        "storyboard-turned.mp4", "-display_rotation", "90", "-i", flat, "-c", "copy"
    )
    found, _ = made(converter.convert(STORYBOARD, turned, "out.jpg"), lab, 6.0)
    assert {entry.box[2:] for entry in found} == {(90, 160)}


def test_a_storyboard_comes_before_the_films_and_its_plan_comes_true(
    kitchen: Kitchen, converter: Converter
) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    folder = converter.workspace.scratch("board")
    wanted = [
        Wanted(VIDEO, f"{folder}/film.mp4", {"resolution": "240p"}),
        Wanted(STORYBOARD, f"{folder}/board.webp", {"count": 3}),
        Wanted(THUMB, f"{folder}/thumb.jpg"),
    ]
    planned = several.run(converter, source, wanted, env={"DRY_RUN": "true"})
    plan = planned.report.plan[1]
    assert (plan.action, plan.video_codec) == (Action.CONVERT, "webp")
    assert (plan.width, plan.height) == (480, 90)
    assert not list(converter.workspace.path(folder).iterdir())
    done = several.run(converter, source, wanted)
    assert done.states == [OutputState.SUCCEEDED] * 3
    facts = done.report.outputs[1].output
    assert facts
    assert (facts.width, facts.height) == (plan.width, plan.height)
    order = re.findall(r"outputs\[(\d)\] \(.*\): \w+$", done.log, re.MULTILINE)
    assert order == ["2", "1", "0"]


def test_a_retry_keeps_a_storyboard_only_if_both_files_are_right(
    kitchen: Kitchen, converter: Converter
) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    folder = converter.workspace.scratch("pair")
    wanted = [Wanted(STORYBOARD, f"{folder}/board.jpg")]
    several.run(converter, source, wanted)
    place = converter.workspace.path(folder)
    sprite, vtt = place / "board.jpg", place / "board.vtt"
    first = (sprite.stat().st_ino, vtt.stat().st_ino)
    again = several.run(converter, source, wanted)
    assert (sprite.stat().st_ino, vtt.stat().st_ino) == first
    assert "an earlier attempt has published it" in again.log
    text = vtt.read_bytes()
    vtt.write_bytes(text.replace(b"00:00:01.000 -->", b"00:00:01.500 -->"))
    several.run(converter, source, wanted)
    assert vtt.read_bytes() == text
    vtt.unlink()
    several.run(converter, source, wanted)
    assert vtt.read_bytes() == text
    # The same conversion, but other options: a file of one pair does not belong to the other.
    few = [Wanted(STORYBOARD, f"{folder}/board.jpg", {"count": 2})]
    sprite.unlink()
    several.run(converter, source, few)
    assert len(entries(vtt)) == 2
    assert json.dumps(sorted(path.name for path in place.iterdir())) == json.dumps(
        ["board.jpg", "board.vtt"]
    )


@pytest.mark.parametrize("env", [{"OVERWRITE": "false"}, {"OVERWRITE": "true"}])
def test_a_vtt_of_somebody_else(
    kitchen: Kitchen, converter: Converter, env: dict[str, str]
) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    folder = converter.workspace.scratch("theirs")
    theirs = converter.workspace.path(folder) / "board.vtt"
    theirs.write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n")
    theirs.chmod(0o666)
    case = Case(STORYBOARD, f"/{source}", f"/{folder}/board.jpg")
    run = converter.run(case, env=env | {"CONVERSION_UID": "a"})
    if env["OVERWRITE"] == "false":
        assert run.reason is ExitReason.OUTPUT_EXISTS
        assert "board.vtt exists" in run.report.message
        assert "Hello" in theirs.read_text()
    else:
        assert len(entries(theirs)) == 6


def test_the_vtt_is_never_the_input(kitchen: Kitchen, converter: Converter) -> None:
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    copy = kitchen.write("storyboard-input.vtt", kitchen.read(source))
    run = converter.run(Case(STORYBOARD, f"/{copy}", "/media/storyboard-input.jpg"))
    assert run.reason is ExitReason.OUTPUT_IS_INPUT


def test_a_sprite_that_shows_something_else_is_discarded(
    kitchen: Kitchen, converter: Converter
) -> None:
    """A part of the pixels is lost before they are encoded."""
    source = stairs(kitchen, "stairs-key.mp4", *X264, "-g", "25")
    folder = converter.workspace.scratch("black")
    script = """
import os, sys
sys.path.insert(0, "/opt/converter")
from media_converter import main
from media_converter.running import storyboard
put = storyboard._SpriteMaker._put
storyboard._SpriteMaker._put = lambda self, number, pixels: (
    put(self, number, pixels), number == 3 and os.pwrite(self._sprite, bytes(20000), 200000)
)
sys.exit(main.main())
"""
    case = Case(STORYBOARD, f"/{source}", f"/{folder}/board.jpg")
    argv = [*converter.argv[:-1], "-c", script]
    patched = Converter(converter.agent, converter.workspace, tuple(argv))
    run = patched.run(case)
    assert run.reason is ExitReason.VERIFICATION_FAILED
    assert "of the storyboard is not that of the video" in run.report.message
