"""What ends a tool or a long computation: signals, time limits, errors."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from media_converter.contract import (
    ExitReason,
)
from media_converter.errors import ConversionError
from media_converter.running import endings, process
from media_converter.running.child import Watch
from media_converter.running.process import Files, ProcessResult, Runner
from media_converter.running.run import Run
from media_converter.step import Step
from tests.unit.converter.builders import FakeSignals, runner


@pytest.mark.parametrize(
    ("code", "stderr", "crashed", "too_large"),
    [
        *((-number, "", True, False) for number in endings.CRASHES),
        (-signal.SIGKILL, "", False, False),
        (-signal.SIGTERM, "", False, False),
        (-signal.SIGXFSZ, "", False, True),
        (229, "", False, True),
        (1, "write error: File too large", False, True),
        (0, "File too large", False, False),
        (1, "", False, False),
        (0, "", False, False),
    ],
)
def test_ends_that_mean_the_same_for_every_tool(
    code: int, stderr: str, crashed: bool, too_large: bool
) -> None:
    result = ProcessResult(code, b"", stderr)
    assert endings.has_crashed(result) is crashed
    assert endings.exceeded_file_size(result) is too_large
    if crashed:
        error = endings.crashed("encode", result)
        assert error.reason is ExitReason.DECODER_CRASHED
        assert "SIG" in error.message


@pytest.mark.parametrize(
    ("seconds", "stopped", "reason"),
    [(0.0, False, ExitReason.DEADLINE_EXCEEDED), (60.0, True, ExitReason.TERMINATED)],
)
def test_a_blocking_call_obeys_the_time_limit_and_sigterm(
    seconds: float, stopped: bool, reason: ExitReason
) -> None:
    signals, release = FakeSignals(), threading.Event()
    began = threading.Event()

    def block() -> None:
        began.set()
        if stopped:
            signals.terminate()
        release.wait(60)

    try:
        with pytest.raises(ConversionError) as ended:
            runner(signals, seconds, lambda: None).wait_for(block)
        assert ended.value.reason is reason
        assert not release.is_set()
    finally:
        release.set()
    assert began.wait(60)


def test_a_blocking_call_reports_progress_and_its_error() -> None:
    release = threading.Event()

    def fail() -> None:
        release.wait(60)
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        # The tick that reports progress is what lets the call end.
        runner(FakeSignals(), 60, release.set).wait_for(fail)
    done = []
    runner(FakeSignals(), 60, lambda: None).wait_for(lambda: done.append(1))
    assert done == [1]


def test_a_long_computation_obeys_the_time_limit_and_sigterm() -> None:
    ticks: list[int] = []
    runner(FakeSignals(), 60, lambda: ticks.append(1)).check()
    assert ticks == [1]
    with pytest.raises(ConversionError) as ended:
        runner(FakeSignals(), 0, lambda: None).check()
    assert ended.value.reason is ExitReason.DEADLINE_EXCEEDED
    signals = FakeSignals()
    signals.terminate()
    with pytest.raises(ConversionError) as ended:
        runner(signals, 60, lambda: None).check()
    assert ended.value.reason is ExitReason.TERMINATED


class Tool:
    """A runner whose tool runs for some ticks."""

    def __init__(self, ticks: int) -> None:
        self.ticks, self.ran = ticks, 0

    def run(self, step: Step, *, on_tick: Callable[[], None], **_: object) -> ProcessResult:
        for _tick in range(self.ticks):
            self.ran += 1
            on_tick()
        return ProcessResult(0, b"", "")


@pytest.mark.parametrize(("room", "ran"), [(0, 0), (1, 1), (3, 3)])
def test_free_space_is_checked_before_a_tool_starts_and_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, room: int, ran: int
) -> None:
    """The volume has room for so many checks of its output, and is full then."""
    checked: list[int] = []

    def volume(fd: int) -> SimpleNamespace:
        checked.append(fd)
        free = 4096 if len(checked) <= room else 1
        return SimpleNamespace(f_blocks=6144, f_bavail=free, f_frsize=4096)

    monkeypatch.setattr(os, "fstatvfs", volume)
    tool = Tool(5)
    nothing: list[Any] = [None] * len(Run._fields)
    run = Run(*nothing)._replace(runner=cast("Any", tool))
    step = Step("encode", ("ffmpeg",))
    with pytest.raises(ConversionError) as ended:
        run.run_tool(step, Files(3, 4))
    assert ended.value.reason is ExitReason.DISK_FULL
    assert tool.ran == ran
    assert set(checked) == {4}, "the output, not the input"


@pytest.mark.parametrize("prints", [True, False])
def test_the_lines_that_a_caller_reads_count_as_progress(
    monkeypatch: pytest.MonkeyPatch, prints: bool
) -> None:
    """A tool that runs for five times 59 s. The stall limit is 60 s."""
    now, lines = [time.monotonic()], list[str]()

    def work(own: Runner, _step: Step, _files: Files, _folder: object, watch: Watch) -> object:
        monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: now[0]))
        watchdog = process._Watchdog(own._time_limits, watch.activity)
        for _ in range(5):
            watchdog.check()
            now[0] += 59
            if prints and watch.on_line:
                watch.on_line("frame")
        return ProcessResult(0, b"", "")

    monkeypatch.setattr(Runner, "_run", work)
    tool, step = runner(FakeSignals(), 3600, lambda: None), Step("shapes", ("ffprobe",))
    with nullcontext() if prints else pytest.raises(ConversionError, match="no progress"):
        tool.run(step, files=Files(3), on_line=lines.append)
    assert lines == ["frame"] * 5 * prints
