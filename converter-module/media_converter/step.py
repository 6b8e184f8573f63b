"""Defines a step, which is one run of a tool, and the paths that tools get for their files."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

INPUT_FD: Final = 3
OUTPUT_FD: Final = 4
COVER_FD: Final = 5
INPUT: Final = f"/proc/self/fd/{INPUT_FD}"
OUTPUT: Final = f"/proc/self/fd/{OUTPUT_FD}"
COVER: Final = f"/proc/self/fd/{COVER_FD}"
"""The paths of inherited descriptors. Tools never get the names of files."""
PROFILE_FD: Final = COVER_FD
PROFILE: Final = COVER
"""An ICC profile for libvips. No tool needs a cover and a profile."""


class Stdout(Enum):
    """What a tool writes to standard output."""

    PROGRESS = "progress lines"
    CAPTURE = "bytes for the caller"
    OUTPUT = "the output file"


class Step(NamedTuple):
    """One run of a tool. ``name`` is one word for the log."""

    name: str
    argv: tuple[str, ...]
    stdout: Stdout = Stdout.CAPTURE
