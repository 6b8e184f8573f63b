"""Reads what the header of an MP4 or QuickTime file says about each track. Does no I/O itself.

ffprobe describes only the first of several sample descriptions, reports an encrypted stream under
the name of its codec, and applies edit lists without naming them. A stream copy depends on all
three.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

ReadAt = Callable[[int, int], bytes]

_MAX_BOXES: Final = 100_000
_MAX_HEADER_BYTES: Final = 256 << 20
_MAX_DEPTH: Final = 8
_CONTAINERS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
_ENCRYPTED_ENTRIES: Final = frozenset(
    {b"encv", b"enca", b"enct", b"encs", b"drms", b"drmi", b"drmt", b"aavd"}
)


class Edit(NamedTuple):
    """An entry of an edit list. ``media_time`` is -1 for an empty edit. ``rate`` 1 is normal."""

    duration: int
    media_time: int
    rate: int


class Samples(NamedTuple):
    """Where the samples of a track are: the size and the file offset of each sample."""

    sizes: tuple[int, ...]
    offsets: tuple[int, ...]


class Track(NamedTuple):
    """A track. ``entries`` are the sample descriptions: each has a code and its whole box."""

    handler: bytes
    entries: tuple[tuple[bytes, bytes], ...]
    edits: tuple[Edit, ...]
    samples: Samples | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether the samples of any description are encrypted."""
        return any(code in _ENCRYPTED_ENTRIES or b"sinf" in box for code, box in self.entries)

    @property
    def plain_edits(self) -> bool:
        """Whether the track is played once from its start to its end, perhaps after a pause."""
        edits = [edit for edit in self.edits if edit.media_time >= 0]
        return len(edits) <= 1 and all(edit.rate == 1 for edit in edits)


def tracks(read: ReadAt, size_bytes: int, *, with_samples: bool = False) -> tuple[Track, ...]:
    """The tracks of a file in the order of its header. Empty for other files and for nonsense.

    ``with_samples`` also reads the positions of all samples.
    """
    moov = _moov(read, size_bytes)
    found = []
    for kind, body in boxes(moov):
        if kind == b"trak":
            try:
                found.append(_track(body, size_bytes if with_samples else None))
            except (IndexError, ValueError):
                return ()
    return tuple(found)


def timescales(read: ReadAt, size_bytes: int) -> dict[int, int]:
    """Ticks per second of each track, by its number."""
    found = {}
    for kind, body in boxes(_moov(read, size_bytes)):
        if kind == b"trak":
            leaves = dict(_leaves(body))
            mdhd, tkhd = leaves.get(b"mdhd", bytes(24)), leaves.get(b"tkhd", bytes(24))
            at = 20 if mdhd[:1] == b"\1" else 12
            number = tkhd[20:24] if tkhd[:1] == b"\1" else tkhd[12:16]
            found[int.from_bytes(number, "big")] = int.from_bytes(mdhd[at : at + 4], "big") or 1
    return found


def fragment_defaults(read: ReadAt, size_bytes: int) -> dict[int, tuple[int, int]]:
    """The default duration and size of the samples in fragments, by the number of the track."""
    return {
        int.from_bytes(body[4:8], "big"): (
            int.from_bytes(body[12:16], "big"),
            int.from_bytes(body[16:20], "big"),
        )
        for outer, inner in boxes(_moov(read, size_bytes))
        if outer == b"mvex"
        for kind, body in boxes(inner)
        if kind == b"trex"
    }


def _moov(read: ReadAt, size_bytes: int) -> bytes:
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset >= size_bytes:
            return b""
        header = read(offset, 16)
        if len(header) < 8:
            return b""
        length, start = int.from_bytes(header[:4], "big"), 8
        if length == 1 and len(header) == 16:
            length, start = int.from_bytes(header[8:], "big"), 16
        elif length == 0:
            length = size_bytes - offset
        if length < start:
            return b""
        if header[4:8] == b"moov":
            return read(offset + start, min(length - start, _MAX_HEADER_BYTES))
        offset += length
    return b""


