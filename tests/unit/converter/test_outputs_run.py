"""The loop over several outputs: what is kept, what ends a run, and kills at exact moments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from media_converter import convert, outputs
from media_converter.contract import (
    ConversionType,
    ExitReason,
    Progress,
)
from media_converter.errors import ConversionError
from media_converter.files import publish
from media_converter.running.overall import Overall
from media_converter.running.run import Batch, Known, Run
from media_converter.typed_options import (
    AudioOptions,
    Options,
    StoryboardOptions,
    ThumbnailOptions,
    VideoOptions,
)
from tests.unit.converter.builders import INFO
from tests.unit.converter.outputs_bench import NAMES, Bench, F, K, P, S, digest, kill, tasks


@pytest.mark.parametrize("overwrites", [True, False])
def test_a_retry_keeps_what_has_the_mark_of_this_conversion(bench: Bench, overwrites: bool) -> None:
    work = tasks(overwrites=overwrites)
    assert bench.run(work) == [S, S, S]
    inodes = [(bench.volume / "out" / name).stat().st_ino for name in NAMES]
    assert bench.run(work) == [S, S, S]
    assert not bench.made
    assert [(bench.volume / "out" / name).stat().st_ino for name in NAMES] == inodes
    assert [result.size for result in bench.results] == [5, 5, 5]
    (bench.volume / "in.mov").unlink()
    assert bench.run(work) == [S, S, S], "without work, the input is not needed"
    (bench.volume / "out" / "b.jpg").unlink()
    with pytest.raises(ConversionError) as ended:
        bench.run(work)
    assert ended.value.reason is ExitReason.INPUT_NOT_FOUND


@pytest.mark.parametrize("overwrites", [True, False])
def test_a_retry_keeps_what_an_attempt_has_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, overwrites: bool
) -> None:
    monkeypatch.setattr(publish, "mark", lambda fd, content: False)
    assert bench.run(tasks(overwrites=overwrites)) == [S, S, S]
    reported: dict[str, Any] = {name[0]: {"reported_sha256": digest(name)} for name in NAMES}
    assert bench.run(tasks(overwrites=overwrites, **reported)) == [S, S, S]
    assert not bench.made


def test_without_evidence_everything_is_made_again(bench: Bench) -> None:
    bench.run(tasks())
    out = bench.volume / "out"
    (out / "a.jpg").write_bytes(b"changed")  # the mark is still there
    (out / "b.jpg").unlink()
    (out / "b.jpg").write_bytes(b"b.jpg")  # the same content, but nobody knows whose
    work = tasks(c={"conversion_uid": "other"}, a={"reported_sha256": "0" * 64})
    assert bench.run(work) == [S, S, S]
    assert bench.made == list(NAMES)
    assert bench.files() == {name: name.encode() for name in NAMES}


def test_without_evidence_nothing_is_replaced_if_it_must_not_be(bench: Bench) -> None:
    bench.run(tasks())
    (bench.volume / "out" / "b.jpg").write_bytes(b"somebody's")
    with pytest.raises(ConversionError) as ended:
        bench.run(tasks(overwrites=False))
    assert ended.value.reason is ExitReason.OUTPUT_EXISTS
    assert ended.value.message.startswith("outputs[1]: ")
    assert [result.state for result in bench.results] == [S, F, P]
    assert bench.run(tasks(overwrites=False, b={"optional": True})) == [S, F, S]
    assert bench.files()["b.jpg"] == b"somebody's"


def test_an_output_of_an_input_that_was_written_since_is_made_again(bench: Bench) -> None:
    bench.run(tasks())
    os.utime(bench.volume / "in.mov")
    reported: dict[str, Any] = {name[0]: {"reported_sha256": digest(name)} for name in NAMES}
    assert bench.run(tasks(**reported)) == [S, S, S]
    assert bench.made == list(NAMES)


@pytest.mark.parametrize(
    ("moment", "left", "made"),
    [
        ("before fsync", {"a.jpg"}, ["b.jpg", "c.jpg"]),
        ("before the rename", {"a.jpg"}, ["b.jpg", "c.jpg"]),
        ("just after the rename", {"a.jpg", "b.jpg"}, ["c.jpg"]),
        ("between two outputs", {"a.jpg", "b.jpg"}, ["c.jpg"]),
    ],
)
def test_an_attempt_that_is_killed_leaves_only_complete_outputs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moment: str, left: set[str], made: list[str]
) -> None:
    rename, sync = os.rename, os.fsync

    def rename_and_kill(*arguments: Any, **names: Any) -> None:
        rename(*arguments, **names)
        kill()

    def second(name: str) -> None:
        if name == "b.jpg":
            monkeypatch.setattr(os, "fsync", kill if moment == "before fsync" else sync)
            if moment == "before the rename":
                monkeypatch.setattr(os, "rename", kill)
            if moment == "just after the rename":
                monkeypatch.setattr(os, "rename", rename_and_kill)
        if name == "c.jpg":
            kill()

    with monkeypatch.context():
        bench.before = second
        bench.killed(tasks())
    bench.before = lambda name: None
    complete = {name for name in bench.files() if not name.startswith(".")}
    assert complete == left
    assert bench.run(tasks()) == [S, S, S]
    assert bench.made == made, "nothing was reported, but the marks tell"
    assert bench.files() == {name: name.encode() for name in NAMES}


def test_only_what_is_not_optional_ends_a_run(bench: Bench) -> None:
    bench.errors = {"a.jpg": ExitReason.OUT_OF_MEMORY, "b.jpg": ExitReason.NO_VIDEO_STREAM}
    optional: dict[str, Any] = {"a": {"optional": True}, "b": {"optional": True}}
    assert bench.run(tasks(**optional)) == [F, K, S]
    with pytest.raises(ConversionError) as ended:
        bench.run(tasks(b={"optional": True}))
    assert (ended.value.reason, ended.value.message) == (
        ExitReason.OUT_OF_MEMORY,
        "outputs[0]: why",
    )
    assert [result.state for result in bench.results] == [F, P, S], "c.jpg is there from before"


@pytest.mark.parametrize("reason", [ExitReason.TERMINATED, ExitReason.INPUT_CHANGED])
def test_what_is_not_about_an_output_ends_a_run(bench: Bench, reason: ExitReason) -> None:
    bench.errors = {"b.jpg": reason}
    with pytest.raises(ConversionError) as ended:
        bench.run(tasks(b={"optional": True}))
    assert (ended.value.reason, ended.value.message) == (reason, "why")
    assert [result.state for result in bench.results] == [S, P, P]


def test_a_failed_output_takes_no_space(bench: Bench) -> None:
    bench.errors = {"a.jpg": ExitReason.INPUT_DAMAGED}
    removed: list[str] = []

    def look(name: str) -> None:
        # A file without a name takes space as long as it is open.
        links = [str(p.readlink()) for p in Path("/proc/self/fd").iterdir() if p.is_symlink()]
        ours = [link for link in links if link.startswith(f"{bench.volume}/")]
        removed.extend(link for link in ours if link.endswith(".part (deleted)"))

    bench.before = look
    assert bench.run(tasks(a={"optional": True})) == [F, S, S]
    assert not removed
    assert not [name for name in bench.files() if name.startswith(".")]


def test_one_wrong_output_does_not_keep_the_others_of_its_run_from_their_names(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def together(runs: list[Run]) -> Iterator[Batch]:
        batch: Batch = [(number, partial(bench.convert, run)) for number, run in enumerate(runs)]
        yield batch[:2]
        yield batch[2:]

    monkeypatch.setattr(convert, "are_together", lambda one, other: True)
    monkeypatch.setattr(convert, "convert_together", together)
    bench.errors = {"a.jpg": ExitReason.VERIFICATION_FAILED}
    with pytest.raises(ConversionError) as ended:
        bench.run(tasks())
    assert ended.value.reason is ExitReason.VERIFICATION_FAILED
    assert [result.state for result in bench.results] == [F, S, P]
    assert bench.files() == {"b.jpg": b"b.jpg"}
    assert bench.run(tasks(a={"optional": True})) == [F, S, S]


def test_what_fails_for_all_fails_each_output(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def together(runs: list[Run]) -> Iterator[Batch]:
        raise ConversionError(ExitReason.NO_VIDEO_STREAM, "no video")
        yield []

    monkeypatch.setattr(convert, "are_together", lambda one, other: True)
    monkeypatch.setattr(convert, "convert_together", together)
    with pytest.raises(ConversionError) as ended:
        bench.run(tasks(a={"optional": True}))
    assert ended.value.message == "outputs[1]: no video"
    assert [result.state for result in bench.results] == [K, F, P]


def test_what_is_fast_comes_first() -> None:
    fields: list[tuple[ConversionType, Options]] = [
        (ConversionType.VIDEO_TO_MP4, VideoOptions()),
        (ConversionType.EXTRACT_THUMBNAIL, ThumbnailOptions()),
        (ConversionType.AUDIO_TO_MP3, AudioOptions()),
        (ConversionType.VIDEO_TO_MP4, VideoOptions(duration=5.0)),
        (ConversionType.EXTRACT_THUMBNAIL, ThumbnailOptions()),
    ]
    work = tuple(
        tasks()[0]._replace(conversion_type=kind, options=options) for kind, options in fields
    )
    assert outputs.in_order(work, [0, 1, 2, 3, 4]) == [1, 4, 2, 0, 3]
    assert outputs.in_order(work, [0, 2, 4]) == [4, 2, 0]


def test_progress_counts_seconds_of_media() -> None:
    told: list[Progress] = []
    clock = iter(range(100))
    known = Known()
    known.info = INFO._replace(duration=100.0)
    kinds: list[tuple[ConversionType, Options]] = [
        (ConversionType.EXTRACT_THUMBNAIL, ThumbnailOptions()),
        (ConversionType.VIDEO_TO_MP4, VideoOptions()),
        (ConversionType.VIDEO_TO_MP4, VideoOptions(start=50.0, duration=9.0)),
        (ConversionType.AUDIO_TO_MP3, AudioOptions(start=10.0)),
    ]
    work = tuple(
        tasks()[0]._replace(conversion_type=kind, options=options) for kind, options in kinds
    )
    overall = Overall(work, [0, 1, 2, 3], known, told.append, lambda: float(next(clock)))
    overall.end(0)
    assert told[-1].percent == 0
    overall.of(1)(Progress(50, 2.0, 25))
    assert told[-1].percent == 25, "51 of 200 seconds"
    assert told[-1].speed == 2.0
    overall.of(1)(Progress(10))
    assert told[-1].percent == 25, "a second try does not go back"
    overall.end(1)
    overall.of(3)(Progress(99))
    assert told[-1].percent == 95
    assert told[-1].eta_seconds is None, "a video has not begun"
    overall.end(2)
    overall.of(3)(Progress(99))
    assert told[-1].eta_seconds == 0
    overall.end(3)
    assert told[-1].percent == 99


def test_what_is_slow_and_has_not_begun_counts() -> None:
    told: list[Progress] = []
    known = Known()
    known.info = INFO._replace(duration=1000.0)
    kinds: list[tuple[ConversionType, Options]] = [
        (ConversionType.VIDEO_STORYBOARD, StoryboardOptions()),
        (ConversionType.AUDIO_TO_MP3, AudioOptions()),
        (ConversionType.VIDEO_TO_MP4, VideoOptions()),
        (ConversionType.VIDEO_TO_WEBM, VideoOptions(duration=100.0)),
    ]
    work = tuple(
        tasks()[0]._replace(conversion_type=kind, options=options) for kind, options in kinds
    )
    overall = Overall(work, [0, 1, 2, 3], known, told.append, lambda: 0.0)
    overall.of(0)(Progress(50, None, 7))
    assert told[-1].eta_seconds is None, "nobody knows how long a video takes"
    for number in (0, 1):
        overall.end(number)
    overall.of(2)(Progress(50, 2.0, 250))
    assert told[-1].eta_seconds == 250 + 50, "100 s of media, as fast as the video before"
    sounds = Overall(work, [0, 1], known, told.append, lambda: 0.0)
    sounds.of(0)(Progress(50, None, 7))
    assert told[-1].eta_seconds == 7 + round(0.4 + 1000 * 0.02)


def test_outputs_of_one_run_are_checked_one_by_one() -> None:
    told: list[Progress] = []
    overall = Overall(tasks(), range(len(tasks())), Known(), told.append, lambda: 0.0)
    for number in range(len(tasks())):
        overall.of(number)(Progress(50, 2.0, 100))
    assert told[-1].eta_seconds == round(100 + 0.4 * (len(tasks()) - 1))


def test_progress_without_a_duration_counts_outputs() -> None:
    told: list[Progress] = []
    work = tuple(
        tasks()[0]._replace(conversion_type=ConversionType.VIDEO_TO_MP4, options=VideoOptions())
        for _ in range(4)
    )
    overall = Overall(work, [0, 1, 2, 3], Known(), told.append)
    overall.of(0)(Progress(None, 3.0))
    assert told[-1] == Progress(0, 3.0, None)
    overall.end(0)
    assert told[-1].percent == 25
