"""Defines a step, which is one run of a tool, and the paths that tools get for their files."""

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
MAX_TRACKS: Final = 16
"""The most tracks of audio that are joined."""
LAST_OUTPUT_FD: Final = COVER_FD + max(MAX_OUTPUTS, MAX_TRACKS) - 1
"""The descriptors after COVER_FD are for the second output of a tool and for further ones."""
JOINED_FD: Final = LAST_OUTPUT_FD + 1
"""The pipe from which a tool reads joined audio."""
LAST_FD: Final = JOINED_FD
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


class Feed(NamedTuple):
    """A second tool that runs beside the tool of a step and decodes mono tracks for it.

    It writes the samples of each track to a pipe of its own, as signed integers of 24 bits. The
    converter joins them to audio with one channel per track. The tool of the step reads this as a
    WAV file from JOINED_FD. ``sample_rate`` is in Hz.
    """

    argv: tuple[str, ...]
    tracks: int
    sample_rate: int


class Step(NamedTuple):
    """One run of a tool. ``name`` is one word for the log.

    ``feed`` is set if the tool reads joined audio. ``reads_own`` says that its input is a file that
    the converter has written. Then libvips may use what it considers unsafe for files of others.
    """

    name: str
    argv: tuple[str, ...]
    stdout: Stdout = Stdout.CAPTURE
    reads_own: bool = False
    feed: Feed | None = None
