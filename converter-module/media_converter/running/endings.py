"""Explains the ends of tools that have one meaning whatever the tool does: a signal or a limit."""

from __future__ import annotations

import signal
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.running.process import ProcessResult

CRASHES: Final = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        # glib ends a program with this signal if it cannot continue.
        signal.SIGTRAP,
    }
)
# ffmpeg exits with the low byte of the negative error number: EFBIG is 27.
_FFMPEG_FILE_TOO_LARGE: Final = 256 - 27


def has_crashed(result: ProcessResult) -> bool:
    """Whether the tool was ended by a signal that stands for a bug in it."""
    return -result.exit_code in CRASHES


def crashed(step: str, result: ProcessResult) -> ConversionError:
    """The ConversionError for a tool that crashed."""
    name = signal.Signals(-result.exit_code).name
    return ConversionError(
        ExitReason.DECODER_CRASHED,
        f"the {step} step crashed on the input with {name}; do not open the file elsewhere before "
        "you know where it comes from",
    )


def exceeded_file_size(result: ProcessResult) -> bool:
    """Whether the kernel refused to let the tool write a larger file."""
    return result.exit_code in (-signal.SIGXFSZ, _FFMPEG_FILE_TOO_LARGE) or (
        result.exit_code != 0 and "File too large" in result.stderr
    )


def output_too_large(max_bytes: int) -> ConversionError:
    """The ConversionError for an output of more than ``max_bytes``."""
    return ConversionError(
        ExitReason.OUTPUT_TOO_LARGE,
        f"the output would be larger than {max_bytes} bytes; choose a lower resolution or quality, "
        "or a shorter part",
    )
