"""Measures the loudness of a stream by EBU R128, and gives an output the wanted one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Final

from media_converter.planning.gain import Gain
from media_converter.planning.loudness import (
    MAX_TRIES,
    MAX_TRUE_PEAK,
    NO_GAIN,
    WARN_DIFFERENCE,
    better_gain,
    first_gain,
    measure_step,
)
from media_converter.probing import decoded
from media_converter.probing.decoded import Loudness
from media_converter.probing.media import MediaInfo
from media_converter.running.process import Files, ProcessResult
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.run import Run
from media_converter.step import Feed, Step

SILENT: Final = "The loudness is unchanged: the audio is silent or too short to measure."
UNKNOWN: Final = "The loudness is unchanged: it cannot be measured."


class Leveller:
    """Finds the gain of an output, in several tries. ``gain`` is None if there is nothing to do.

    ``check_seconds`` is about how long it takes to measure the output.

    ``target`` is in LUFS, None if the loudness stays. ``measure_audio`` measures the audio as the
    output will have it, without a gain.
    """

    def __init__(
        self, run: Run, target: float | None, measure_audio: Callable[[], Loudness | None]
    ) -> None:
        self.gain: Gain | None = None
        self.warnings: tuple[str, ...] = ()
        self.check_seconds = 0.0
        self._run = run
        self._target = target
        self._tries = 0
        if target is None:
            return
        began = time.monotonic()
        measured = measure_audio()
        if measured is None:
            # Nothing can be decoded, and the conversion will say so, or a sample is no number.
            self.warnings = (UNKNOWN,)
            return
        if not measured.is_whole:
            # The output has one format, so it can be measured as a whole.
            self.gain = NO_GAIN
            return
        if measured.is_silent:
            self.warnings = (SILENT,)
            return
        self.gain = first_gain(measured, target)
        # The output is measured as the input was.
        self.check_seconds = time.monotonic() - began
        run.log(f"the loudness is {_in_words(measured)}; {self.gain.in_words}")

    def is_right(self) -> bool:
        """Measure the output. False if it must be written again with the new ``gain``."""
        if self.gain is None or self._target is None:
            return True
        self._tries += 1
        made = _measure_output(self._run)
        if made is None:
            return True  # whoever verifies the output says what is wrong with it
        if made.is_silent:
            self.warnings = (SILENT,)
            return True
        better = better_gain(self.gain, made, self._target)
        if better is None:
            self._run.log(f"the loudness of the output is {_in_words(made)}")
            return True
        if self._tries < MAX_TRIES:
            self._run.log(f"the loudness of the output is {_in_words(made)}; {better.in_words}")
            self.gain = better
            return False
        wrong = abs(made.integrated - self._target) > WARN_DIFFERENCE
        if wrong or made.true_peak > MAX_TRUE_PEAK:
            self.warnings = (
                f"The loudness is {_in_words(made)}: {self._target:g} LUFS cannot be reached "
                f"without a true peak of more than {MAX_TRUE_PEAK:g} dBTP.",
            )
        return True


def _in_words(found: Loudness) -> str:
    return f"{found.integrated:.1f} LUFS with a true peak of {found.true_peak:.1f} dBTP"


def measure(
    run: Run,
    info: MediaInfo,
    stream: int | Feed,
    filters: Iterable[str] = (),
    options: Iterable[str] = (),
    seconds: float | None = None,
) -> Loudness | None:
    """Measure a stream of the input. ``options`` say how to read it. Raises ConversionError.

    Measures ``seconds`` of it, None for all. A feed stands for the audio that it decodes.

    None if no sample can be decoded, or if the result is no number.

    The meter only ends a run that makes no progress or never ends: the conversion reports its own
    progress.
    """
    step = measure_step(
        run.limits, stream, filters, options, demuxer_options=info.demuxer_options, seconds=seconds
    )
    max_seconds = max_plausible_duration(info.duration, run.source.size_bytes)
    found, result = _measure(run, step, run.source.fd, max_seconds)
    if result.exit_code != 0:
        raise run.explain_failure(step, result)
    return found


def _measure_output(run: Run) -> Loudness | None:
    fd = run.make_temporary().fd
    if not os.fstat(fd).st_size:
        return None
    step = measure_step(run.limits, "a:0", (), (), demuxer_options=())
    found, _ = _measure(run, step, fd, float("inf"))
    return found


def _measure(
    run: Run, step: Step, fd: int, max_seconds: float
) -> tuple[Loudness | None, ProcessResult]:
    lines: list[str] = []
    meter = Meter(None, lambda _: None, max_seconds)

    def add_line(line: str) -> None:
        if decoded.is_of_loudness(line):
            lines.append(line)

    result = run.run_tool(step, Files(fd), meter, on_error_line=add_line)
    found = decoded.loudness("\n".join(lines)) if result.exit_code == 0 else None
    return found, result
