"""Finds where the shape of the pixels changes within a stream. Does no I/O.

A broadcast that goes from 4:3 to 16:9 keeps the size of its frames, and only the shape of its
pixels changes. ffmpeg gives all frames the first shape: it prefers what the file states at its
start to what the decoder finds. So the shapes are listed before, by ffprobe.

Only transport and program streams are looked at. Other containers state one shape for a stream.
"""

import math
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from media_converter.probing.ffprobe import FFPROBE, aspect
from media_converter.probing.media import MAX_FRAME_PIXELS, Ratio
from media_converter.step import INPUT, Stdout, Step

CONTAINERS: Final = ("mpegts", "mpeg")
"""By ffprobe's names."""
LOOK_BYTES: Final = 4096
"""How much of a keyframe is read. What describes its shape comes first."""
_TS_SYNC: Final = 0x47
_TS_BYTES: Final = 188
_TS_STRIDES: Final = (188, 192, 204)
# What states the size and the shape of the frames that follow, after the start code.
_MPEG: Final = rb"\x00\x00\x01\xb3(.{4})"
_SEQUENCE: Final = {
    "mpeg1video": _MPEG,
    "mpeg2video": _MPEG,
    "h264": rb"\x00\x00\x01[\x07\x27\x47\x67](.{4,}?)\x00\x00[\x00\x01]",
    "hevc": rb"\x00\x00\x01\x42\x01(.{4,}?)\x00\x00[\x00\x01]",
}
_EPSILON: Final = 0.0005
# ffmpeg holds a few frames for each shape, and computes each run of frames for each frame.
_MAX_SHAPES: Final = 16
_MAX_RUNS: Final = 1000
# Where a clock starts again or jumps, ffmpeg lets the times go on. Times in seconds.
_MAX_BACK_SECONDS: Final = 1.0
_MAX_AHEAD_SECONDS: Final = 10.0
_DEFAULT_FRAME_SECONDS: Final = 0.04


class Seen(NamedTuple):
    """A decoded frame: its time in the file in seconds, its size, and the shape of its pixels.

    ``pixel_format`` and ``colours`` are ffprobe's names. The colours are the range and the matrix.
    """

    time: float | None
    size: tuple[int, int]
    pixel: Ratio
    pixel_format: str = ""
    colours: tuple[str, ...] = ()


class Shapes(NamedTuple):
    """The shapes of the pixels of a range, if there are several.

    ``runs`` are numbers of frames, counted from 0, from which on a shape holds. It is empty if the
    size of the frames changes, too; then ``by_size`` has the shape for each size.
    ``keeps_filters`` says that ffmpeg must not build its filters again when the colours change.
    They would count frames from 0 again.
    """

    runs: tuple[tuple[int, Ratio], ...] = ()
    by_size: tuple[tuple[tuple[int, int], Ratio], ...] = ()
    keeps_filters: bool = False


class UnsupportedShapesError(ValueError):
    """The shapes cannot be told apart. The message says why."""


def states_shape(codec: str) -> bool:
    """Whether it is known where the keyframes of a codec state their shape."""
    return codec in _SEQUENCE


def sequence_header(data: bytes, container: str, codec: str) -> bytes | None:
    """What a keyframe states about its size and shape. None if it is not found.

    ``data`` is what the file has from the packet of the frame on.
    """
    pattern = _SEQUENCE.get(codec)
    stream = _payload(data) if container == "mpegts" else data
    found = re.search(pattern, stream, re.DOTALL) if pattern else None
    return found[1] if found else None


def _payload(data: bytes) -> bytes:
    """The payload of the packets of a transport stream that have the same PID as the first one."""
    stride = next((s for s in _TS_STRIDES if data[s : s + 1] == bytes((_TS_SYNC,))), _TS_BYTES)
    parts = []
    for at in range(0, len(data) - _TS_BYTES + 1, stride):
        packet = data[at : at + _TS_BYTES]
        if packet[0] != _TS_SYNC or (packet[1] & 0x1F, packet[2]) != (data[1] & 0x1F, data[2]):
            continue
        skipped = 5 + packet[4] if packet[3] & 0x20 else 4
        parts.append(packet[skipped:] if packet[3] & 0x10 else b"")
    return b"".join(parts)


def step(stream_index: int, demuxer_options: Iterable[str], threads: int) -> Step:
    """Build the step that decodes a stream with so many threads and lists its frames.

    Each thread of a decoder holds a frame.
    """
    argv = [FFPROBE, "-v", "level+error", "-hide_banner", "-protocol_whitelist", "file"]
    argv += ["-threads", str(threads), "-max_pixels", str(MAX_FRAME_PIXELS)]
    argv += demuxer_options
    fields = "best_effort_timestamp_time,width,height,pix_fmt,sample_aspect_ratio"
    fields += ",color_range,color_space"
    argv += ["-select_streams", str(stream_index), "-show_entries", f"frame={fields}"]
    argv += ["-of", "csv=p=0", f"file:{INPUT}"]
    return Step("shapes", tuple(argv), Stdout.LINES)


def frame(line: str) -> Seen | None:
    """One line that the step prints. None if it is of something else."""
    fields = line.split(",")
    if len(fields) < 7 or not fields[1].isdigit() or not fields[2].isdigit():
        return None
    try:
        time = None if fields[0] == "N/A" else float(fields[0])
    except ValueError:
        return None
    size = (int(fields[1]), int(fields[2]))
    return Seen(time, size, aspect(fields[4]) or (1, 1), fields[3], tuple(fields[5:7]))


