"""Builds the ffmpeg command that writes one video, or several of the same range of one input.

ffmpeg reads and decodes the input once for all of them. Outputs whose audio would be the same share
its encoder: the muxer tee gives each file its own video and the packets of this audio.
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
_AS_FILES: Final = ("-flags:v", "+global_header", "-flags:a", "+global_header")
"""ffmpeg sets these flags for MP4 and WebM. It does not set them for tee."""
_KEEP_TIMES: Final = ("-avoid_negative_ts", "disabled")
"""Each muxer behind tee handles negative timestamps itself, MP4 with an edit list."""
_AS_ONLY_VIDEO: Final = ("-disposition:v", "+0")
"""Adds no disposition. If none is set, ffmpeg marks the first of several videos as the default."""

Numbered = tuple[int, Writing]
"""The number of an output, from 0, and how it is written."""


def combine(plans: Sequence[ConversionPlan]) -> tuple[ConversionPlan, ...]:
    """The same plans, but one run of ffmpeg reads and decodes the input for all of them.

    All plans read the same video stream from the same position. Plans with audio read the same
    audio stream.
    """
    argv = output_command([plan.writing for plan in plans if plan.writing])
    feed = next((plan.step.feed for plan in plans if plan.step.feed), None)
    step = plans[0].step._replace(argv=argv, feed=feed)
    return tuple(plan._replace(step=step) for plan in plans)


def output_command(writings: Sequence[Writing]) -> tuple[str, ...]:
    """The command that writes these videos. The first one is output 0.

    The input options are those of the first video with audio, because they include the options of
    the audio decoder.
    """
    reader = next((w for w in writings if w.audio is not None), writings[0])
    argv = [*reader.command_start]
    progress: tuple[str, ...] = PROGRESS
    for group in _group_by_audio(writings):
        argv += _one(*group[0], progress) if len(group) == 1 else _tee(group, progress)
        progress = ()
    copied = [w.audio for w in writings if w.audio is not None and not w.audio_options]
    if copied:
        # Copied audio is also decoded, to count its errors. One decode is enough for all outputs.
        argv += ["-map", copied[0], *DECODE_ONLY]
    return tuple(argv)


def _group_by_audio(writings: Sequence[Writing]) -> list[list[Numbered]]:
    """The outputs in groups that share an audio encoder. Most groups have one output."""
    groups: list[list[Numbered]] = []
    for number, writing in enumerate(writings):
        found = (group for group in groups if _have_same_audio(group[0][1], writing))
        group = next(found, None) if writing.audio_options else None
        if group is None:
            groups.append([(number, writing)])
        else:
            group.append((number, writing))
    return groups


def _have_same_audio(one: Writing, other: Writing) -> bool:
    return (one.audio, one.audio_options, one.duration) == (
        other.audio,
        other.audio_options,
        other.duration,
    )


def _one(number: int, writing: Writing, progress: Iterable[str]) -> list[str]:
    argv = ["-map", f"0:{writing.video}", *_sound(writing), *NO_METADATA, *_NO_OTHER_STREAMS]
    argv += [*writing.video_options, *_limit(writing), *progress]
    return [*argv, *writing.muxer, output_url(number)]


def _tee(group: Sequence[Numbered], progress: Iterable[str]) -> list[str]:
    first = group[0][1]
    argv = [word for _, writing in group for word in ("-map", f"0:{writing.video}")]
    argv += [*_sound(first), *NO_METADATA, *_NO_OTHER_STREAMS]
    for place, (_, writing) in enumerate(group):
        argv += _of_stream(writing.video_options, place)
    argv += [*_AS_FILES, *_KEEP_TIMES, *_AS_ONLY_VIDEO, *_limit(first), *progress]
    files = (_file(place, number, writing) for place, (number, writing) in enumerate(group))
    return [*argv, "-f", "tee", "|".join(files)]


def _sound(writing: Writing) -> list[str]:
    """The audio of an output, and how it is written."""
    if writing.audio is None:
        return []
    return ["-map", writing.audio, *(writing.audio_options or ("-c:a", "copy"))]


def _limit(writing: Writing) -> list[str]:
    return [] if writing.duration is None else ["-t", f"{writing.duration:.6f}"]


def _of_stream(options: Sequence[str], place: int) -> list[str]:
    """The options of one video, with a stream specifier: they apply to video stream ``place``."""
    argv = []
    for name, value in zip(options[::2], options[1::2], strict=True):
        plain = "-filter" if name == "-vf" else name.removesuffix(":v")
        argv += [f"{plain}:v:{place}", value]
    return argv


def _file(place: int, number: int, writing: Writing) -> str:
    """One file of tee: its muxer, one of the videos, and the audio.

    ffmpeg removes one level of quotes when it splits the files, and one when it splits options.
    """
    names, values = writing.muxer[::2], writing.muxer[1::2]
    options = [f"{name[1:]}={value}" for name, value in zip(names, values, strict=True)]
    return f"[{':'.join(options)}:select=\\'v:{place},a\\']{output_url(number)}"
