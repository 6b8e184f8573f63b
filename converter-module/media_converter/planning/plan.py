"""Defines the conversion plan, and builds the parts of an ffmpeg command that plans share.

A plan depends only on the description of the input, the options and the limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.probing.media import MAX_FRAME_PIXELS
from media_converter.step import INPUT, OUTPUT, Step

FFMPEG: Final = "/opt/ffmpeg/bin/ffmpeg"
OUTPUT_URL: Final = f"file:{OUTPUT}"
NO_METADATA: Final = ("-map_metadata", "-1", "-map_chapters", "-1")
"""Tags and chapters can reveal a place, a device or an author, so the output gets none."""
PROGRESS: Final = ("-nostats", "-stats_period", "1", "-progress", "pipe:1")
"""Options that print progress on standard output, once per second."""


class Expected(NamedTuple):
    """What the output must be. None means that the output may have any value.

    ``size`` is width and height in pixels. Durations are in seconds. ``frames`` is the largest
    number of frames that an animation may have.
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
    """The step to run and what its output must be.

    ``summary`` is a line for the log. ``duration`` is how many seconds of media the step
    processes. It is for progress only and may be an estimate.
    """

    step: Step
    expected: Expected
    summary: str
    duration: float | None = None


def ffmpeg_command(limits: Limits, input_options: Iterable[str] = ()) -> list[str]:
    """The start of an ffmpeg command: the executable, global options, input options, the input."""
    threads = str(limits.threads)
    argv = [FFMPEG, "-nostdin", "-y", "-hide_banner", "-v", "level+error"]
    argv += ["-filter_threads", threads, "-filter_complex_threads", threads]
    argv += ["-protocol_whitelist", "file,pipe", "-threads", threads]
    argv += ["-max_pixels", str(MAX_FRAME_PIXELS)]
    argv += input_options
    argv += ["-i", f"file:{INPUT}"]
    return argv


def trim_options(start: float, duration: float | None) -> list[str]:
    """Input options that read only a part of the input. ffmpeg does not decode the rest."""
    options = ["-ss", f"{start:.6f}"] if start else []
    return options if duration is None else [*options, "-t", f"{duration:.6f}"]


def trimmed_duration(total: float | None, start: float, duration: float | None) -> float | None:
    """The duration of the output for an input of ``total`` seconds. None if ``total`` is None."""
    if total is None:
        return None
    remaining = max(0.0, total - start)
    return remaining if duration is None else min(remaining, duration)
