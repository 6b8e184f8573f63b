"""Checks that an output is neither silent nor of one colour if its input is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.planning.plan import ConversionPlan, colour_step, level_step
from media_converter.probing import decoded
from media_converter.probing.media import MediaInfo
from media_converter.running.process import Files
from media_converter.running.run import Run

# Places to look at, as fractions of the duration. The first one is usually enough.
_PLACES: Final = (0.5, 0.0, 0.25, 0.75, 0.9)
_SILENCE_DB: Final = -85.0
"""The peak of a silence that was encoded and decoded again is lower."""
_AUDIBLE_DB: Final = -60.0
_MAX_FLAT: Final = 6
_MIN_DETAIL: Final = 24


def check(run: Run, info: MediaInfo, plan: ConversionPlan, found: MediaInfo) -> None:
    """Raise ConversionError with the reason VerificationFailed if the content was lost."""
    output = Files(run.make_temporary().fd)
    length = found.duration or 0.0
    if found.audio and plan.audio_index is not None:
        made = found.audio[0].stream_index
        level = _largest(lambda t: _peak(run, output, made, t), length, _SILENCE_DB)
        # Without a level, nothing was measured.
        if float("-inf") < level <= _SILENCE_DB:
            index, source = plan.audio_index, Files(run.source.fd)
            begin = plan.start
            there = _largest(lambda t: _peak(run, source, index, begin + t), length, _AUDIBLE_DB)
            if there > _AUDIBLE_DB:
                raise _lost("its sound is silent, but that of the input is not")
    if found.video and plan.video_index is not None:
        shown = found.video[0].stream_index
        detail = _largest(lambda t: _detail(run, output, shown, t), length, _MAX_FLAT)
        if 0 <= detail <= _MAX_FLAT:
            video, source, begin = plan.video_index, Files(run.source.fd), plan.start
            there = _largest(lambda t: _detail(run, source, video, begin + t), length, _MIN_DETAIL)
            if there > _MIN_DETAIL:
                raise _lost("its picture has one colour, but that of the input has not")


def _largest(measure: Callable[[float], float], length: float, enough: float) -> float:
    """The largest value at a few places. Stops at the first one that is larger than ``enough``."""
    largest = float("-inf")
    for place in _PLACES:
        largest = max(largest, measure(length * place))
        if largest > enough:
            break
    return largest


def _peak(run: Run, files: Files, index: int, time: float) -> float:
    """The peak level of two seconds of sound, in dB."""
    lines: list[str] = []
    run.run_tool(level_step(run.limits, index, time), files, on_error_line=lines.append)
    return max(decoded.peaks("\n".join(lines)), default=float("-inf"))


def _detail(run: Run, files: Files, index: int, time: float) -> float:
    """The difference between the brightest and the darkest part of a picture, 0 to 255."""
    pixels = run.run_tool(colour_step(run.limits, index, time), files).stdout
    return float(max(pixels) - min(pixels)) if pixels else float("-inf")


def _lost(what: str) -> ConversionError:
    return ConversionError(
        ExitReason.VERIFICATION_FAILED,
        f"the output was discarded: {what}; convert the input to a common format first",
    )
