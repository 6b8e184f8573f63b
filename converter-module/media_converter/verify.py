"""Whether an output is what was planned. Pure: compares what was probed with what is expected."""

from __future__ import annotations

import re
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.media import MediaInfo
from media_converter.plan import Expected
from media_converter.still import Still

_TOLERANCE_SECONDS: Final = 0.5
_TOLERANCE_SHARE: Final = 0.02

_LENGTH_IS_SIZE: Final = frozenset({"wav", "mp3", "aiff"})

# ffmpeg's words for an input that ends before its content does.
_CUT_OFF: Final = re.compile(
    r"partial file|ended prematurely|[Tt]runcat|[Pp]remature end|Input/output error"
)
_BROKEN: Final = re.compile(r"[Ii]nvalid data|error while decoding|corrupt|concealing|Invalid NAL")


def with_missing(info: MediaInfo, missing_bytes: int) -> MediaInfo:
    """What a file promised before it was cut off.

    Formats of plain sound have no length of their own: ffprobe takes what is there for the whole.
    """
    if not missing_bytes or not info.duration or info.container not in _LENGTH_IS_SIZE:
        return info
    whole = info.duration * (info.size + missing_bytes) / info.size
    return info._replace(duration=whole, firm=True)


def check_media(
    found: MediaInfo | None, expected: Expected, missing_bytes: int, log: str
) -> MediaInfo:
    """The output as found. Raises ConversionError if it is not what was planned.

    ``missing_bytes`` are those the input's own structure counts beyond its end; ``log`` is what
    the encoder said about the input.
    """
    if found is None:
        raise _wrong("cannot be read back")
    _check_streams(found, expected)
    for promised, there, what in (
        (expected.duration, found.duration, "it"),
        (expected.video_duration, found.video[0].duration if found.video else None, "its picture"),
        (expected.audio_duration, found.audio[0].duration if found.audio else None, "its sound"),
    ):
        if promised is not None and is_short(there or 0.0, promised):
            _explain(promised, there or 0.0, what, missing_bytes, log)
    return found


def is_short(there: float, promised: float) -> bool:
    """Whether more is missing than rounding to frames and packets explains."""
    return promised - there > max(_TOLERANCE_SECONDS, promised * _TOLERANCE_SHARE)


def check_index(first: bool) -> None:
    """Raise ConversionError unless the index comes first."""
    if not first:
        raise _wrong("has its index at the end")


def check_image(found: Still | None, expected: Expected) -> Still:
    """The output picture as found. Raises ConversionError if it is not what was planned."""
    if found is None:
        raise _wrong("is not whole")
    if found.form != expected.container:
        raise _wrong(f"is {found.form} instead of {expected.container}")
    size = (found.width, found.height)
    if expected.size and not _near(size, expected.size):
        raise _wrong(f"is {size[0]}x{size[1]} instead of {expected.size[0]}x{expected.size[1]}")
    # Fewer is right: WebP's encoder joins frames that are the same into one that lasts longer.
    if expected.frames is not None and found.frames > expected.frames:
        raise _wrong(f"has {found.frames} frames instead of {expected.frames}")
    return found


def _check_streams(found: MediaInfo, expected: Expected) -> None:
    if expected.video_codec:
        if not found.video:
            raise _wrong("has no picture")
        video = found.video[0]
        if video.codec != expected.video_codec:
            raise _wrong(f"is {video.codec} instead of {expected.video_codec}")
        if expected.size and (video.width, video.height) != expected.size:
            raise _wrong(
                f"is {video.width}x{video.height} instead of {expected.size[0]}x{expected.size[1]}"
            )
    if expected.audio_codec:
        if not found.audio:
            raise _wrong("has no sound")
        if found.audio[0].codec != expected.audio_codec:
            raise _wrong(f"has {found.audio[0].codec} sound instead of {expected.audio_codec}")


def _explain(promised: float, there: float, what: str, missing_bytes: int, log: str) -> None:
    """Raise if the input is to blame; return if only its header promised too much."""
    lengths = f"{what} should last {promised:.1f} s but only {there:.1f} s could be read"
    if missing_bytes > 0:
        raise ConversionError(
            ExitReason.INPUT_TRUNCATED,
            f"the input is cut off: {missing_bytes} bytes are missing at its end; {lengths}",
        )
    if _CUT_OFF.search(log):
        raise ConversionError(ExitReason.INPUT_TRUNCATED, f"the input is cut off: {lengths}")
    if _BROKEN.search(log):
        raise ConversionError(ExitReason.INPUT_DAMAGED, f"the input is damaged: {lengths}")


def _near(found: tuple[int, int], expected: tuple[int, int]) -> bool:
    # A loader that shrinks while it decodes may round the other way.
    return all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True))


def _wrong(what: str) -> ConversionError:
    return ConversionError(ExitReason.VERIFICATION_FAILED, f"the output {what}; it was thrown away")
