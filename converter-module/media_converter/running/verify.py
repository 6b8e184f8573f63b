"""Verifies that an output is what was planned. Does no I/O."""

from __future__ import annotations

import re
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files.still import Still
from media_converter.planning.plan import Expected
from media_converter.probing.media import MediaInfo
from media_converter.task import DamageLimits

_TOLERANCE_SECONDS: Final = 0.5
_TOLERANCE_SHARE: Final = 0.02

# ffprobe computes the duration of these containers from the size of the file.
_DURATION_FROM_SIZE: Final = frozenset({"wav", "mp3", "aiff"})

# What ffmpeg prints about a truncated input and about a damaged one.
_TRUNCATION: Final = re.compile(
    r"partial file|ended prematurely|[Tt]runcat|[Pp]remature end|Input/output error"
)
_DAMAGE: Final = re.compile(r"[Ii]nvalid data|error while decoding|corrupt|concealing|Invalid NAL")


def with_full_duration(info: MediaInfo, missing_bytes: int) -> MediaInfo:
    """Correct the duration of a truncated file to the duration of the complete file.

    Formats of plain audio do not state a duration. ffprobe computes it from the size of the file.
    """
    if not missing_bytes or not info.duration or info.container not in _DURATION_FROM_SIZE:
        return info
    full_duration = info.duration * (info.size_bytes + missing_bytes) / info.size_bytes
    return info._replace(duration=full_duration, duration_is_exact=True)


def check_media(
    found: MediaInfo | None,
    expected: Expected,
    missing_bytes: int,
    log: str,
    limits: DamageLimits = DamageLimits(),  # noqa: B008 - it cannot change
) -> tuple[MediaInfo, tuple[str, ...]]:
    """Return ``found``, the probed output, and warnings. Raises ConversionError if it is wrong.

    ``missing_bytes`` is how many bytes the structure of the input promises beyond the end of the
    file. ``log`` is what ffmpeg printed to standard error. If the input
    lacks less than ``limits`` allow, a warning says so.
    """
    if found is None:
        raise not_readable("cannot be read back")
    _check_streams(found, expected)
    video = found.video[0].duration if found.video else None
    audio = found.audio[0].duration if found.audio else None
    for name, wanted, actual in (
        ("it", expected.duration, found.duration),
        ("its video", expected.video_duration, video),
        ("its audio", expected.audio_duration, audio),
    ):
        if wanted is not None and is_short(actual or 0.0, wanted):
            lengths = f"{name} should last {wanted:.1f} s, but only {actual or 0.0:.1f} s were read"
            try:
                raise_if_input_is_short(lengths, missing_bytes, log)
            except ConversionError as error:
                seconds = wanted - (actual or 0.0)
                too_much = (
                    seconds >= limits.max_seconds or 100 * seconds / wanted > limits.max_percent
                )
                if too_much and not limits.convert_anyway:
                    raise
                return found, (f"{error.message[0].upper()}{error.message[1:]}.",)
    return found, ()


def is_short(actual: float, wanted: float) -> bool:
    """Whether more seconds are missing than rounding to frames and packets explains."""
    return wanted - actual > max(_TOLERANCE_SECONDS, wanted * _TOLERANCE_SHARE)


def raise_if_input_is_short(lengths: str, missing_bytes: int, log: str) -> None:
    """Raise ConversionError if there is evidence that the input is truncated or damaged.

    Without evidence, the header of the input states a wrong duration and the output is complete.
    ``lengths`` is the last part of the message.
    """
    if missing_bytes > 0:
        raise ConversionError(
            ExitReason.INPUT_TRUNCATED,
            f"the input is truncated: {missing_bytes} bytes are missing at its end: {lengths}; "
            "upload it again",
        )
    if _TRUNCATION.search(log):
        raise ConversionError(
            ExitReason.INPUT_TRUNCATED, f"the input is truncated: {lengths}; upload it again"
        )
    if _DAMAGE.search(log):
        raise ConversionError(
            ExitReason.INPUT_DAMAGED, f"the input is damaged: {lengths}; upload it again"
        )


def check_silent(found: MediaInfo) -> None:
    """Raise ConversionError if an output that is to have no audio has some."""
    if found.audio:
        raise _wrong("has audio")


def check_faststart(is_faststart: bool) -> None:
    """Raise ConversionError if an MP4 does not have faststart."""
    if not is_faststart:
        raise _wrong("has its moov box after the media data")


def check_image(found: Still | None, expected: Expected) -> Still:
    """Return ``found``, the measured output. Raises ConversionError if it is not as expected."""
    if found is None:
        raise not_readable("is incomplete")
    if found.format != expected.container:
        raise _wrong(f"is {found.format} instead of {expected.container}")
    size = (found.width, found.height)
    if expected.size and not _near(size, expected.size):
        raise _wrong(f"is {_text(size)} instead of {_text(expected.size)}")
    # Fewer frames are correct: the WebP encoder merges equal frames into one that lasts longer.
    if expected.frames is not None and found.frames > expected.frames:
        raise _wrong(f"has {found.frames} frames instead of {expected.frames}")
    return found


def _check_streams(found: MediaInfo, expected: Expected) -> None:
    if expected.video_codec:
        if not found.video:
            raise _wrong("has no video")
        video = found.video[0]
        if video.codec != expected.video_codec:
            raise _wrong(f"is {video.codec} instead of {expected.video_codec}")
        size = (video.width, video.height)
        if expected.size and size != expected.size:
            raise _wrong(f"is {_text(size)} instead of {_text(expected.size)}")
    if expected.audio_codec:
        if not found.audio:
            raise _wrong("has no audio")
        if found.audio[0].codec != expected.audio_codec:
            raise _wrong(f"has {found.audio[0].codec} audio instead of {expected.audio_codec}")


def _near(found: tuple[int, int], expected: tuple[int, int]) -> bool:
    # A loader that shrinks while it decodes may round differently.
    return all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True))


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def not_readable(what: str) -> ConversionError:
    """The ConversionError for an output that a volume did not keep. Another run may succeed."""
    return ConversionError(
        ExitReason.IO_ERROR,
        f"the output {what} after it was written; it was discarded; check the shared volume",
    )


def _wrong(what: str) -> ConversionError:
    return ConversionError(
        ExitReason.VERIFICATION_FAILED,
        f"the output {what}; it was discarded; convert the input to a common format first",
    )