def boxes(data: bytes, offset: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box, in order. Stops at the first invalid one."""
    while offset + 8 <= len(data):
        length, start = int.from_bytes(data[offset : offset + 4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(data[offset + 8 : offset + 16], "big"), 16
        elif length == 0:
            length = len(data) - offset
        if length < start:
            return
        yield data[offset + 4 : offset + 8], data[offset + start : offset + length]
        offset += length


def _track(data: bytes, samples_of: int | None) -> Track:
    leaves = dict(_leaves(data))
    entries = tuple(boxes(leaves.get(b"stsd", b""), 8))
    handler = leaves.get(b"hdlr", b"")[8:12]
    edits = tuple(_edits(leaves.get(b"elst", b"")))
    samples = None if samples_of is None else _samples(leaves, samples_of)
    return Track(handler, entries, edits, samples)


def _leaves(data: bytes, depth: int = 1) -> Iterator[tuple[bytes, bytes]]:
    for kind, body in boxes(data):
        if kind in _CONTAINERS and depth < _MAX_DEPTH:
            yield from _leaves(body, depth + 1)
        else:
            yield kind, body


def _numbers(data: bytes, width: int, start: int, count: int) -> array[int]:
    body = data[start : start + width * count]
    found = array("Q" if width == 8 else "I", body[: len(body) // width * width])
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _edits(data: bytes) -> Iterator[Edit]:
    if len(data) < 8:
        return
    width = 8 if data[0] == 1 else 4
    row = 2 * width + 4
    count = min(int.from_bytes(data[4:8], "big"), (len(data) - 8) // row)
    for at in range(8, 8 + count * row, row):
        entry = data[at : at + row]
        yield Edit(
            int.from_bytes(entry[:width], "big"),
            int.from_bytes(entry[width : 2 * width], "big", signed=True),
            int.from_bytes(entry[2 * width : 2 * width + 2], "big"),
        )


def samples_end(read: ReadAt, size_bytes: int) -> int:
    """Where the last sample of all tracks ends. A track that contradicts itself does not count.

    A header may list millions of samples, so this builds no list of them.
    """
    ends = [0]
    for kind, body in boxes(_moov(read, size_bytes)):
        if kind == b"trak":
            try:
                ends.append(_track_end(dict(_leaves(body))))
            except ValueError:
                continue
    return max(ends)


def _track_end(leaves: dict[bytes, bytes]) -> int:
    size, sizes, left = _sample_sizes(leaves)
    done = end = 0
    for chunks, per_chunk in _chunk_runs(leaves):
        if size:
            # All chunks of a run are of one length, but the last one of the track may be shorter.
            full, rest = divmod(min(left, len(chunks) * per_chunk), per_chunk)
            end = max(end, max(chunks[:full], default=0) + per_chunk * size * bool(full))
            if rest:
                end = max(end, chunks[full] + rest * size)
            left -= full * per_chunk + rest
        else:
            for chunk in chunks:
                inside = sizes[done : done + per_chunk]
                end = max(end, chunk + sum(inside)) if inside else end
                done += len(inside)
    return end if done == len(sizes) and (not size or not left) else 0


def _samples(leaves: dict[bytes, bytes], size_bytes: int) -> Samples:
    size, listed, count = _sample_sizes(leaves)
    if size and count > size_bytes // size:
        raise ValueError("the samples are longer than the file")
    sizes = (size,) * count if size else tuple(listed)
    offsets: list[int] = []
    for chunks, per_chunk in _chunk_runs(leaves):
        for chunk in chunks:
            inside = sizes[len(offsets) : len(offsets) + per_chunk]
            offsets.extend(accumulate(inside[:-1], initial=chunk) if inside else ())
    return Samples(sizes, tuple(offsets))


def _sample_sizes(leaves: dict[bytes, bytes]) -> tuple[int, array[int], int]:
    """The size that all samples have, or 0 and a list of sizes, and the number of samples."""
    stsz = leaves.get(b"stsz", bytes(12))
    size, count = int.from_bytes(stsz[4:8], "big"), int.from_bytes(stsz[8:12], "big")
    return size, _numbers(stsz, 4, 12, 0 if size else count), count


def _chunk_runs(leaves: dict[bytes, bytes]) -> Iterator[tuple[array[int], int]]:
    """The offsets of chunks that follow each other, and how many samples each of them has."""
    chunks = _chunk_offsets(leaves)
    stsc = leaves.get(b"stsc", bytes(8))
    runs = _numbers(stsc, 4, 8, 3 * int.from_bytes(stsc[4:8], "big"))
    before = 0
    for i in range(0, len(runs) - 2, 3):
        first, per_chunk = runs[i], runs[i + 1]
        last = runs[i + 3] if i + 3 < len(runs) else len(chunks) + 1
        if first <= before or not per_chunk:
            raise ValueError("the runs of chunks are not in order")
        before = first
        yield chunks[first - 1 : max(first, last) - 1], per_chunk


def _chunk_offsets(leaves: dict[bytes, bytes]) -> array[int]:
    for kind, width in ((b"stco", 4), (b"co64", 8)):
        if kind in leaves:
            count = int.from_bytes(leaves[kind][4:8], "big")
            return _numbers(leaves[kind], width, 8, count)
    return array("Q")
