"""Defines a step, which is one run of a tool, and the paths that tools get for their files."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from media_converter.contract import MAX_OUTPUTS

INPUT_FD: Final = 3
OUTPUT_FD: Final = 4
COVER_FD: Final = 5
INPUT: Final = f"/proc/self/fd/{INPUT_FD}"
OUTPUT: Final = f"/proc/self/fd/{OUTPUT_FD}"
COVER_PATH: Final = f"/proc/self/fd/{COVER_FD}"
"""The paths of inherited descriptors. Tools never get the names of files."""
LAST_FD: Final = COVER_FD + MAX_OUTPUTS - 1
"""The descriptors after COVER_FD are for the second output of a tool and for further ones."""
PROFILE_FD: Final = COVER_FD
PROFILE: Final = COVER_PATH
"""An ICC profile for libvips. No tool needs a cover and a profile."""


def output_fd(number: int) -> int:
    """The descriptor of an output of a tool that has several. The first one is number 0."""
    return COVER_FD + number if number else OUTPUT_FD


def output_path(number: int) -> str:
    """The path of an output of a tool that has several."""
    return f"/proc/self/fd/{output_fd(number)}"


class Stdout(Enum):
    """What a tool writes to standard output."""

    LINES = "lines for the caller"
    CAPTURE = "bytes for the caller"
    OUTPUT = "the output file"


class Step(NamedTuple):
    """One run of a tool. ``name`` is one word for the log.

    ``reads_own`` says that its input is a file that the converter has written. Then libvips may use
    what it considers unsafe for files of others.
    """

    name: str
    argv: tuple[str, ...]
    stdout: Stdout = Stdout.CAPTURE
    reads_own: bool = False
