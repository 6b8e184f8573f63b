"""Why a tool failed, in a reason and one line, from its exit code and what it printed."""

from __future__ import annotations

import re
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.process import Ended

# ffmpeg's exit code is the error number's low byte.
_FFMPEG_FULL: Final = (256 - 28, 256 - 122)

# In this order: the first reason with a match counts.
_WORDS: Final = {
    ExitReason.DISK_FULL: ("No space left on device", "Disk quota exceeded"),
    ExitReason.INPUT_TOO_LARGE: (
        "exceeds specified max pixel count",
        "exceeds? (the )?(max|limit|image size)",
        "too (large|big)",
        r"Picture size \d+x\d+ is invalid",
        "pixel limit",
        "Maximum (supported )?image dimension",
    ),
    ExitReason.UNSUPPORTED_FORMAT: (
        "is not (a|in a) known (file )?format",
        "[Uu]nsupported (image|codec|feature|compression|file)",
        "no decoder",
        "blocked",
    ),
    ExitReason.INPUT_TRUNCATED: (
        "partial file",
        "[Pp]remature end",
        "[Tt]runcated",
        "ended prematurely",
        "[Uu]nexpected end",
        "end of (file|stream)",
        "[Nn]ot enough data",
        "moov atom not found",
    ),
}
_CURE: Final = {
    ExitReason.DISK_FULL: "no space left on the shared volume; free some",
    ExitReason.INPUT_TOO_LARGE: "the input is too large",
    ExitReason.UNSUPPORTED_FORMAT: "the input is in no format the converter accepts",
    ExitReason.INPUT_TRUNCATED: "the input is cut off; upload it again",
}
_LENGTH: Final = 200


def explain(step: str, ended: Ended, missing_bytes: int, media: bool) -> ConversionError:
    """The failure of ``step`` on an input that lacks ``missing_bytes`` by its own structure."""
    said = cause(ended.stderr)
    if ended.code in _FFMPEG_FULL:
        return ConversionError(ExitReason.DISK_FULL, _CURE[ExitReason.DISK_FULL])
    for reason, words in _WORDS.items():
        if re.search("|".join(words), ended.stderr):
            # A known beginning that no reader takes is a damaged file, not an unknown format.
            if reason is ExitReason.UNSUPPORTED_FORMAT and media and "known" in ended.stderr:
                break
            return ConversionError(reason, f"{_CURE[reason]} ({said})" if said else _CURE[reason])
    if missing_bytes:
        return ConversionError(
            ExitReason.INPUT_TRUNCATED,
            f"the input is cut off: {missing_bytes} bytes are missing at its end; upload it again",
        )
    if not media:
        return ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, "the content is of no format the converter accepts"
        )
    ending = f"exit code {ended.code}" if ended.code >= 0 else f"signal {-ended.code}"
    return ConversionError(
        ExitReason.INPUT_DAMAGED, f"the input cannot be decoded ({said or f'{step}: {ending}'})"
    )


def is_too_large(stderr: str) -> bool:
    """Whether a tool refused a picture for its number of pixels."""
    return "exceeds specified max pixel count" in stderr


def cause(stderr: str) -> str:
    """The line that names the cause: the first error, without the tool's own prefixes."""
    warnings = []
    for line in stderr.splitlines():
        text = re.sub(r"^(\[[^\]]*\] ?)+", "", line).strip()
        text = re.sub(r"(file:)?/proc/self/fd/\d+", "the file", text)
        plain = re.sub(r"^\(?[\w.-]+:\d+\)?: [\w-]+ \*\*: [\d:.]+: ", "", text)
        if plain != text:
            warnings.append(plain)
        elif text and not text.startswith(("Error opening", "Conversion failed")):
            return text[:_LENGTH]
    return warnings[0][:_LENGTH] if warnings else ""
