"""Several outputs from one input."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest

from media_converter.contract import ExitReason, OutputState
from tests.converter import several
from tests.converter.harness import (
    AUDIO,
    IMAGE,
    THUMB,
    UID,
    VIDEO,
    Converter,
    listing,
    until,
)
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.recipes import covered, looped_video, photo
from tests.converter.several import CONVERSION, Wanted

S, F, P, K = OutputState.SUCCEEDED, OutputState.FAILED, OutputState.PENDING, OutputState.SKIPPED


def silent(kitchen: Kitchen) -> str:
    return kitchen.ffmpeg("silent.mp4", *video(), *X264)


def test_one_run_makes_outputs_of_every_kind(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("many")
    wanted = [
        Wanted(VIDEO, f"{folder}/web/small.mp4", {"resolution": "240p", "duration": "2"}),
        Wanted(THUMB, f"{folder}/thumbs/first.jpg", {"time": 0}),
        Wanted(AUDIO, f"{folder}/sound.mp3"),
        Wanted(THUMB, f"{folder}/thumbs/other.png", {"size": "64x64"}),
    ]
    done = several.run(converter, kitchen.base(), wanted)
    assert done.reason is ExitReason.COMPLETED
    assert done.states == [S, S, S, S]
    facts = [result.output for result in done.report.outputs if result.output]
    assert [fact.container for fact in facts] == ["mp4", "jpeg", "mp3", "png"]
    assert facts[0].duration_seconds == pytest.approx(2, abs=0.1)
    assert (facts[3].width, facts[3].height) == (64, 36)
    assert lab.media(wanted[0].target).duration == pytest.approx(2, abs=0.1)
    assert lab.media(wanted[2].target).duration == pytest.approx(3, abs=0.1)
    order = [line for line in done.log.splitlines() if " outputs[" in line]
    assert [line.partition("outputs[")[2][0] for line in order] == ["1", "3", "2", "0"]


def test_several_images_of_one_photo(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("many")
    wanted = [
        Wanted(IMAGE, f"{folder}/a.webp", {"size": "100x100"}),
        Wanted(IMAGE, f"{folder}/b.jpg", {"size": "50x50"}),
        Wanted(IMAGE, f"{folder}/c.avif", {"size": "64x64"}),
    ]
    done = several.run(converter, photo(kitchen, "photo.jpg"), wanted)
    assert done.states == [S, S, S]
    assert [result.output and result.output.width for result in done.report.outputs] == [
        100,
        50,
        64,
    ]


def test_the_first_failure_of_an_output_ends_the_run(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("fails")
    wanted = [
        Wanted(VIDEO, f"{folder}/film.mp4"),
        Wanted(AUDIO, f"{folder}/sound.mp3"),
        Wanted(THUMB, f"{folder}/thumb.jpg"),
    ]
    done = several.run(converter, silent(kitchen), wanted)
    assert done.reason is ExitReason.NO_AUDIO_STREAM
    assert done.states == [P, F, S]
    assert f"outputs[1] ({folder}/sound.mp3): " in done.report.message
    assert done.report.outputs[1].reason is ExitReason.NO_AUDIO_STREAM
    assert set(listing(converter.workspace.path(folder))) == {"thumb.jpg"}


def test_an_optional_output_that_does_not_apply_is_skipped(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("optional")
    song = kitchen.ffmpeg("tone.flac", *tone())
    wanted = [
        Wanted(THUMB, f"{folder}/cover.jpg", optional=True),
        Wanted(VIDEO, f"{folder}/film.mp4", optional=True),
        Wanted(IMAGE, f"{folder}/image.jpg", optional=True),
        Wanted(AUDIO, f"{folder}/sound.mp3"),
        Wanted(AUDIO, f"{folder}/late.mp3", {"start": 1000}, optional=True),
    ]
    done = several.run(converter, song, wanted)
    assert done.reason is ExitReason.COMPLETED
    assert done.states == [K, K, K, S, F]
    reasons = [result.reason for result in done.report.outputs]
    assert reasons == [
        ExitReason.NO_VIDEO_STREAM,
        ExitReason.NO_VIDEO_STREAM,
        ExitReason.UNSUPPORTED_FORMAT,
        None,
        ExitReason.NOTHING_IN_RANGE,
    ]
    again = several.run(converter, covered(kitchen, "song.mp3"), [wanted[0], wanted[3]])
    assert again.states == [S, S], "a song with a cover has a thumbnail"


def test_all_paths_are_checked_before_anything_is_made(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("paths")
    locked = converter.workspace.folder(f"{folder}/locked", 0o555)
    (converter.workspace.path(folder) / "link").symlink_to("/etc")
    wrong = {
        f"{folder}/locked/film.mp4": ExitReason.OUTPUT_NOT_WRITABLE,
        f"{folder}/link/film.mp4": ExitReason.PATH_NOT_ALLOWED,
        f"{folder}/../../film.mp4": ExitReason.PATH_NOT_ALLOWED,
        kitchen.base(): ExitReason.OUTPUT_IS_INPUT,
    }
    thumb = Wanted(THUMB, f"{folder}/thumb.jpg")
    for path, reason in wrong.items():
        done = several.run(converter, kitchen.base(), [thumb, Wanted(VIDEO, path)])
        assert done.reason is reason, done.report.message
        assert "outputs[1]" in done.report.message
        assert done.states == [P, F]
    assert set(listing(converter.workspace.path(folder))) == {"locked", "link"}
    done = several.run(
        converter, kitchen.base(), [thumb, Wanted(VIDEO, next(iter(wrong)), optional=True)]
    )
    assert done.states == [S, F]
    locked.chmod(0o755)


def test_an_invalid_request_makes_nothing(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("invalid")
    thumb = Wanted(THUMB, f"{folder}/thumb.jpg")
    twice = [thumb, Wanted(THUMB, f"/{folder}//thumb.jpg")]
    done = several.run(converter, kitchen.base(), twice)
    assert done.reason is ExitReason.INVALID_OPTIONS
    assert "outputs[1]" in done.report.message
    nine = [Wanted(THUMB, f"{folder}/{number}.jpg") for number in range(9)]
    assert several.run(converter, kitchen.base(), nine).reason is ExitReason.INVALID_OPTIONS
    assert not listing(converter.workspace.path(folder))


def test_the_size_limit_holds_for_each_output(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("size")
    big = Wanted(AUDIO, f"{folder}/big.mp3", {"bitrate": "320k"}, optional=True)
    small = [Wanted(AUDIO, f"{folder}/{n}.mp3", {"bitrate": "128k"}) for n in (1, 2)]
    source = kitchen.ffmpeg("five.flac", *tone(seconds=5))
    done = several.run(converter, source, [big, *small], env={"MAX_OUTPUT_BYTES": "100000"})
    assert done.states == [F, S, S]
    assert done.report.outputs[0].reason is ExitReason.OUTPUT_TOO_LARGE
    assert (done.report.output_size or 0) > 100_000, "together they may be larger"


def test_a_thumbnail_has_its_name_while_the_video_is_made(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("early")
    place = converter.workspace.path(folder)
    wanted = [
        Wanted(VIDEO, f"{folder}/film.mp4", {"quality": "high"}),
        Wanted(THUMB, f"{folder}/thumb.jpg"),
    ]
    going = several.start(converter, looped_video(kitchen), wanted)
    until((place / "thumb.jpg").exists)
    state = None

    def reported() -> bool:
        nonlocal state
        state = going.report_now()
        return bool(state and state.outputs and state.outputs[1].state is S)

    until(reported)
    until(lambda: (going.report_now() or state).progress.percent)  # type: ignore[union-attr]
    going.command.signal(signal.SIGTERM)
    done = going.end()
    assert done.reason is ExitReason.TERMINATED
    assert done.states == [P, S], "what is complete stays"
    assert set(listing(place)) == {"thumb.jpg"}


def test_a_retry_after_a_kill_keeps_what_has_its_name(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("killed")
    place = converter.workspace.path(folder)
    thumb = Wanted(THUMB, f"{folder}/thumb.jpg")
    film = Wanted(VIDEO, f"{folder}/film.mp4", {"quality": "high"})
    going = several.start(converter, looped_video(kitchen), [film, thumb])
    until((place / "thumb.jpg").exists)
    going.command.signal(signal.SIGKILL)
    going.killed()
    until(lambda: not converter.agent.processes())
    inode = (place / "thumb.jpg").stat().st_ino
    short = Wanted(VIDEO, f"{folder}/film.mp4", {"duration": 1})
    # Nothing was reported. The mark tells.
    done = several.run(converter, looped_video(kitchen), [short, thumb])
    assert done.states == [S, S]
    assert "outputs[1]" in done.log
    assert "an earlier attempt has published it" in done.log
    assert (place / "thumb.jpg").stat().st_ino == inode
    assert set(listing(place)) == {"film.mp4", "thumb.jpg"}, "the leftover was swept"
    digest = done.report.outputs[1].output
    assert digest
    other = {"CONVERSION_UID": "0f0e0d0c-0000-4000-8000-000000000002"}
    done = several.run(converter, looped_video(kitchen), [thumb], env=other)
    assert "an earlier attempt" not in done.log, "another conversion makes it again"
    known = replace(thumb, sha256=digest.sha256)
    done = several.run(
        converter, looped_video(kitchen), [known], env={**other, "OVERWRITE": "false"}
    )
    assert done.states == [S], "it was reported"


def test_a_sweep_cleans_the_folders_of_all_outputs(converter: Converter) -> None:
    folder = converter.workspace.scratch("sweep")
    left = []
    for name in ("one", "two"):
        path = converter.workspace.folder(f"{folder}/{name}") / ".converter-0123456789abcdef.part"
        path.write_bytes(b"left by a killed run")
        os.chown(path, UID, UID)
        left.append(path)
    (converter.workspace.path(folder) / "link").symlink_to("/etc")
    outputs = [
        {"outputFile": f"/{folder}/link/x.mp4"},
        {"outputFile": f"/{folder}/one/a.mp4"},
        {"outputFile": f"/{folder}/never/a.mp4"},
        {"outputFile": f"/{folder}/two/b.jpg"},
    ]
    env = {"OUTPUTS": json.dumps(outputs), "CONVERSION_UID": CONVERSION}
    ended = converter.agent.start([*converter.argv, "sweep"], env).result()
    assert ended.code == 13, "one folder is behind a link"
    assert not any(path.exists() for path in left)
    env["OUTPUTS"] = json.dumps(outputs[1:])
    assert converter.agent.start([*converter.argv, "sweep"], env).result().code == 0
