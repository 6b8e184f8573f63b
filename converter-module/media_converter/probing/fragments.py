"""Finds holes in MP4: samples behind the end of the file, and fragments that cannot be read."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from media_converter.files import structure
from media_converter.probing import chain, isobmff
from media_converter.probing.chain import Hole
from media_converter.probing.isobmff import ReadAt

# A damaged header can claim any number.
_MAX_RUNS: Final = 1000
_MAX_EQUAL_SAMPLES: Final = 4096
_MAX_MOOF_BYTES: Final = 16 << 20
_MOOF: Final = re.compile(rb"[\s\S]{4}moof")


class Run(NamedTuple):
    """Samples of a track, one after the other: where they start, their sizes and durations."""

    track: int
    start: int
    sizes: list[int]
    durations: list[int]


def walk(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Walk the boxes. In a file without fragments, only the samples of its index count."""
    kinds = list(structure.boxes(read, size_bytes))
    end = max((offset + length for _, offset, length in kinds), default=0)
    if not any(kind == b"moof" for kind, _, _ in kinds):
        if end > size_bytes:
            # A box may be longer than its samples, but no sample is behind the last box.
            end = min(end, isobmff.samples_end(read, size_bytes))
        return [Hole(size_bytes, end)] if end > size_bytes else []
    moof: tuple[int, int] | None = None
    promised = 0

    def next_of(offset: int) -> int | None:
        nonlocal moof, promised
        box = next(
            iter(structure.boxes(lambda at, n: read(offset + at, n), size_bytes - offset)), None
        )
        if box is None:
            return None
        if box[0] == b"moof":
            moof = (offset, box[2])
        if box[0] == b"sidx":
            promised = max(promised, _indexed_end(read(offset, min(box[2], 1 << 20)), offset))
        return offset + box[2] if box[2] else size_bytes

    resync = chain.search(read, size_bytes, _MOOF, lambda at: next_of(at) is not None)
    found = chain.collect(chain.walk(size_bytes, 0, next_of, resync), size_bytes)
    if promised > size_bytes or (found and found[-1].end > size_bytes):
        seconds = _lost_seconds(read, size_bytes, moof) if moof else 0.0
        ends = [hole.end for hole in found if hole.end > size_bytes]
        found = [hole for hole in found if hole.end <= size_bytes]
        found.append(Hole(size_bytes, max([promised, *ends]), seconds=seconds))
    return found


def _indexed_end(box: bytes, offset: int) -> int:
    """Where the last segment ends that the index of segments lists."""
    wide = len(box) > 8 and box[8] == 1
    at = 8 + (28 if wide else 20)
    first = int.from_bytes(box[at - 8 if wide else at - 4 : at], "big")
    count = int.from_bytes(box[at + 2 : at + 4], "big")
    if len(box) < at + 4 + 12 * count:
        return 0
    entries = [box[i : i + 4] for i in range(at + 4, at + 4 + 12 * count, 12)]
    return offset + len(box) + first + sum(int.from_bytes(e, "big") & 0x7FFFFFFF for e in entries)


def _lost_seconds(read: ReadAt, size_bytes: int, moof: tuple[int, int]) -> float:
    """How long the samples of a fragment play that are not completely in the file."""
    scales = isobmff.timescales(read, size_bytes)
    lost: dict[int, float] = {}
    data = read(moof[0], min(moof[1], _MAX_MOOF_BYTES))
    runs = _runs(data[8:], moof[0], isobmff.fragment_defaults(read, size_bytes))
    for run in islice(runs, _MAX_RUNS):
        place = run.start
        for size, duration in zip(run.sizes, run.durations, strict=True):
            place += size
            if place > size_bytes:
                lost[run.track] = lost.get(run.track, 0.0) + duration / scales.get(run.track, 1000)
    return max(lost.values(), default=0.0)


def _runs(moof: bytes, base: int, defaults: dict[int, tuple[int, int]]) -> Iterator[Run]:
    place = base
    for traf in (body for kind, body in isobmff.boxes(moof) if kind == b"traf"):
        track, duration, size = 0, 0, 0
        for kind, body in isobmff.boxes(traf):
            if kind == b"tfhd":
                track = int.from_bytes(body[4:8], "big")
                duration, size = defaults.get(track, (0, 0))
                start, duration, size = _header(body, base, duration, size)
                place = place if start is None else start
            elif kind == b"trun":
                run = _run(body, track, (place, base), duration, size)
                place = run.start + sum(run.sizes)
                yield run


def _header(body: bytes, base: int, duration: int, size: int) -> tuple[int | None, int, int]:
    """Where the data of a track starts in the file, and the default duration and size."""
    flags, at, start = int.from_bytes(body[1:4], "big"), 8, None
    if flags & 1:
        start, at = int.from_bytes(body[at : at + 8], "big"), at + 8
    elif flags & 0x20000:
        start = base
    at += 4 if flags & 2 else 0
    if flags & 8:
        duration, at = int.from_bytes(body[at : at + 4], "big"), at + 4
    if flags & 16:
        size = int.from_bytes(body[at : at + 4], "big")
    return start, duration, size


def _run(body: bytes, track: int, places: tuple[int, int], duration: int, size: int) -> Run:
    flags, count, at = int.from_bytes(body[1:4], "big"), int.from_bytes(body[4:8], "big"), 8
    place, base = places
    if flags & 1:
        place = base + int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
    at += 4 if flags & 4 else 0
    fields = [mask for mask in (0x100, 0x200, 0x400, 0x800) if flags & mask]
    row = 4 * len(fields)
    count = min(count, (len(body) - at) // row if row else _MAX_EQUAL_SAMPLES)
    sizes, durations = [size] * count, [duration] * count
    for number in range(count):
        for column, mask in enumerate(fields):
            i = at + number * row + 4 * column
            value = int.from_bytes(body[i : i + 4], "big")
            if mask == 0x100:
                durations[number] = value
            elif mask == 0x200:
                sizes[number] = value
    return Run(track, place, sizes, durations)
