"""The conversion plan, and the parts of an ffmpeg command that several plans share.

A plan is a pure function of the input's description, the options and the limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.probing.media import MAX_PIXELS
from media_converter.step import INPUT, OUTPUT, Step

FFMPEG: Final = "/opt/ffmpeg/bin/ffmpeg"
OUTPUT_URL: Final = f"file:{OUTPUT}"
NO_METADATA: Final = ("-map_metadata", "-1", "-map_chapters", "-1")
"""Tags and chapters can reveal a place, a device or an author, so the output gets none."""
PROGRESS: Final = ("-nostats", "-stats_period", "1", "-progress", "pipe:1")
"""Progress on standard output, once per second."""


class Expected(NamedTuple):
    """What the output must be. Durations are in seconds. A value of None is not checked.

    ``frames`` is the number of frames of an animation.
    """

    container: str
    video_codec: str | None = None
    audio_codec: str | None = None
    size: tuple[int, int] | None = None
    duration: float | None = None
    video_duration: float | None = None
    audio_duration: float | None = None
    frames: int | None = None


class ConversionPlan(NamedTuple):
    """The step to run and what its output must be. ``summary`` is a line for the log."""

    step: Step
    expected: Expected
    summary: str
    duration: float | None = None
    """Seconds of media that the step processes, for progress. It may be an estimate."""


def ffmpeg_input(limits: Limits, input_options: Iterable[str] = ()) -> list[str]:
    """The ffmpeg command up to and including the input."""
    threads = str(limits.threads)
    argv = [FFMPEG, "-nostdin", "-y", "-hide_banner", "-v", "level+error"]
    argv += ["-filter_threads", threads, "-filter_complex_threads", threads]
    argv += ["-protocol_whitelist", "file,pipe", "-threads", threads]
    argv += ["-max_pixels", str(MAX_PIXELS)]
    argv += input_options
    argv += ["-i", f"file:{INPUT}"]
    return argv


def trim_options(start: float, duration: float | None) -> list[str]:
    """Input options that read only a part. ffmpeg seeks and stops before it decodes."""
    options = ["-ss", f"{start:.6f}"] if start else []
    if duration is not None:
        options += ["-t", f"{duration:.6f}"]
    return options


def trimmed_duration(total: float | None, start: float, duration: float | None) -> float | None:
    """The expected duration of the output. None if that of the input, ``total``, is unknown."""
    if total is None:
        return None
    left = max(0.0, total - start)
    return left if duration is None else min(left, duration)
