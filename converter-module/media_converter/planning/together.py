"""Builds the ffmpeg command that writes one video, or several of the same range of one input.

ffmpeg reads and decodes the input once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from media_converter.planning.plan import (
    DECODE_ONLY,
    NO_METADATA,
    PROGRESS,
    ConversionPlan,
    Writing,
    output_url,
)

_NO_OTHER_STREAMS: Final = ("-sn", "-dn")
"""No subtitles, no data."""


def combine(plans: Sequence[ConversionPlan]) -> tuple[ConversionPlan, ...]:
    """The same plans, but one run of ffmpeg reads and decodes the input for all of them.

    All plans read the same video stream from the same position. Plans with audio read the same
    audio stream.
    """
    argv = encode_command([plan.writing for plan in plans if plan.writing])
    feed = next((plan.step.feed for plan in plans if plan.step.feed), None)
    step = plans[0].step._replace(argv=argv, feed=feed)
    return tuple(plan._replace(step=step) for plan in plans)


def encode_command(writings: Sequence[Writing]) -> tuple[str, ...]:
    """The command that writes these videos. The first one is output 0.

    The input options are those of the first video with audio, because they include the options of
    the audio decoder.
    """
    reader = next((w for w in writings if w.audio is not None), writings[0])
    argv = [*reader.command_start]
    progress: tuple[str, ...] = PROGRESS
    for number, writing in enumerate(writings):
        argv += _one(number, writing, progress)
        progress = ()
    copied = [w.audio for w in writings if w.audio is not None and not w.audio_options]
    if copied:
        # Copied audio is also decoded, to count its errors. One decode is enough for all outputs.
        argv += ["-map", copied[0], *DECODE_ONLY]
    return tuple(argv)


def _one(number: int, writing: Writing, progress: Iterable[str]) -> list[str]:
    argv = ["-map", f"0:{writing.video}"]
    if writing.audio is not None:
        argv += ["-map", writing.audio, *(writing.audio_options or ("-c:a", "copy"))]
    argv += [*NO_METADATA, *_NO_OTHER_STREAMS, *writing.video_options, *_limit(writing), *progress]
    return [*argv, *writing.muxer, output_url(number)]


def _limit(writing: Writing) -> list[str]:
    return [] if writing.duration is None else ["-t", f"{writing.duration:.6f}"]
