"""Outputs of two files: a kill or an error at any moment leaves a pair that belongs together."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

import pytest

from media_converter import convert
from media_converter.contract import (
    ConversionType,
    ExitReason,
    Output,
)
from media_converter.errors import ConversionError
from media_converter.files import publish
from media_converter.files.temporary import Temporary
from media_converter.running import delivery
from media_converter.running.existing import MAX_BESIDE_BYTES
from media_converter.running.run import Converted, Run
from media_converter.task import Task
from media_converter.typed_options import StoryboardOptions
from tests.unit.converter.outputs_bench import Bench, S, digest, kill, tasks


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
