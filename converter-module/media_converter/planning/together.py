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
    OutputParts,
    output_url,
)

_NO_OTHER_STREAMS: Final = ("-sn", "-dn")
"""No subtitles, no data."""
_GLOBAL_HEADER: Final = ("-flags:v", "+global_header", "-flags:a", "+global_header")
"""Puts codec headers (extradata) into the file header, which MP4 and WebM need.

ffmpeg sets this flag for these muxers, but not for tee.
"""
_KEEP_TIMES: Final = ("-avoid_negative_ts", "disabled")
"""Each muxer behind tee handles negative timestamps itself, MP4 with an edit list."""
_KEEP_DISPOSITION: Final = ("-disposition:v", "+0")
"""Leaves the disposition unchanged.

Without this option, ffmpeg marks the first of several video streams as default.
"""

Numbered = tuple[int, OutputParts]
"""The number of an output, from 0, and the parts of its command."""


def combine(plans: Sequence[ConversionPlan]) -> tuple[ConversionPlan, ...]:
    """The same plans, but one run of ffmpeg reads and decodes the input for all of them.

    All plans read the same video stream from the same position. Plans with audio read the same
    audio stream.
    """
    argv = output_command([plan.output_parts for plan in plans if plan.output_parts])
    feed = next((plan.step.feed for plan in plans if plan.step.feed), None)
    step = plans[0].step._replace(argv=argv, feed=feed)
    return tuple(plan._replace(step=step) for plan in plans)


def output_command(outputs: Sequence[OutputParts]) -> tuple[str, ...]:
    """The command that writes these videos. The first one is output 0.

    The input options are those of the first video with audio, because they include the options of
    the audio decoder.
    """
    reader = next((each for each in outputs if each.audio_map is not None), outputs[0])
    argv = [*reader.command_start]
    progress: tuple[str, ...] = PROGRESS
    for group in _group_by_audio(outputs):
        argv += _one(*group[0], progress) if len(group) == 1 else _tee(group, progress)
        progress = ()
    copied = [each.audio_map for each in outputs if each.audio_map and not each.audio_options]
    if copied:
        # Copied audio is also decoded, to count its errors. One decode is enough for all outputs.
        argv += ["-map", copied[0], *DECODE_ONLY]
    return tuple(argv)


def _group_by_audio(outputs: Sequence[OutputParts]) -> list[list[Numbered]]:
    """The outputs in groups that share an audio encoder. Most groups have one output."""
    groups: list[list[Numbered]] = []
    for number, parts in enumerate(outputs):
        found = (group for group in groups if _have_same_audio(group[0][1], parts))
        group = next(found, None) if parts.audio_options else None
        if group is None:
            groups.append([(number, parts)])
        else:
            group.append((number, parts))
    return groups


def _have_same_audio(one: OutputParts, other: OutputParts) -> bool:
    return (one.audio_map, one.audio_options, one.duration) == (
        other.audio_map,
        other.audio_options,
        other.duration,
    )


def _one(number: int, parts: OutputParts, progress: Iterable[str]) -> list[str]:
    argv = ["-map", f"0:{parts.video_index}", *_audio(parts), *NO_METADATA, *_NO_OTHER_STREAMS]
    argv += [*parts.video_options, *_limit(parts), *progress]
    return [*argv, *parts.muxer, output_url(number)]


def _tee(group: Sequence[Numbered], progress: Iterable[str]) -> list[str]:
    first = group[0][1]
    argv = [word for _, parts in group for word in ("-map", f"0:{parts.video_index}")]
    argv += [*_audio(first), *NO_METADATA, *_NO_OTHER_STREAMS]
    for place, (_, parts) in enumerate(group):
        argv += _of_stream(parts.video_options, place)
    argv += [*_GLOBAL_HEADER, *_KEEP_TIMES, *_KEEP_DISPOSITION, *_limit(first), *progress]
    files = (_file(place, number, parts) for place, (number, parts) in enumerate(group))
    return [*argv, "-f", "tee", "|".join(files)]


def _audio(parts: OutputParts) -> list[str]:
    """The options that map the audio of an output, and encode or copy it."""
    if parts.audio_map is None:
        return []
    return ["-map", parts.audio_map, *(parts.audio_options or ("-c:a", "copy"))]


def _limit(parts: OutputParts) -> list[str]:
    return [] if parts.duration is None else ["-t", f"{parts.duration:.6f}"]


def _of_stream(options: Sequence[str], place: int) -> list[str]:
    """The options of one video, with a stream specifier: they apply to video stream ``place``."""
    argv = []
    for name, value in zip(options[::2], options[1::2], strict=True):
        plain = "-filter" if name == "-vf" else name.removesuffix(":v")
        argv += [f"{plain}:v:{place}", value]
    return argv


def _file(place: int, number: int, parts: OutputParts) -> str:
    """One file of tee: its muxer, one of the videos, and the audio.

    ffmpeg removes one level of quotes when it splits the files, and one when it splits options.
    """
    names, values = parts.muxer[::2], parts.muxer[1::2]
    options = [f"{name[1:]}={value}" for name, value in zip(names, values, strict=True)]
    return f"[{':'.join(options)}:select=\\'v:{place},a\\']{output_url(number)}"
