"""Explains why a tool failed, from its exit code and its error messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.running.process import ProcessResult

# ffmpeg's exit code is the low byte of the negative error number: ENOSPC is 28, EDQUOT is 122.
_FFMPEG_DISK_FULL: Final = (256 - 28, 256 - 122)

_FFMPEG_STEPS: Final = ("probe", "encode", "remux", "extract", "check")

# Regular expressions for standard error. The first reason with a match counts.
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
    ExitReason.INPUT_TOO_LARGE: "the input is too large; make it smaller",
    ExitReason.UNSUPPORTED_FORMAT: "the converter does not accept the format of the input; convert "
    "it to a common format first",
    ExitReason.INPUT_TRUNCATED: "the input is truncated; upload it again",
}
_MAX_CAUSE_LENGTH: Final = 200


def explain(
    step: str,
    result: ProcessResult,
    missing_bytes: Callable[[], int],
    known_format: bool,
    *,
    ends_early: bool = False,
) -> ConversionError:
    """The ConversionError for a failed ``step``.

    ``missing_bytes`` tells how many bytes the structure of the input promises beyond the end of the
    file. It may read most of the input, so it is asked only if the answer depends on it.
    ``ends_early`` says that the mark of the end is missing. ``known_format`` says whether the
    input starts like a file of an accepted format. What a tool says about the input counts only if
    one of these confirms it.
    """
    cause_line = cause(result.stderr)
    if result.exit_code in _FFMPEG_DISK_FULL:
        return ConversionError(ExitReason.DISK_FULL, _MESSAGES[ExitReason.DISK_FULL])
    for reason, patterns in _PATTERNS.items():
        if re.search("|".join(patterns), result.stderr):
            # A decoder reads any size from damaged data. Only ffmpeg's own check counts.
            is_guess = reason is ExitReason.INPUT_TOO_LARGE and step in _FFMPEG_STEPS
            if is_guess and not is_too_large(result.stderr):
                continue
            if reason is ExitReason.INPUT_TRUNCATED and not (ends_early or missing_bytes()):
                continue
            if reason is ExitReason.UNSUPPORTED_FORMAT and (ends_early or missing_bytes()):
                continue
            # If the input has a known format but no loader accepts it, it is damaged.
            no_loader = reason is ExitReason.UNSUPPORTED_FORMAT and "known" in result.stderr
            if no_loader and known_format:
                break
            message = _MESSAGES[reason]
            return ConversionError(reason, f"{message} ({cause_line})" if cause_line else message)
    if missing := missing_bytes():
        return ConversionError(
            ExitReason.INPUT_TRUNCATED,
            f"the input is truncated: {missing} bytes are missing; upload it again",
        )
    if not known_format:
        reason = ExitReason.UNSUPPORTED_FORMAT
        return ConversionError(reason, _MESSAGES[reason])
    code = result.exit_code
    ending = f"{step}: exit code {code}" if code >= 0 else f"{step}: signal {-code}"
    return ConversionError(
        ExitReason.INPUT_DAMAGED,
        f"the input cannot be decoded ({cause_line or ending}); repair it or upload it again",
    )


def is_too_large(stderr: str) -> bool:
    """Whether a tool refused a frame because of its number of pixels."""
    return "exceeds specified max pixel count" in stderr


def cause(stderr: str) -> str:
    """The line that names the cause, without the prefixes of the tool.

    This is the first error, or the first warning if there is no error.
    """
    warnings = []
    for line in stderr.splitlines():
        text = re.sub(r"^(\[[^\]]*\] ?)+", "", line).strip()
        text = re.sub(r"(file:)?/proc/self/fd/\d+", "the file", text)
        message = re.sub(r"^\(?[\w.-]+:\d+\)?: [\w-]+ \*\*: [\d:.]+: ", "", text)
        if message != text:
            warnings.append(message)
        elif text and not text.startswith(("Error opening", "Conversion failed")):
            return text[:_MAX_CAUSE_LENGTH]
    return warnings[0][:_MAX_CAUSE_LENGTH] if warnings else ""
