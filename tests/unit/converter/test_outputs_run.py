"""The loop over several outputs: what is kept, what ends a run, and kills at exact moments."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from media_converter import convert, outputs
from media_converter.contract import (
    ConversionType,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
    Progress,
)
from media_converter.errors import ConversionError
from media_converter.files import publish
from media_converter.files.temporary import Temporary
from media_converter.options import (
    AudioOptions,
    Options,
    StoryboardOptions,
    ThumbnailOptions,
    VideoOptions,
)
from media_converter.outputs import Watcher, convert_outputs
from media_converter.running import delivery
from media_converter.running.existing import MAX_BESIDE_BYTES
from media_converter.running.films import Batch
from media_converter.running.overall import Overall
from media_converter.running.run import Converted, Known, Run
from media_converter.task import OutputFields, Task, task_for
from tests.unit.converter.builders import INFO, LIMITS, FakeSignals, runner

NAMES = ("a.jpg", "b.jpg", "c.jpg")
S, F, P, K = OutputState.SUCCEEDED, OutputState.FAILED, OutputState.PENDING, OutputState.SKIPPED


def tasks(overwrites: bool | None = None, **changes: Any) -> tuple[Task, ...]:
    """A thumbnail for each of NAMES. ``changes`` are by the letter of the name."""
    environment = {
        "INPUT_FILE": "in.mov",
        "CONVERSION_UID": "uid",
        "OVERWRITE": "false" if overwrites is False else "true",
    }
    made = []
    for number, name in enumerate(NAMES):
        kind = ConversionType.EXTRACT_THUMBNAIL
        fields = OutputFields(kind, f"out/{name}", "jpeg", ThumbnailOptions())
        task = task_for(environment, fields)._replace(label=f"outputs[{number}]")
        made.append(task._replace(**changes.get(name[0], {})))
    return tuple(made)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "in.mov").write_bytes(b"the input")
    os.utime(tmp_path / "in.mov", (1_000_000_000, 1_000_000_000))
    return tmp_path


class Bench:
    """Runs the loop with conversions that write the name of their output."""

    def __init__(self, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.volume = volume
        self.made: list[str] = []
        self.results: tuple[OutputResult, ...] = ()
        self.log: list[str] = []
        self.errors: dict[str, ExitReason] = {}
        self.before: Callable[[str], None] = lambda name: None
        monkeypatch.setattr(convert, "convert", self.convert)

    def convert(self, run: Run) -> Converted:
        name = run.task.output_file.rpartition("/")[2]
        self.before(name)
        self.made.append(name)
        os.write(run.make_temporary().fd, name.encode())
        if name in self.errors:
            raise ConversionError(self.errors[name], "why")
        return Converted(Output(hashlib.sha256(name.encode()).hexdigest(), "jpeg"))

    def run(self, work: tuple[Task, ...]) -> list[OutputState]:
        self.made, self.results = [], (OutputResult(),) * len(work)

        def take(results: tuple[OutputResult, ...]) -> None:
            self.results = results

        watcher = Watcher(self.log.append, lambda progress: None, take)
        machine = runner(FakeSignals(), 60, lambda: None)
        convert_outputs(work, LIMITS, machine, str(self.volume), watcher)
        return [result.state for result in self.results]

    def killed(self, work: tuple[Task, ...]) -> None:
        """Run it in a process that is killed before it ends."""
        child = os.fork()
        if not child:
            try:
                self.run(work)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.volume / "out").iterdir()}


@pytest.fixture
def bench(volume: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(volume, monkeypatch)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def kill(*_arguments: object, **_names: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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


class Pairs:
    """Storyboards of which each attempt writes other content into both files."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        self.attempt = 0
        monkeypatch.setattr(convert, "convert", self.convert)

    def convert(self, run: Run) -> Converted:
        self.attempt += 1
        self.bench.made.append(run.task.output_file)
        content = f"sprite {self.attempt}"
        os.write(run.make_temporary().fd, content.encode())
        beside = f"vtt of {content}".encode()
        return Converted(Output(digest(content), "jpeg"), beside=beside)

    def work(self, overwrites: bool = True) -> tuple[Task, ...]:
        kind, options = ConversionType.VIDEO_STORYBOARD, StoryboardOptions()
        task = tasks(overwrites=overwrites)[0]
        return (task._replace(conversion_type=kind, options=options),)

    def is_right(self) -> bool:
        files = self.bench.files()
        return files["a.vtt"] == b"vtt of " + files["a.jpg"] and set(files) == {"a.jpg", "a.vtt"}


