"""Parses what ffmpeg, with ``-v level+verbose``, prints about each stream that it read.

This is the evidence for a conversion: how many packets the input has, how many frames or blocks of
samples were decoded from them, and how many failed.
"""

import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from media_converter.probing.media import Ratio

_SUMMARY: Final = re.compile(
    r"Input stream #(\d+):(\d+) \(\w+\): (\d+) packets read \(\d+ bytes\);"
    r"(?: (\d+) frames decoded; (\d+) decode errors(?: \((\d+) samples\))?)?"
)
_RECONFIGURED: Final = re.compile(r"(?:because |, )(audio|video) parameters changed to")
_TURNED: Final = re.compile(r"Reconfiguring filter graph because .*display matrix changed")
_STOPPED: Final = "Error during demuxing: Not yet implemented"
_APPEARED: Final = re.compile(r"New (audio|video) stream with index \d+ at pos:")
_SHAPE: Final = re.compile(r"input from stream \d+:\d+ .* w:(\d+) h:(\d+) .* sar:(\d+)/(\d+)")
_CORRUPT: Final = "corrupt decoded frame"
# What the decoder of FLAC says about samples that it outputs anyway.
_WRONG_CHECKSUM: Final = "CRC error"
_REPEATED: Final = re.compile(r"Last message repeated (\d+) times")
_NO_ERROR: Final = re.compile(
    r"\[(warning|info|verbose|debug|trace)\]|^    Last message repeated"
    # The summary of ebur128, only the first line of which has a level.
    r"|^ +(Integrated loudness|Loudness range|True peak):"
    r"|^ +(I|LRA|LRA low|LRA high|Threshold|Peak): "
)
# EBU R128 ignores what is quieter.
_SILENCE_LUFS: Final = -70.0
# The lines of a summary: "    I:         -23.0 LUFS", "    Peak:       -1.2 dBFS". Another thread
# may print into the same line.
_LOUDNESS: Final = re.compile(r"(?:^|\s)(I|LRA|Peak):\s+(\S+) (?:LUFS|LU|dBFS)", re.MULTILINE)
_VOLUME: Final = re.compile(r"(mean|max)_volume: (-?[\d.]+) dB")


class StreamCounts(NamedTuple):
    """What was read of one stream. ``frames`` is None if the stream was only copied.

    ``samples`` is how many audio samples were decoded for each channel.
    """

    packets: int
    frames: int | None = None
    errors: int = 0
    samples: int = 0


class Decoded(NamedTuple):
    """What one run of ffmpeg read.

    ``streams`` are those of the first input, by index. ``corrupt`` is how many frames were decoded
    from damaged packets and have visible or audible faults. ``reconfigured`` has "audio" or "video"
    if the parameters of the audio or of the video changed. ``wrong_checksums`` is how many blocks
    of audio samples have a wrong checksum. ``appeared`` has "audio" or "video" if such a stream was
    found while the file was read, and ffmpeg did not read it. ``stopped`` says that ffmpeg gave up
    before the end of the file.
    """

    streams: dict[int, StreamCounts]
    corrupt: int = 0
    reconfigured: frozenset[str] = frozenset()
    wrong_checksums: int = 0
    appeared: frozenset[str] = frozenset()
    stopped: bool = False

    def total(self, indexes: Iterable[int]) -> StreamCounts | None:
        """The counts of several streams together. None if one of them was not decoded."""
        found = [self.streams.get(index) for index in indexes]
        total = StreamCounts(0, 0)
        for counts in found:
            if counts is None or counts.frames is None:
                return found[0] if len(found) == 1 else None
            total = StreamCounts(
                total.packets + counts.packets,
                (total.frames or 0) + counts.frames,
                total.errors + counts.errors,
                total.samples + counts.samples,
            )
        return total


