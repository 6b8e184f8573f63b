"""Finds where the shape of the pixels changes within a stream. Does no I/O.

A broadcast that goes from 4:3 to 16:9 keeps the size of its frames, and only the shape of its
pixels changes. ffmpeg gives all frames the first shape: it prefers what the file states at its
start to what the decoder finds. So the shapes are listed before, by ffprobe.

Only transport and program streams are looked at. Other containers state one shape for a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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


class Seen(NamedTuple):
    """A decoded frame: its time in the file in seconds, its size, and the shape of its pixels."""

    time: float | None
    size: tuple[int, int]
    pixel: Ratio


class Shapes(NamedTuple):
    """The shapes of the pixels of a range, if there are several.

    ``runs`` are numbers of frames, counted from 0, from which on a shape holds. It is empty if the
    size of the frames changes, too; then ``by_size`` has the shape for each size.
    """

    runs: tuple[tuple[int, Ratio], ...] = ()
    by_size: tuple[tuple[tuple[int, int], Ratio], ...] = ()


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


def step(stream_index: int, reading: Iterable[str]) -> Step:
    """Build the step that decodes a stream and lists its frames."""
    argv = [FFPROBE, "-v", "level+error", "-hide_banner", "-protocol_whitelist", "file"]
    argv += ["-max_pixels", str(MAX_FRAME_PIXELS)]
    argv += reading
    fields = "best_effort_timestamp_time,width,height,sample_aspect_ratio"
    argv += ["-select_streams", str(stream_index), "-show_entries", f"frame={fields}"]
    argv += ["-of", "csv=p=0", f"file:{INPUT}"]
    return Step("shapes", tuple(argv), Stdout.LINES)


def frame(line: str) -> Seen | None:
    """One line that the step prints. None if it is of something else."""
    fields = line.split(",")
    if len(fields) < 4 or not fields[1].isdigit() or not fields[2].isdigit():
        return None
    try:
        time = None if fields[0] == "N/A" else float(fields[0])
    except ValueError:
        return None
    return Seen(time, (int(fields[1]), int(fields[2])), aspect(fields[3]) or (1, 1))


class ShapeReader:
    """Reads the lines that the step prints. It keeps the changes only."""

    def __init__(self, first_time: float | None) -> None:
        self._first_time = first_time
        self._count = 0
        self._changes: list[tuple[int, Seen]] = []

    def add_line(self, line: str) -> None:
        """Add one frame. Those before the first time do not count."""
        seen = frame(line)
        if seen is None:
            return
        if self._first_time is not None:
            if seen.time is None or seen.time < self._first_time - _EPSILON:
                return
            self._first_time = None
        if not self._changes or self._changes[-1][1][1:] != seen[1:]:
            self._changes.append((self._count, seen))
        self._count += 1

    @property
    def changes(self) -> tuple[tuple[int, Seen], ...]:
        """The number of each frame that differs from the one before it."""
        return tuple(self._changes)


def shapes(changes: Iterable[tuple[int, Seen]], stated: Ratio) -> Shapes | None:
    """The shapes of a range. None if all frames have the ``stated`` one.

    Raises ValueError if frames of one size have several shapes, and the size changes, too.
    """
    found = list(changes)
    if all(seen.pixel == stated for _, seen in found):
        return None
    by_size = {(seen.size, seen.pixel) for _, seen in found}
    sizes = {size for size, _ in by_size}
    if len(sizes) == 1:
        return Shapes(runs=tuple((number, seen.pixel) for number, seen in found))
    if len(sizes) < len(by_size):
        raise ValueError("the shape of the pixels does not follow from the size of the frames")
    return Shapes(by_size=tuple(sorted(by_size)))


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
