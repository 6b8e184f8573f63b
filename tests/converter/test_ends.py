"""Every way a run can end that is not the file's fault. None of them leaves anything behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable

import pytest

from media_converter.contract import REPORT_MAX_BYTES, ConversionType, ExitReason
from media_converter.report_json import parse_progress, parse_report
from tests.converter.harness import (
    AUDIO,
    IMAGE,
    THUMB,
    VIDEO,
    Case,
    Conversion,
    Converter,
    listing,
    until,
)
from tests.converter.kitchen import Kitchen, tone
from tests.converter.lab import Lab
from tests.converter.rawfiles import RGB, png
from tests.converter.recipes import long_video, looped_video

SLOW: dict[str, object] = {"quality": "high"}


def half_an_hour(kitchen: Kitchen) -> str:
    """A minute again and again, which takes no encoder."""
    minute = kitchen.ffmpeg("minute.flac", *tone(seconds=60))
    return kitchen.ffmpeg("long.flac", "-stream_loop", "29", "-i", minute, "-c", "copy")


def under_way(converter: Converter, folder: str) -> Callable[[], bool]:
    """Whether the temporary file has some content."""
    place = converter.workspace.path(folder)
    return lambda: any(
        size > 1000 for name, (_, size, _) in listing(place).items() if name != "out.mp4"
    )


def start_slow(kitchen: Kitchen, converter: Converter, folder: str, **limits: int) -> Conversion:
    case = Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", SLOW, **limits)
    conversion = converter.start(case)
    until(under_way(converter, folder))
    return conversion


def test_sigterm_ends_within_five_seconds_and_leaves_nothing(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("term")
    old = converter.workspace.path(f"{folder}/out.mp4")
    old.write_bytes(b"the old one")
    conversion = start_slow(kitchen, converter, folder)
    began = time.monotonic()
    conversion.command.signal(signal.SIGTERM)
    run = conversion.end()
    assert time.monotonic() - began < 5
    assert run.reason is ExitReason.TERMINATED
    assert old.read_bytes() == b"the old one"
    assert list(listing(old.parent)) == ["out.mp4"]
    assert not converter.agent.processes(), "a child process still runs"


@pytest.mark.parametrize("kind", [AUDIO, THUMB, IMAGE])
def test_sigterm_in_the_other_conversions(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    source = {
        AUDIO: half_an_hour(kitchen),
        THUMB: looped_video(kitchen),
        IMAGE: kitchen.write("wide.png", png(7000, 7000, 8, RGB, bytes(range(250)) * 84)),
    }[kind]
    folder = converter.workspace.scratch("term")
    target = f"{folder}/out.{'mp3' if kind is AUDIO else 'png'}"
    options = {"time": 55} if kind is THUMB else {}
    conversion = converter.start(Case(kind, source, target, options))
    until(lambda: len(converter.agent.processes()) > 1 or conversion.command.done)
    with contextlib.suppress(Exception):
        conversion.command.signal(signal.SIGTERM)
    run = conversion.end()
    # If it was faster than the signal, it is complete.
    assert run.reason in {ExitReason.TERMINATED, ExitReason.COMPLETED}
    assert len(listing(converter.workspace.path(folder))) == (run.reason is ExitReason.COMPLETED)
    assert not converter.agent.processes()


def test_a_signal_to_the_whole_group_is_the_same(kitchen: Kitchen, converter: Converter) -> None:
    # The kubelet and a terminal signal every process of a container, including the encoder.
    folder = converter.workspace.scratch("group")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGTERM, children=True)
    conversion.command.signal(signal.SIGTERM)
    run = conversion.end()
    assert run.reason is ExitReason.TERMINATED
    assert not listing(converter.workspace.path(folder))


def test_a_kill_leaves_the_old_output_and_the_next_run_cleans_up(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("kill")
    old = converter.workspace.path(f"{folder}/out.mp4")
    old.write_bytes(b"the old one")
    bystander = converter.workspace.path(f"{folder}/.converter-notes.part")
    bystander.write_bytes(b"not a temporary file of a converter")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGKILL, children=True)
    with contextlib.suppress(Exception):
        conversion.command.signal(signal.SIGKILL)
    ended = conversion.killed()
    assert ended.code != 0
    assert old.read_bytes() == b"the old one"
    until(lambda: not converter.agent.processes())
    run = converter.start(Case(VIDEO, kitchen.base(), f"{folder}/out.mp4")).end()
    assert run.output
    assert sorted(listing(old.parent)) == [".converter-notes.part", "out.mp4"]
    assert lab.media(old).duration == pytest.approx(3, abs=0.1)


def test_a_killed_converter_leaves_no_encoder_running(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("orphan")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGKILL)
    assert conversion.killed().code == -signal.SIGKILL
    until(lambda: not converter.agent.processes(), seconds=5)


def test_a_file_in_use_is_not_swept_away(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("shared")
    conversion = start_slow(kitchen, converter, folder)
    busy = set(listing(converter.workspace.path(folder)))
    other = converter.start(Case(VIDEO, kitchen.base(), f"{folder}/other.mp4")).end()
    assert other.output
    assert busy <= set(listing(converter.workspace.path(folder)))
    conversion.command.signal(signal.SIGTERM)
    assert conversion.end().reason is ExitReason.TERMINATED
    assert set(listing(converter.workspace.path(folder))) == {"other.mp4"}


def test_two_runs_for_one_output(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    folder = converter.workspace.scratch("twice")
    cases = [Case(VIDEO, kitchen.base(), f"{folder}/out.mp4", SLOW) for _ in range(3)]
    conversions = [converter.start(case) for case in cases]
    ends = [conversion.command.result() for conversion in conversions]
    assert any(end.code == 0 for end in ends)
    assert list(listing(converter.workspace.path(folder))) == ["out.mp4"]
    assert lab.media(f"{folder}/out.mp4").duration == pytest.approx(3, abs=0.1)


def test_an_input_that_grows_while_it_is_read(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("growing")
    source = converter.workspace.path(f"{folder}/video.mp4")
    shutil.copy(kitchen.path(long_video(kitchen)), source)
    output = converter.workspace.scratch("growing")
    conversion = converter.start(Case(VIDEO, f"{folder}/video.mp4", f"{output}/out.mp4", SLOW))
    until(under_way(converter, output))
    with source.open("ab") as stream:
        stream.write(bytes(100_000))
    run = conversion.end()
    assert run.reason is ExitReason.INPUT_CHANGED
    assert not listing(converter.workspace.path(output))


def test_an_input_that_is_overwritten_while_it_is_read(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("changing")
    source = converter.workspace.path(f"{folder}/video.mp4")
    shutil.copy(kitchen.path(long_video(kitchen)), source)
    output = converter.workspace.scratch("changing")
    conversion = converter.start(Case(VIDEO, f"{folder}/video.mp4", f"{output}/out.mp4", SLOW))
    until(under_way(converter, output))
    with source.open("r+b") as stream:
        stream.seek(-1000, os.SEEK_END)
        stream.write(bytes(500))
    assert conversion.end().reason is ExitReason.INPUT_CHANGED


def test_the_time_limit_of_a_run(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("deadline")
    case = Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", SLOW, timeout_seconds=2)
    run = converter.run(case)
    assert run.reason is ExitReason.DEADLINE_EXCEEDED
    assert 2 <= run.wall < 7
    assert "2" in run.report.message
    assert not listing(converter.workspace.path(folder))
    assert not converter.agent.processes()


def test_a_stall_is_noticed(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("stall")
    conversion = start_slow(kitchen, converter, folder, stall_seconds=3)
    began = time.monotonic()
    conversion.command.signal(signal.SIGSTOP, children=True)
    run = conversion.end()
    assert run.reason is ExitReason.STALLED
    assert 2.5 <= time.monotonic() - began < 9
    assert not listing(converter.workspace.path(folder))
    assert not converter.agent.processes()


def test_work_that_is_slow_but_moves_does_not_stall(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("moving")
    case = Case(VIDEO, long_video(kitchen), f"{folder}/out.mp4", SLOW, stall_seconds=2)
    assert converter.run(case).reason is ExitReason.COMPLETED


def test_a_killed_encoder_is_not_a_success(kitchen: Kitchen, converter: Converter) -> None:
    # With control groups version 1 the kernel kills only the largest process.
    folder = converter.workspace.scratch("oom")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGKILL, children=True)
    run = conversion.end()
    assert run.reason in {ExitReason.OUT_OF_MEMORY, ExitReason.TERMINATED}
    assert not listing(converter.workspace.path(folder))


def test_progress_is_printed_and_the_report_is_always_complete(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("report")
    began = time.monotonic()
    conversion = start_slow(kitchen, converter, folder)
    seen = set()

    def look() -> bool:
        text = conversion.report_now().decode()
        assert len(text) <= REPORT_MAX_BYTES
        report = parse_report(text)
        if report and report.progress.percent is not None:
            assert not report.final
            assert report.reason is None
            seen.add(report.progress.percent)
        return len(seen) >= 3

    until(look, seconds=60)
    took = time.monotonic() - began
    conversion.command.signal(signal.SIGKILL)
    ended = conversion.command.result()
    last = parse_report(conversion.report_now().decode())
    assert last, "a killed run leaves a report that can be read"
    assert not last.final
    assert last.progress.percent is not None
    lines = [parse_progress(line) for line in ended.stdout.decode().splitlines()]
    printed = [line for line in lines if line]
    assert took / 8 <= len(printed) <= took + 3, "every few seconds"
    shares = [progress.percent for progress in printed if progress.percent is not None]
    assert len(shares) >= 2
    assert shares == sorted(shares)
    assert all(0 <= share <= 100 for share in shares)
    assert any(progress.speed for progress in printed)
    assert any(progress.eta_seconds is not None for progress in printed)
    until(lambda: not converter.agent.processes())


def test_a_sweep_removes_only_what_a_killed_run_left(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("sweep")
    place = converter.workspace.path(folder)
    dead = start_slow(kitchen, converter, folder)
    dead.command.signal(signal.SIGKILL)
    dead.killed()
    until(lambda: not converter.agent.processes())
    left = set(listing(place))
    assert len(left) == 1
    (place / "out.mp4").write_bytes(b"another's output")
    (place / ".converter-notes.part").write_bytes(b"not a temporary file of a converter")
    alive = converter.start(Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", SLOW))
    # A run also sweeps its folder, so the killed run's file may not exist any more.
    until(lambda: any(name not in left for name in listing(place) if name.startswith(".converter-")
                      and name != ".converter-notes.part"))  # fmt: skip
    sweep = converter.agent.start(
        [*converter.argv, "sweep"], {"OUTPUT_FILE": f"/{folder}/out.mp4", "JOB_ID": "sweep"}
    ).result()
    assert sweep.code == 0
    names = set(listing(place))
    assert not names & left
    assert {"out.mp4", ".converter-notes.part"} < names, "the file in use must stay"
    alive.command.signal(signal.SIGTERM)
    assert alive.end().reason is ExitReason.TERMINATED
    assert set(listing(place)) == {"out.mp4", ".converter-notes.part"}
    missing = converter.agent.start(
        [*converter.argv, "sweep"], {"OUTPUT_FILE": "/never/made/out.mp4", "JOB_ID": "sweep"}
    ).result()
    assert missing.code == 0
    assert not converter.workspace.path("never").exists()