class _Clock:
    """Lets times go on where the clock starts again, as ffmpeg does.

    If it starts again anywhere (``restarts``), ffmpeg reads from the start of the file, and takes
    out long gaps, too.
    """

    def __init__(self, *, restarts: bool) -> None:
        self._max_ahead = _MAX_AHEAD_SECONDS if restarts else math.inf
        self._offset = 0.0
        self._last: float | None = None
        self._frame_seconds = _DEFAULT_FRAME_SECONDS

    def continuous(self, time: float) -> float:
        """The time of the next frame, in seconds. The first one stays as it is."""
        if self._last is not None:
            step = time - self._last
            if step < -_MAX_BACK_SECONDS or step > self._max_ahead:
                self._offset += self._frame_seconds - step
            elif 0 < step < _MAX_BACK_SECONDS:
                self._frame_seconds = step
        self._last = time
        return time + self._offset


class ShapeReader:
    """Reads the lines that the step prints. It keeps the changes only.

    ``first_time`` is that of the first frame of the range, in seconds. ``restarts`` says that the
    clock of the file starts again.
    """

    def __init__(self, first_time: float | None, *, restarts: bool = False) -> None:
        self._first_time = first_time
        self._clock = _Clock(restarts=restarts)
        self._count = 0
        self._changes: list[tuple[int, Seen]] = []
        self._layout: tuple[tuple[int, int], str] | None = None
        self._has_one_layout = True

    def add_line(self, line: str) -> None:
        """Add one frame. Those before the first time do not count.

        Raises UnsupportedShapesError if there are too many changes.
        """
        seen = frame(line)
        if seen is None:
            return
        layout = (seen.size, seen.pixel_format)
        self._has_one_layout &= self._layout in (None, layout)
        self._layout = layout
        if self._first_time is not None:
            if seen.time is None:
                return
            if self._clock.continuous(seen.time) < self._first_time - _EPSILON:
                return
            self._first_time = None
        if not self._changes or self._changes[-1][1][1:] != seen[1:]:
            self._changes.append((self._count, seen))
            if len(self._changes) > _MAX_RUNS:
                raise UnsupportedShapesError(
                    f"the frames change more than {_MAX_RUNS} times; cut the input, and convert "
                    "the parts"
                )
        self._count += 1

    @property
    def changes(self) -> tuple[tuple[int, Seen], ...]:
        """The number of each frame that differs from the one before it."""
        return tuple(self._changes)

    @property
    def has_one_layout(self) -> bool:
        """Whether all frames of the stream, also before the range, have one size and format."""
        return self._has_one_layout


def shapes(
    changes: Iterable[tuple[int, Seen]], stated: Ratio, *, has_one_layout: bool = True
) -> Shapes | None:
    """The shapes of a range. None if all frames have the ``stated`` one.

    ``has_one_layout`` is that of the ShapeReader. Raises UnsupportedShapesError if there are too
    many, or if ffmpeg cannot tell which frame has which.
    """
    found = list(changes)
    if all(seen.pixel == stated for _, seen in found):
        return None
    by_size = {(seen.size, seen.pixel) for _, seen in found}
    if len(by_size) > _MAX_SHAPES:
        raise UnsupportedShapesError(
            f"the frames have more than {_MAX_SHAPES} sizes and shapes of their pixels; cut the "
            "input, and convert the parts"
        )
    sizes = {size for size, _ in by_size}
    if len(sizes) == 1:
        return _of_one_size(found, has_one_layout=has_one_layout)
    if len(sizes) < len(by_size):
        raise UnsupportedShapesError(
            "the size of the frames and the shape of their pixels change independently; cut the "
            "input where they change, and convert the parts"
        )
    return Shapes(by_size=tuple(sorted(by_size)))


def _of_one_size(found: list[tuple[int, Seen]], *, has_one_layout: bool) -> Shapes:
    """The shapes of frames of one size.

    ffmpeg builds its filters again if the pixel format or the colours change, unless it is told to
    keep them. It can only keep them if all frames that it decodes have the same layout.
    """
    shown = [(number, seen.pixel) for number, seen in found]
    runs = tuple(next(run) for _, run in groupby(shown, key=itemgetter(1)))
    if len(runs) == 1:
        return Shapes(runs)
    looks = {(seen.pixel_format, seen.colours) for _, seen in found}
    if len(looks) > 1 and not has_one_layout:
        raise UnsupportedShapesError(
            "the shape of the pixels changes, and their format or colours change, too; cut the "
            "input where they change, and convert the parts"
        )
    return Shapes(runs, keeps_filters=has_one_layout)


def spans(
    runs: Iterable[tuple[int, Ratio]],
) -> Iterator[tuple[Ratio, list[tuple[int, int | None]]]]:
    """Each shape with its first frames and the first frames after it, None for the end."""
    listed = list(runs)
    ends: list[int | None] = [number for number, _ in listed[1:]]
    grouped: dict[Ratio, list[tuple[int, int | None]]] = {}
    for (first, pixel), end in zip(listed, [*ends, None], strict=True):
        grouped.setdefault(pixel, []).append((first, end))
    yield from grouped.items()
