"""Measures loudness by EBU R128, and plans how to reach another one.

The gain is linear, so the dynamics stay. Only if peaks would clip, a limiter lowers these peaks. It
works at four times the sample rate, because a true peak lies between two samples. The
filter loudnorm is not used: it changes to another mode, which changes the dynamics, if the linear
gain would clip.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from media_converter.limits import Limits
from media_converter.planning.gain import Gain
from media_converter.planning.joined_tracks import JOINED_INPUT, JOINED_MAP
from media_converter.planning.plan import PROGRESS, ffmpeg_command
from media_converter.probing.decoded import Loudness
from media_converter.step import Feed, Stdout, Step

MAX_TRUE_PEAK: Final = -1.0
"""dBTP. The highest true peak that an output may have."""
_MEASURE: Final = "ebur128=peak=true:framelog=quiet"
"""The filter that measures. ffmpeg prints the result when it exits."""
WARN_DIFFERENCE: Final = 1.0
"""LU. A larger difference from the wanted loudness causes a warning."""
MAX_TRIES: Final = 4
_FIRST_CEILING: Final = -1.5
_MARGIN: Final = 0.3
_LOWEST_CEILING: Final = -9.0
_RETRY_DIFFERENCE: Final = 0.5
"""LU. A larger difference causes another try, if one is left."""


def measure_step(
    limits: Limits,
    stream: int | str | Feed,
    filters: Iterable[str],
    input_options: Iterable[str],
    *,
    demuxer_options: tuple[str, ...],
    seconds: float | None = None,
) -> Step:
    """Build the step that measures a stream, such as 1 or ``a:0``, after ``filters``.

    ``seconds`` is how much of what leaves the filters is measured, None for all of it. A feed
    stands for the audio that it decodes.
    """
    argv = ffmpeg_command(limits, input_options, demuxer_options=demuxer_options)
    tracks = stream if isinstance(stream, Feed) else None
    argv += JOINED_INPUT if tracks else []
    argv += ["-map", JOINED_MAP if tracks else f"0:{stream}", "-af", ",".join([*filters, _MEASURE])]
    argv += [] if seconds is None else ["-t", f"{seconds:.6f}"]
    return Step("loudness", (*argv, *PROGRESS, "-f", "null", "-"), Stdout.LINES, feed=tracks)


def first_gain(measured: Loudness, target: float) -> Gain:
    """The gain from the measured loudness to ``target``, in LUFS."""
    decibels = target - measured.integrated
    return _limited(decibels, measured.true_peak + decibels, _FIRST_CEILING)


NO_GAIN: Final = Gain(0.0)


def better_gain(gain: Gain, made: Loudness, target: float) -> Gain | None:
    """The gain for another try, after an output with the loudness ``made``. None if it is right.

    An encoder raises peaks, and a limiter lowers the loudness.
    """
    excess = made.true_peak - MAX_TRUE_PEAK
    missing = target - made.integrated
    if excess <= 0 and abs(missing) <= _RETRY_DIFFERENCE:
        return None
    decibels = gain.decibels + (missing if abs(missing) > _RETRY_DIFFERENCE else 0.0)
    ceiling = gain.ceiling
    if excess > 0:
        ceiling = (MAX_TRUE_PEAK if ceiling is None else ceiling) - excess - _MARGIN
        ceiling = max(_LOWEST_CEILING, ceiling)
    peak = made.true_peak + decibels - gain.decibels
    return _limited(decibels, peak, _FIRST_CEILING) if ceiling is None else Gain(decibels, ceiling)


def _limited(decibels: float, peak: float, ceiling: float) -> Gain:
    return Gain(decibels, ceiling if peak > MAX_TRUE_PEAK else None)
