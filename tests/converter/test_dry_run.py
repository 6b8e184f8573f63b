"""Dry runs: the plan of each output, and no file."""

from __future__ import annotations

import pytest

from media_converter.contract import Action, ExitReason
from tests.converter import several
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Case, Converter, listing
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.recipes import long_video, photo
from tests.converter.several import Wanted

DRY = {"DRY_RUN": "true"}
MIB = 1 << 20


def test_a_dry_run_plans_each_output_and_writes_nothing(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("dry")
    wanted = [
        Wanted(VIDEO, f"{folder}/new/small.mp4", {"resolution": "360p"}),
        Wanted(VIDEO, f"{folder}/new/part.mp4", {"start": 1, "duration": 2}),
        Wanted(AUDIO, f"{folder}/sound.mp3", {"bitrate": "128k"}),
        Wanted(THUMB, f"{folder}/thumb.webp", {"size": "100x100"}),
        Wanted(IMAGE, f"{folder}/image.png", optional=True),
    ]
    source = kitchen.base()
    before = listing(converter.workspace.root / "media")
    done = several.run(converter, source, wanted, env=DRY)
    assert done.reason is ExitReason.COMPLETED, done.report.message
    assert not listing(converter.workspace.path(folder)), "no folder was made"
    assert listing(converter.workspace.root / "media") == before
    assert not done.report.outputs
    small, part, sound, thumb, image = done.report.plan
    assert small.action is Action.COPY
    assert (small.video_codec, small.audio_codec) == ("h264", "aac")
    assert (small.width, small.height) == (320, 180)
    assert small.estimated_size == converter.workspace.path(source).stat().st_size
    assert part.action is Action.ENCODE
    assert part.duration_seconds == pytest.approx(2)
    assert (sound.action, sound.audio_codec) == (Action.ENCODE, "mp3")
    assert sound.estimated_size == pytest.approx(48_000, rel=0.05)
    assert (thumb.action, thumb.video_codec) == (Action.ENCODE, "webp")
    assert (thumb.width, thumb.height) == (100, 56)
    assert image.action is Action.SKIP
    assert image.reason is ExitReason.UNSUPPORTED_FORMAT
    assert "image_resize" in image.message or "video" in image.message
    for planned in (small, part, sound, thumb):
        assert planned.memory
        assert planned.memory > 20 * MIB
        assert planned.estimated_seconds
        assert planned.estimated_size


def test_a_plan_comes_true(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("true")
    source = long_video(kitchen)
    wanted = [
        Wanted(VIDEO, f"{folder}/{size}.mp4", {"resolution": size}) for size in ("480p", "240p")
    ]
    plan = several.run(converter, source, wanted, env=DRY).report.plan
    made = several.run(converter, source, wanted).report.outputs
    for planned, result in zip(plan, made, strict=True):
        assert planned.action is Action.ENCODE
        assert result.output
        facts = result.output
        assert (planned.video_codec, planned.audio_codec) == (facts.video_codec, facts.audio_codec)
        assert (planned.width, planned.height) == (facts.width, facts.height)
        assert planned.duration_seconds == pytest.approx(facts.duration_seconds, abs=0.1)
    assert plan[0].memory == plan[1].memory, "they are made at the same time"
    image = Wanted(IMAGE, f"{folder}/image.jpg", {"size": "100x80"})
    (planned,) = several.run(converter, photo(kitchen, "photo.jpg"), [image], env=DRY).report.plan
    assert planned.action is Action.CONVERT
    assert (planned.width, planned.height, planned.video_codec) == (100, 75, "jpeg")


def test_a_dry_run_ends_as_the_run_would(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("dry-fails")
    silent = kitchen.ffmpeg("silent.mp4", *video(), *X264)
    thumb, sound = Wanted(THUMB, f"{folder}/a.jpg"), Wanted(AUDIO, f"{folder}/a.mp3")
    done = several.run(converter, silent, [thumb, sound], env=DRY)
    assert done.reason is ExitReason.NO_AUDIO_STREAM
    assert f"outputs[1] ({folder}/a.mp3)" in done.report.message
    optional = Wanted(AUDIO, f"{folder}/a.mp3", optional=True)
    done = several.run(converter, silent, [thumb, optional], env=DRY)
    assert done.report.plan[1].action is Action.SKIP
    assert done.report.plan[1].reason is ExitReason.NO_AUDIO_STREAM
    converter.workspace.path(f"{folder}/a.jpg").write_bytes(b"somebody's")
    done = several.run(converter, silent, [thumb], env={**DRY, "OVERWRITE": "false"})
    assert done.reason is ExitReason.OUTPUT_EXISTS
    assert several.run(converter, silent, [thumb], env=DRY).reason is ExitReason.COMPLETED
    large = kitchen.ffmpeg("large.mkv", *video("3840x2160", seconds=0.2), "-c:v", "mpeg4")
    done = several.run(converter, large, [Wanted(VIDEO, f"{folder}/film.mp4")], env=DRY)
    assert done.report.plan[0].memory
    assert done.report.plan[0].memory > 500 * MIB
    assert converter.workspace.path(f"{folder}/a.jpg").read_bytes() == b"somebody's"


def test_the_form_with_one_output_has_a_plan_too(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("dry-one")
    source = kitchen.ffmpeg("tone.flac", *tone())
    env = {
        **Case(AUDIO, f"/{source}", f"/{folder}/new/a.mp3").env(),
        "OUTPUTS": "",
        "CONVERSION_UID": "",
        **DRY,
    }
    wanted = [Wanted(AUDIO, f"/{folder}/new/a.mp3")]
    done = several.run(converter, source, wanted, env=env)
    (planned,) = done.report.plan
    assert (planned.action, planned.audio_codec) == (Action.ENCODE, "mp3")
    assert not listing(converter.workspace.path(folder))
