"""Explains why a tool failed, from its exit code and what it printed."""

from __future__ import annotations

import re
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.running.process import ProcessResult

# ffmpeg's exit code is the error number's low byte.
_FFMPEG_FULL: Final = (256 - 28, 256 - 122)

# The first reason that matches counts.
_PATTERNS: Final = {
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
_MESSAGES: Final = {
    ExitReason.DISK_FULL: "no space left on the shared volume; free some space",
    ExitReason.INPUT_TOO_LARGE: "the input is too large",
    ExitReason.UNSUPPORTED_FORMAT: "the converter does not accept the format of the input",
    ExitReason.INPUT_TRUNCATED: "the input is truncated; upload it again",
}
_MAX_CAUSE: Final = 200


def explain(
    step: str, result: ProcessResult, missing_bytes: int, known_format: bool
) -> ConversionError:
    """The error for a failed ``step``.

    ``missing_bytes`` is how many bytes the input's structure promises beyond its end.
    ``known_format`` says whether its first bytes are those of an accepted format.
    """
    printed = cause(result.stderr)
    if result.exit_code in _FFMPEG_FULL:
        return ConversionError(ExitReason.DISK_FULL, _MESSAGES[ExitReason.DISK_FULL])
    for reason, patterns in _PATTERNS.items():
        if re.search("|".join(patterns), result.stderr):
            # A file of a known format that no loader accepts is damaged.
            no_loader = reason is ExitReason.UNSUPPORTED_FORMAT and "known" in result.stderr
            if no_loader and known_format:
                break
            message = _MESSAGES[reason]
            return ConversionError(reason, f"{message} ({printed})" if printed else message)
    if missing_bytes:
        return ConversionError(
            ExitReason.INPUT_TRUNCATED,
            f"the input is truncated: {missing_bytes} bytes are missing; upload it again",
        )
    if not known_format:
        reason = ExitReason.UNSUPPORTED_FORMAT
        return ConversionError(reason, _MESSAGES[reason])
    code = result.exit_code
    exited = f"{step}: exit code {code}" if code >= 0 else f"{step}: signal {-code}"
    return ConversionError(
        ExitReason.INPUT_DAMAGED, f"the input cannot be decoded ({printed or exited})"
    )


def is_too_large(stderr: str) -> bool:
    """Whether a tool refused a frame because of its number of pixels."""
    return "exceeds specified max pixel count" in stderr


def cause(stderr: str) -> str:
    """The line that names the cause: the first error, without the prefixes of the tool."""
    warnings = []
    for line in stderr.splitlines():
        text = re.sub(r"^(\[[^\]]*\] ?)+", "", line).strip()
        text = re.sub(r"(file:)?/proc/self/fd/\d+", "the file", text)
        plain = re.sub(r"^\(?[\w.-]+:\d+\)?: [\w-]+ \*\*: [\d:.]+: ", "", text)
        if plain != text:
            warnings.append(plain)
        elif text and not text.startswith(("Error opening", "Conversion failed")):
            return text[:_MAX_CAUSE]
    return warnings[0][:_MAX_CAUSE] if warnings else ""
