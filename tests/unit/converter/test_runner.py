"""What ends a tool or a long computation: signals, time limits, errors."""

from __future__ import annotations

import errno
import signal
import threading

import pytest

from media_converter.contract import (
    ExitReason,
)
from media_converter.errors import ConversionError
from media_converter.running import endings
from media_converter.running.process import ProcessResult
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