@pytest.fixture
def pairs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Pairs:
    return Pairs(bench, monkeypatch)


@pytest.mark.parametrize("overwrites", [True, False])
@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_kill_between_the_names_of_two_files_leaves_no_pair_that_counts(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, overwrites: bool, moment: int
) -> None:
    """A kill before the first name, between the two, and after both."""
    bench, commit, calls = pairs.bench, Temporary.commit, iter(range(1, 9))

    def commit_until(self: Temporary, *, overwrites: bool = True) -> bool:
        if next(calls) == moment:
            kill()
        done = commit(self, overwrites=overwrites)
        if moment == 3 and self.target.name == "a.jpg":
            kill()
        return done

    if overwrites:
        # What another conversion has left.
        (bench.volume / "out").mkdir()
        (bench.volume / "out" / "a.jpg").write_bytes(b"sprite 0")
        (bench.volume / "out" / "a.vtt").write_bytes(b"vtt of sprite 0")
    with monkeypatch.context() as patched:
        patched.setattr(Temporary, "commit", commit_until)
        bench.killed(pairs.work(overwrites))
    pairs.attempt = 1
    assert bench.run(pairs.work(overwrites)) == [S]
    assert pairs.is_right()
    assert bool(bench.made) == (moment != 3), "a pair of this conversion is kept"
    assert bench.run(pairs.work(overwrites)) == [S]
    assert not bench.made


