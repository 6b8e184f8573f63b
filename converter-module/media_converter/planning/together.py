"""Builds the command that writes videos: one, or several of the same part of the same input.

One run of ffmpeg reads and decodes the input for all of them. Outputs whose sound would be the same
share its encoder: the muxer tee gives each file its own video and the packets of this sound.
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
"""What ffmpeg sets by itself for the muxers behind tee, but not for tee."""
_KEEP_TIMES: Final = ("-avoid_negative_ts", "disabled")
"""The muxers behind tee decide about times below 0. MP4 has edit lists for them."""

Numbered = tuple[int, Writing]
"""The number of an output, from 0, and how it is written."""


def combine(plans: Sequence[ConversionPlan]) -> tuple[ConversionPlan, ...]:
    """The same plans, but one run of ffmpeg reads and decodes the input for all of them.

    They read the same video, and the same sound unless they have none, from the same place.
    """
    argv = command([plan.writing for plan in plans if plan.writing])
    return tuple(plan._replace(step=plans[0].step._replace(argv=argv)) for plan in plans)


def command(writings: Sequence[Writing]) -> tuple[str, ...]:
    """The command that writes videos, the first one as output 0.

    The options of the sound's decoder are those of the first one that has sound.
    """
    reader = next((w for w in writings if w.audio is not None), writings[0])
    argv = [*reader.begin]
    progress: tuple[str, ...] = PROGRESS
    for group in _with_one_sound(writings):
        argv += _one(*group[0], progress) if len(group) == 1 else _tee(group, progress)
        progress = ()
    copied = [w.audio for w in writings if w.audio is not None and not w.sound]
    if copied:
        # Decode the copied audio too, once, so that its damage is counted.
        argv += ["-map", f"0:{copied[0]}", *DECODE_ONLY]
    return tuple(argv)


def _with_one_sound(writings: Sequence[Writing]) -> list[list[Numbered]]:
    """The outputs in groups that share an encoder of sound. Most outputs are alone."""
    groups: list[list[Numbered]] = []
    for number, writing in enumerate(writings):
        found = (group for group in groups if _have_same_sound(group[0][1], writing))
        group = next(found, None) if writing.sound else None
        if group is None:
            groups.append([(number, writing)])
        else:
            group.append((number, writing))
    return groups


def _have_same_sound(one: Writing, other: Writing) -> bool:
    return (one.audio, one.sound, one.duration) == (other.audio, other.sound, other.duration)


def _one(number: int, writing: Writing, progress: Iterable[str]) -> list[str]:
    argv = ["-map", f"0:{writing.video}"]
    if writing.audio is not None:
        argv += ["-map", f"0:{writing.audio}", *(writing.sound or ("-c:a", "copy"))]
    argv += [*NO_METADATA, *_NO_OTHER_STREAMS, *writing.picture, *_limit(writing), *progress]
    return [*argv, *writing.muxer, output_url(number)]


def _tee(group: Sequence[Numbered], progress: Iterable[str]) -> list[str]:
    first = group[0][1]
    argv = [word for _, writing in group for word in ("-map", f"0:{writing.video}")]
    argv += ["-map", f"0:{first.audio}", *first.sound, *NO_METADATA, *_NO_OTHER_STREAMS]
    for place, (_, writing) in enumerate(group):
        argv += _of_stream(writing.picture, place)
    argv += [*_AS_FILES, *_KEEP_TIMES, *_limit(first), *progress]
    files = (_file(place, number, writing) for place, (number, writing) in enumerate(group))
    return [*argv, "-f", "tee", "|".join(files)]


def _limit(writing: Writing) -> list[str]:
    return [] if writing.duration is None else ["-t", f"{writing.duration:.6f}"]


def _of_stream(options: Sequence[str], place: int) -> list[str]:
    """Options of the only video of an output, as those of one of several videos."""
    argv = []
    for name, value in zip(options[::2], options[1::2], strict=True):
        plain = "-filter" if name == "-vf" else name.removesuffix(":v")
        argv += [f"{plain}:v:{place}", value]
    return argv


def _file(place: int, number: int, writing: Writing) -> str:
    """One file of tee: its muxer, one of the videos, and the sound.

    ffmpeg removes one level of quotes when it splits the files, and one when it splits options.
    """
    names, values = writing.muxer[::2], writing.muxer[1::2]
    options = [f"{name[1:]}={value}" for name, value in zip(names, values, strict=True)]
    return f"[{':'.join(options)}:select=\\'v:{place},a\\']{output_url(number)}"
