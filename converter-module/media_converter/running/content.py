"""Checks that an output is not silent, noise or of one colour if its input is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import png
from media_converter.planning.image import page_step
from media_converter.planning.plan import WHOLE, ConversionPlan, level_step, luma_step
from media_converter.probing import decoded
from media_converter.probing.decoded import Level
from media_converter.probing.media import MediaInfo
from media_converter.running.process import Files
from media_converter.running.run import Run

# Places to look at, as fractions of the duration. The first one is usually enough.
_PLACES: Final = (0.5, 0.0, 0.25, 0.75, 0.9)
_SILENCE_DB: Final = -85.0
"""The peak of a silence that was encoded and decoded again is lower."""
_AUDIBLE_DB: Final = -60.0
_NOISE_DB: Final = -4.5
"""The mean level of samples that are mostly at full scale. The loudest music is lower."""
_LOUD_DB: Final = -16.0
"""A mix of all channels is not so much louder than they are that it gets from here to noise."""
MAX_FLAT: Final = 6
_MIN_DETAIL: Final = 24
_KEY_SECONDS: Final = 5.0
"""The mean time from a keyframe to a place, as encoders of videos set keyframes."""
_USUAL_RATE: Final = 25
_SECONDS_PER_PIXEL: Final = 4e-9
"""To decode H.264."""
_INSIDE: Final = 0.95
"""Of what remains of a frame that was cut, so that the edge of what was cut off is not seen."""


def check_seconds(plan: ConversionPlan) -> float:
    """About how long :func:`check` takes with the video of a plan. 0 without one.

    It decodes from the keyframe before the first place on.
    """
    if plan.expected.size is None or not plan.duration:
        return 0.0
    width, height = plan.expected.size
    seconds = min(_PLACES[0] * plan.duration, _KEY_SECONDS)
    return seconds * _USUAL_RATE * width * height * _SECONDS_PER_PIXEL


def check(run: Run, info: MediaInfo, plan: ConversionPlan, found: MediaInfo) -> None:
    """Raise ConversionError with the reason VerificationFailed if the content was lost."""
    output, source = Files(run.make_temporary().fd), Files(run.source.fd)
    length = found.duration or 0.0
    if found.audio and plan.audio_index is not None:
        _check_audio(
            _levels(run, output, (found.audio[0].stream_index,), 0.0),
            _levels(run, source, plan.audio_indexes, plan.start, from_start=info.clock_restarts),
            length,
        )
    if found.video and plan.video_index is not None:
        shown, video, begin = found.video[0].stream_index, plan.video_index, plan.start
        detail = _largest(lambda t: _detail(run, output, shown, t), length, MAX_FLAT)
        # Without a frame, nothing was measured.
        if 0 <= detail <= MAX_FLAT:
            kept = _inside(plan)

            def look(time: float) -> float:
                return _detail(
                    run, source, video, begin + time, kept, from_start=info.clock_restarts
                )

            if _largest(look, length, _MIN_DETAIL) > _MIN_DETAIL:
                raise _lost("its frames have one colour, but those of the input have not")


def check_frames(
    run: Run,
    stream_index: int,
    made: Iterable[float],
    times: Iterable[float],
    *,
    from_start: bool = False,
) -> None:
    """Raise ConversionError if all frames of the output have one colour, and the input's do not.

    ``made`` is the detail of frames of the output, see :func:`detail_of` and
    :func:`detail_of_page`. ``stream_index`` is that of the input, and ``times`` are the same places
    there, in seconds. ``from_start`` is that of ``luma_step``.
    """
    detail = max(made)
    if 0 <= detail <= MAX_FLAT:
        source = Files(run.source.fd)
        there = max(
            _detail(run, source, stream_index, time, from_start=from_start) for time in times
        )
        if there > _MIN_DETAIL:
            raise _lost("its frames have one colour, but those of the input have not")


def detail_of(run: Run, time: float) -> float:
    """The detail of a frame of a video that was written: how far apart its luma is, 0 to 255.

    Below 0 if it cannot be decoded.
    """
    return _detail(run, Files(run.make_temporary().fd), 0, time)


def detail_of_page(run: Run, page: int) -> float:
    """As :func:`detail_of`, of a frame of an animation that was written, from 0."""
    result = run.run_tool(page_step(page), Files(run.make_temporary().fd))
    small = png.decode(result.stdout) if result.exit_code == 0 else None
    if small is None:
        return -math.inf
    luma = [
        0.299 * small.rgba[at] + 0.587 * small.rgba[at + 1] + 0.114 * small.rgba[at + 2]
        for at in range(0, len(small.rgba), 4)
    ]
    return max(luma) - min(luma)


_Levels = Callable[[float], Level]
"""A function that measures two seconds of audio from a given time. It remembers its results."""


def _levels(
    run: Run, files: Files, indexes: tuple[int, ...], begin: float, *, from_start: bool = False
) -> _Levels:
    """The highest levels of several tracks: whoever hears all of them hears at least these."""

    def measure_track(index: int, time: float) -> Level:
        lines: list[str] = []
        step = level_step(run.limits, index, begin + time, from_start=from_start)
        run.run_tool(step, files, on_error_line=lines.append)
        return decoded.level("\n".join(lines))

    @cache
    def measure(time: float) -> Level:
        levels = [measure_track(index, time) for index in indexes]
        return Level(max(level.mean for level in levels), max(level.peak for level in levels))

    return measure


def _check_audio(made: _Levels, given: _Levels, length: float) -> None:
    peak = _largest(lambda t: made(t).peak, length, _SILENCE_DB)
    # Without a level, nothing was measured.
    if -math.inf < peak <= _SILENCE_DB:
        if _largest(lambda t: given(t).peak, length, _AUDIBLE_DB) > _AUDIBLE_DB:
            raise _lost("its audio is silent, but that of the input is not")
    elif _is_noise(made, length):
        mean = _largest(lambda t: given(t).mean, length, _LOUD_DB)
        if -math.inf < mean <= _LOUD_DB:
            raise _lost("its audio is clipped noise, but that of the input is not")


def _is_noise(made: _Levels, length: float) -> bool:
    """Whether the audio is as loud as can be at most places."""
    if made(length * _PLACES[0]).mean <= _NOISE_DB:
        return False
    return sum(made(length * place).mean > _NOISE_DB for place in _PLACES) > len(_PLACES) / 2


def _largest(measure: Callable[[float], float], length: float, enough: float) -> float:
    """The largest value at a few places. Stops at the first one that is larger than ``enough``."""
    largest = -math.inf
    for place in _PLACES:
        largest = max(largest, measure(length * place))
        if largest > enough:
            break
    return largest


def _inside(plan: ConversionPlan) -> tuple[float, float]:
    """The part of the input's frames that the output has for certain."""
    wide, high = plan.kept
    return wide * _INSIDE if wide < 1 else wide, high * _INSIDE if high < 1 else high


def _detail(
    run: Run,
    files: Files,
    index: int,
    time: float,
    kept: tuple[float, float] = WHOLE,
    *,
    from_start: bool = False,
) -> float:
    """The difference between the brightest and the darkest part of a frame, 0 to 255."""
    step = luma_step(run.limits, index, time, kept, from_start=from_start)
    pixels = run.run_tool(step, files).stdout
    return float(max(pixels) - min(pixels)) if pixels else -math.inf


def _lost(what: str) -> ConversionError:
    return ConversionError(
        ExitReason.VERIFICATION_FAILED,
        f"the output was discarded: {what}; convert the input to a common format first",
    )
