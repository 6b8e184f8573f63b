"""What the four plans have in common: the shape of a plan and the parts of an ffmpeg command.

A plan is a pure function of what was found in the input, the options and the limits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.media import MAX_PIXELS
from media_converter.process import INPUT, OUTPUT, Step

FFMPEG: Final = "/opt/ffmpeg/bin/ffmpeg"


class Expected(NamedTuple):
    """What the output has to be. Durations are seconds; None is not checked.

    ``frames`` is the number of pages of an animation.
    """

    container: str
    video_codec: str | None = None
    audio_codec: str | None = None
    size: tuple[int, int] | None = None
    duration: float | None = None
    video_duration: float | None = None
    audio_duration: float | None = None
    frames: int | None = None


class Plan(NamedTuple):
    """A step to run and what its output has to be. ``note`` says in words what was decided."""

    step: Step
    expected: Expected
    note: str
    length: float | None = None
    """Media seconds the step goes through, for progress."""


def ffmpeg_input(limits: Limits, *options: str) -> tuple[str, ...]:
    """The command up to and including its input. ``options`` are those of the input."""
    threads = str(limits.threads)
    return (
        *(FFMPEG, "-nostdin", "-y", "-hide_banner", "-v", "level+error"),
        *("-filter_threads", threads, "-filter_complex_threads", threads),
        *("-protocol_whitelist", "file,pipe", "-threads", threads),
        *("-max_pixels", str(MAX_PIXELS)),
        *options,
        *("-i", f"file:{INPUT}"),
    )


def output_name() -> str:
    """The output as ffmpeg is told it."""
    return f"file:{OUTPUT}"


def no_metadata() -> tuple[str, ...]:
    """Leave out tags, chapters, subtitles and data: place, device and author are not handed on."""
    return ("-map_metadata", "-1", "-map_chapters", "-1", "-sn", "-dn")


def progress() -> tuple[str, ...]:
    """Progress on standard output, once a second."""
    return ("-nostats", "-stats_period", "1", "-progress", "pipe:1")


def span(start: float, duration: float | None) -> tuple[str, ...]:
    """Input options that read only a part: seeking and stopping happen before decoding."""
    return (
        *(("-ss", f"{start:.6f}") if start else ()),
        *(("-t", f"{duration:.6f}") if duration is not None else ()),
    )


def promised(length: float | None, start: float, duration: float | None) -> float | None:
    """How long the output should be, None if the input does not say how long it is."""
    left = None if length is None else max(0.0, length - start)
    if duration is None or left is None:
        return left if duration is None else None
    return min(left, duration)