class LogReader:
    """Reads standard error line by line, however long it is."""

    def __init__(self) -> None:
        self._streams: dict[int, StreamCounts] = {}
        self._corrupt = 0
        self._reconfigured: set[str] = set()
        self._appeared: set[str] = set()
        self._stopped = False
        self._last_was_corrupt = False
        self._wrong_checksums = 0

    def add_line(self, line: str) -> None:
        """Add one line."""
        repeated = _REPEATED.search(line)
        if repeated:
            self._corrupt += int(repeated[1]) if self._last_was_corrupt else 0
            return
        self._last_was_corrupt = _CORRUPT in line
        self._corrupt += self._last_was_corrupt
        self._wrong_checksums += _WRONG_CHECKSUM in line
        self._stopped |= _STOPPED in line
        if found := _SUMMARY.search(line):
            if found[1] == "0":
                frames = None if found[4] is None else int(found[4])
                numbers = (int(found[i] or 0) for i in (5, 6))
                counts = StreamCounts(int(found[3]), frames, *numbers)
                self._streams[int(found[2])] = counts
        elif found := _RECONFIGURED.search(line):
            self._reconfigured.add(found[1])
        elif _TURNED.search(line):
            self._reconfigured.add("video")
        elif found := _APPEARED.search(line):
            self._appeared.add(found[1])

    def result(self) -> Decoded:
        """What was read so far."""
        return Decoded(
            dict(self._streams),
            self._corrupt,
            frozenset(self._reconfigured),
            self._wrong_checksums,
            frozenset(self._appeared),
            self._stopped,
        )


def errors_only(stderr: str) -> str:
    """Standard error without ffmpeg's lines below the level error.

    Other tools do not print a level, so all of their lines stay.
    """
    return "\n".join(line for line in stderr.splitlines() if not _NO_ERROR.search(line))


class Level(NamedTuple):
    """The levels of the audio, in dB. Both are minus infinity if nothing was measured."""

    mean: float = -math.inf
    peak: float = -math.inf


def level(stderr: str) -> Level:
    """The levels that the filter volumedetect measured."""
    found = {name: float(value) for name, value in _VOLUME.findall(stderr)}
    return Level(found.get("mean", -math.inf), found.get("max", -math.inf))


class Loudness(NamedTuple):
    """What EBU R128 measures: the integrated loudness in LUFS, the true peak in dBTP, the range.

    The range is in LU. The true peak of digital silence is minus infinity. If ``is_whole`` is
    False, the channels or the sample rate have changed, and this is the last part only.
    """

    integrated: float
    true_peak: float
    range: float
    is_whole: bool = True

    @property
    def is_silent(self) -> bool:
        """Whether the audio is too quiet or too short to have a loudness."""
        return not self.integrated > _SILENCE_LUFS


def is_of_loudness(line: str) -> bool:
    """Whether a line is one of those that :func:`loudness` needs."""
    return _LOUDNESS.search(line) is not None


def loudness(stderr: str) -> Loudness | None:
    """What the filter ebur128 prints when ffmpeg exits. None if it printed nothing, or no number.

    ffmpeg builds the filters again at each change of the channels or the sample rate. Then the
    filter prints one result for each part. If a sample is NaN, so is the result, and None is
    returned.
    """
    lines = _LOUDNESS.findall(stderr)
    found = dict(lines)
    try:
        integrated, peak, loudness_range = (float(found[name]) for name in ("I", "Peak", "LRA"))
    except (KeyError, ValueError):
        return None
    if math.isnan(peak) or peak == math.inf or not math.isfinite(integrated + loudness_range):
        return None
    is_whole = sum(name == "I" for name, _ in lines) == 1
    return Loudness(integrated, peak, loudness_range, is_whole)


class Shape(NamedTuple):
    """Width and height of a frame, and the shape of its pixels."""

    width: int
    height: int
    sample_aspect_ratio: Ratio


def shape_of_frames(line: str) -> Shape | None:
    """What a line of standard error says about the frames that reach the filters."""
    found = _SHAPE.search(line)
    if not found:
        return None
    width, height, *pixel = (int(number) for number in found.groups())
    return Shape(width, height, (pixel[0], pixel[1]) if all(pixel) else (1, 1))