def before_commit(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Call ``act`` just before a file gets this name."""
    commit = Temporary.commit

    def commit_late(self: Temporary, *, overwrites: bool = True) -> bool:
        if self.target.name == name:
            act()
        return commit(self, overwrites=overwrites)

    monkeypatch.setattr(Temporary, "commit", commit_late)


def test_no_second_file_stays_beside_a_first_one_of_others(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program creates the first file between the two names."""
    out = pairs.bench.volume / "out"
    before_commit(monkeypatch, "a.jpg", lambda: (out / "a.jpg").write_bytes(b"theirs"))
    with pytest.raises(ConversionError) as refused:
        pairs.bench.run(pairs.work(overwrites=False))
    assert refused.value.reason is ExitReason.OUTPUT_EXISTS
    assert pairs.bench.files() == {"a.jpg": b"theirs"}


def test_a_second_file_that_others_have_replaced_stays(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = pairs.bench.volume / "out"

    def replace() -> None:
        (out / "a.jpg").write_bytes(b"theirs")
        (out / "a.vtt").unlink()
        (out / "a.vtt").write_bytes(b"theirs too")

    before_commit(monkeypatch, "a.jpg", replace)
    with pytest.raises(ConversionError):
        pairs.bench.run(pairs.work(overwrites=False))
    assert pairs.bench.files() == {"a.jpg": b"theirs", "a.vtt": b"theirs too"}


def fail_to_rename() -> None:
    raise OSError(errno.EIO, "no")


@pytest.mark.parametrize("old_cues", [{}, {"a.vtt": b"cues of the old one"}])
def test_no_second_file_stays_beside_an_old_first_one(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, old_cues: dict[str, bytes]
) -> None:
    """An image without cues is better than one with cues of another image."""
    bench, out = pairs.bench, pairs.bench.volume / "out"
    out.mkdir()
    for name, content in {"a.jpg": b"old", **old_cues}.items():
        (out / name).write_bytes(content)
    with monkeypatch.context() as patched:
        before_commit(patched, "a.jpg", fail_to_rename)
        with pytest.raises((ConversionError, OSError)):
            bench.run(pairs.work())
    assert bench.files() == {"a.jpg": b"old"}
    assert bench.run(pairs.work()) == [S]
    assert pairs.is_right()


def test_the_second_file_stays_if_the_first_one_is_kept(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another attempt gives the same content its name between the two names."""
    out = pairs.bench.volume / "out"

    def publish_same() -> None:
        (out / "a.jpg").write_bytes(b"sprite 1")
        os.setxattr(out / "a.jpg", publish.MARK, f"uid {digest('sprite 1')}".encode())

    before_commit(monkeypatch, "a.jpg", publish_same)
    assert pairs.bench.run(pairs.work(overwrites=False)) == [S]
    assert pairs.is_right()


def test_the_second_file_stays_if_the_first_one_has_its_name_despite_an_error(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume may report that a rename failed although it took place."""
    commit = Temporary.commit

    def commit_and_fail(self: Temporary, *, overwrites: bool = True) -> bool:
        done = commit(self, overwrites=overwrites)
        if self.target.name == "a.jpg":
            fail_to_rename()
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Temporary, "commit", commit_and_fail)
        with pytest.raises((ConversionError, OSError)):
            pairs.bench.run(pairs.work())
    assert pairs.is_right()
    assert pairs.bench.run(pairs.work()) == [S]
    assert not pairs.bench.made


def sprite(width: int, height: int) -> bytes:
    """What the size of a JPEG is read from."""
    frame = b"\xff\xc0\0\x08\x08" + height.to_bytes(2) + width.to_bytes(2)
    return b"\xff\xd8" + frame + b"\xff\xd9"


CUES = (
    b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na.jpg#xywh=0,0,16,9\n\n"
    b"00:00:01.000 --> 00:00:02.000\na.jpg#xywh=16,0,16,9\n"
)


def without_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> bytes:
        raise OSError(errno.ENOTSUP, "no attributes")

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "getxattr", refuse)


def storyboard_without_attributes(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, overwrites: bool
) -> tuple[Task, ...]:
    """A complete storyboard on such a volume, and the work of a retry that knows its sha256."""
    without_attributes(monkeypatch)
    content = sprite(32, 9)

    def convert_once(run: Run) -> Converted:
        pairs.bench.made.append(run.task.output_file)
        os.write(run.make_temporary().fd, content)
        return Converted(Output(hashlib.sha256(content).hexdigest(), "jpeg"), beside=CUES)

    monkeypatch.setattr(convert, "convert", convert_once)
    assert pairs.bench.run(pairs.work(overwrites)) == [S]
    reported = hashlib.sha256(content).hexdigest()
    return (pairs.work(overwrites)[0]._replace(reported_sha256=reported),)


@pytest.mark.parametrize("overwrites", [True, False])
def test_a_reported_storyboard_is_kept_without_extended_attributes(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, overwrites: bool
) -> None:
    work = storyboard_without_attributes(pairs, monkeypatch, overwrites)
    assert pairs.bench.run(work) == [S]
    assert not pairs.bench.made


@pytest.mark.parametrize(
    "cues",
    [
        b"theirs",
        b"WEBVTT\n\n\xff",
        b"",
        CUES.replace(b"a.jpg", b"b.jpg"),
        CUES.replace(b"16,0,16,9", b"16,0,17,9"),
        CUES.replace(b"16,0,16,9", b"16,1,16,9"),
        CUES.replace(b"16,0,16,9", b"16,0,16,0"),
        CUES.replace(b"16,0,16,9", b"16,0,16," + b"9" * 5000),
        CUES.replace(b"00:00:00.000", b"00:00:00.001"),
        CUES.replace(b"00:00:01.000 --> 00:00:02", b"00:00:01.500 --> 00:00:02"),
        CUES + b"\n" * MAX_BESIDE_BYTES,
    ],
    ids=[
        *("text", "encoding", "empty", "image", "right", "below", "nothing", "digits", "start"),
        *("gap", "large"),
    ],
)
def test_other_cues_beside_a_reported_sprite_are_not_kept(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, cues: bytes
) -> None:
    (work,) = storyboard_without_attributes(pairs, monkeypatch, overwrites=False)
    (pairs.bench.volume / "out" / "a.vtt").write_bytes(cues)
    with pytest.raises(ConversionError) as refused:
        pairs.bench.run((work,))
    assert refused.value.reason is ExitReason.OUTPUT_EXISTS
    assert "its cues are not those of out/a.jpg" in refused.value.message
    assert pairs.bench.run((work._replace(overwrites=True),)) == [S]
    assert pairs.bench.files()["a.vtt"] == CUES


def test_without_extended_attributes_nobody_knows_whose_the_second_file_is(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_attributes(monkeypatch)
    out = pairs.bench.volume / "out"
    out.mkdir()
    (out / "a.vtt").write_bytes(CUES)
    with pytest.raises(ConversionError) as refused:
        pairs.bench.run(pairs.work(overwrites=False))
    assert refused.value.reason is ExitReason.OUTPUT_EXISTS
    assert "the volume has no extended attributes" in refused.value.message


def test_two_files_that_do_not_belong_together_are_made_again(pairs: Pairs) -> None:
    bench = pairs.bench
    bench.run(pairs.work())
    out = bench.volume / "out"
    first = (out / "a.vtt").read_bytes()
    mark = publish.Mark("uid", publish.pair_digest(first, digest("sprite 2")))
    os.setxattr(out / "a.vtt", publish.MARK, f"{mark.conversion_uid} {mark.sha256}".encode())
    assert bench.run(pairs.work()) == [S]
    assert bench.made
    assert pairs.is_right()
    reported = (pairs.work()[0]._replace(reported_sha256=digest("sprite 2")),)
    assert bench.run(reported) == [S]
    assert not bench.made
    (out / "a.vtt").unlink()
    assert bench.run(reported) == [S]
    assert bench.made, "a report about the first file does not stand for the second one"
    assert pairs.is_right()


def test_a_second_file_of_others_is_not_replaced_if_it_must_not_be(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = pairs.bench
    out = bench.volume / "out"
    out.mkdir()
    (out / "a.vtt").write_bytes(b"theirs")
    with pytest.raises(ConversionError) as refused:
        bench.run(pairs.work(overwrites=False))
    assert refused.value.reason is ExitReason.OUTPUT_EXISTS
    assert not bench.made, "the run fails before the work"
    (out / "a.vtt").unlink()

    def convert_late(run: Run) -> Converted:
        made = Pairs.convert(pairs, run)
        (out / "a.vtt").write_bytes(b"theirs")
        return made

    monkeypatch.setattr(convert, "convert", convert_late)
    with pytest.raises(ConversionError) as refused:
        bench.run(pairs.work(overwrites=False))
    assert refused.value.reason is ExitReason.OUTPUT_EXISTS
    assert bench.files() == {"a.vtt": b"theirs"}


@pytest.mark.parametrize("name", ["a.jpg", "a.vtt"])
def test_neither_file_is_the_input(pairs: Pairs, name: str) -> None:
    out = pairs.bench.volume / "out"
    out.mkdir()
    os.link(pairs.bench.volume / "in.mov", out / name)
    with pytest.raises(ConversionError) as refused:
        pairs.bench.run(pairs.work())
    assert refused.value.reason is ExitReason.OUTPUT_IS_INPUT
    assert not pairs.bench.made


def test_a_second_file_that_the_volume_does_not_keep_is_discarded(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "write_all", lambda fd, data: os.write(fd, data[:-1]))
    with pytest.raises(ConversionError) as refused:
        pairs.bench.run(pairs.work())
    assert refused.value.reason is ExitReason.IO_ERROR
    assert pairs.bench.files() == {}
