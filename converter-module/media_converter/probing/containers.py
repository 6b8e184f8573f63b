"""Finds holes in Matroska, FLV, AVI, MPEG program streams and ASF."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from media_converter.probing import chain
from media_converter.probing.chain import Hole
from media_converter.probing.isobmff import ReadAt

_UNKNOWN: Final = -1
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_EBML: Final = 0x1A45DFA3
_BLOCKS: Final = (0xA3, 0xA0)
_TIMESTAMP: Final = 0xE7
_INFO: Final = 0x1549A966
_TIMESTAMP_SCALE: Final = 0x2AD7B1
_DEFAULT_SCALE: Final = 1_000_000
_NANOSECONDS: Final = 1_000_000_000
_MAX_INFO_BYTES: Final = 65_536
# Elements whose content is walked, and those that are skipped: in a segment and in a cluster.
_OPENED: Final = (_SEGMENT, _CLUSTER)
_SKIPPED: Final = frozenset(
    {_EBML, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
    | {0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xAF, 0x5854}
)
_MIN_PLACEHOLDER: Final = 1_900_000_000
_CLUSTER_MARK: Final = re.compile(rb"\x1f\x43\xb6\x75")
# The next tag may start inside of what looks like one.
_FLV_TAG: Final = re.compile(rb"[\x08\x09\x12](?=[\s\S]{7}\x00\x00\x00)")
_FLV_TYPES: Final = (8, 9, 18)
_FLV_SIZE_BYTES: Final = 4
_AVI_CHUNK: Final = re.compile(rb"[0-9]{2}(?:dc|db|wb|tx|pc)|ix[0-9]{2}|LIST|RIFF|JUNK|idx1")
_AVI_NAME: Final = re.compile(rb"[A-Za-z0-9 _]{4}")
_PACK: Final = re.compile(rb"\x00\x00\x01\xba")
_MAX_STUFFING_BYTES: Final = 4096
_ASF_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DATA: Final = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_BROADCAST: Final = 1
_ASF_DATA_HEAD: Final = 50
# A damaged header may claim packets of a few bytes.
_MIN_ASF_PACKET_BYTES: Final = 64


def matroska(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Walk the elements of segments and clusters. A cluster may have an unknown length."""
    ends = {_SEGMENT: 0, _CLUSTER: 0}
    cluster_start = size_bytes
    scale = _DEFAULT_SCALE

    def next_of(offset: int) -> int | None:
        nonlocal cluster_start, scale
        kind, body, length = _element(read, offset)
        if kind == _INFO:
            scale = _timestamp_scale(read, body, min(length, _MAX_INFO_BYTES))
        if kind in _OPENED:
            ends[kind] = 0 if length == _UNKNOWN else body + length
            if kind == _CLUSTER:
                cluster_start = body
            return body
        return body + length if kind in _SKIPPED and length != _UNKNOWN else None

    resync = chain.search(read, size_bytes, _CLUSTER_MARK, lambda _: True)
    found = chain.collect(chain.walk(size_bytes, 0, next_of, resync), size_bytes)
    promised = max(ends.values())
    if promised > size_bytes:
        found = [hole for hole in found if hole.end <= size_bytes]
        seconds = _cluster_ticks(read, cluster_start, size_bytes) * scale / _NANOSECONDS
        missing = ends[_CLUSTER] - size_bytes
        seconds *= max(0, missing) / max(1, size_bytes - cluster_start)
        found.append(Hole(size_bytes, promised, seconds=seconds))
    return found


def _element(read: ReadAt, offset: int) -> tuple[int, int, int]:
    """The identifier of an element, where its content starts and how long it is."""
    head = read(offset, 12)
    width = 9 - head[0].bit_length() if head and head[0] else 0
    if not 1 <= width <= 4 or len(head) <= width or not head[width]:
        return 0, offset, _UNKNOWN
    count = 9 - head[width].bit_length()
    length = int.from_bytes(head[width : width + count], "big") & ((1 << 7 * count) - 1)
    body = offset + width + count
    unknown = length == (1 << 7 * count) - 1
    return int.from_bytes(head[:width], "big"), body, _UNKNOWN if unknown else length


def _timestamp_scale(read: ReadAt, start: int, length: int) -> int:
    """How many nanoseconds a tick of the clock has, as the information about a segment says."""
    end = start + length
    while start < end:
        kind, body, length = _element(read, start)
        if length == _UNKNOWN:
            break
        if kind == _TIMESTAMP_SCALE:
            return int.from_bytes(read(body, min(length, 8)), "big")
        start = body + length
    return _DEFAULT_SCALE


def _cluster_ticks(read: ReadAt, start: int, end: int) -> int:
    """How long the blocks from ``start`` on play, by their times relative to their cluster."""
    times = [0]
    while start < end:
        kind, body, length = _element(read, start)
        if kind not in _SKIPPED or length == _UNKNOWN:
            break
        if kind == _BLOCKS[0]:
            times.append(int.from_bytes(read(body + 1, 2), "big", signed=True))
        start = body + length
    return max(times)


def flv(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Walk the tags. Each is followed by its size."""

    def next_of(offset: int) -> int | None:
        head = read(offset, 11)
        # ffmpeg does not read on behind a second header.
        if head[:3] == b"FLV" and not offset:
            return offset + int.from_bytes(head[5:9], "big") + 4
        if len(head) < 11 or head[0] & 0x1F not in _FLV_TYPES:
            return None
        end = offset + 15 + int.from_bytes(head[1:4], "big")
        # Nearly all programs write stream ID 0. Another one is usually damage.
        return end if not any(head[8:11]) or is_sized(offset, end) else None

    def is_sized(offset: int, end: int) -> bool:
        size = int.from_bytes(read(end - _FLV_SIZE_BYTES, _FLV_SIZE_BYTES), "big")
        return end <= size_bytes and size == end - offset - _FLV_SIZE_BYTES

    def accept(offset: int) -> bool:
        end = next_of(offset)
        return end is not None and is_sized(offset, end)

    resync = chain.search(read, size_bytes, _FLV_TAG, accept)
    walked = chain.walk(size_bytes, 0, next_of, resync)
    # The last tag may lack its size.
    found = (h for h in walked if h.start < size_bytes or h.size > _FLV_SIZE_BYTES)
    return chain.collect(found, size_bytes)


def avi(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Walk the chunks, also those in the lists of media."""
    promised = 0

    def next_of(offset: int) -> int | None:
        nonlocal promised
        head = read(offset, 12)
        if len(head) < 8 or not _AVI_NAME.fullmatch(head[:4]):
            return None
        length = int.from_bytes(head[4:8], "little")
        end = offset + 8 + length
        # Some programs leave out the byte of padding behind an odd length.
        if length % 2 and not _AVI_CHUNK.match(read(end, 4)):
            end += 1
        if head[:4] == b"RIFF" or (head[:4] == b"LIST" and head[8:12] in (b"movi", b"rec ")):
            is_placeholder = length >= _MIN_PLACEHOLDER
            if head[:4] == b"LIST" and not is_placeholder:
                promised = max(promised, end)
            return offset + 12
        return end if end <= size_bytes + length % 2 or _AVI_CHUNK.match(head[:4]) else None

    resync = chain.search(
        read, size_bytes, _AVI_CHUNK, lambda at: (next_of(at) or size_bytes + 2) <= size_bytes
    )
    walked = _without_stuffing(read, size_bytes, chain.walk(size_bytes, 0, next_of, resync))
    found = chain.collect(walked, size_bytes)
    # The last chunk may lack its byte of padding.
    found = [hole for hole in found if not (hole.start == size_bytes and hole.size == 1)]
    if promised > size_bytes + 1:
        found = [hole for hole in found if hole.end <= size_bytes]
        found.append(Hole(size_bytes, promised))
    return found


def program_stream(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Walk packs and packets. A few zeros between them are stuffing."""

    def next_of(offset: int) -> int | None:
        head = read(offset, 14)
        if len(head) < 4 or head[:3] != b"\0\0\1" or head[3] < 0xB9:
            return None
        if head[3] == 0xB9:
            return offset + 4
        if head[3] == 0xBA:
            if len(head) < 14:
                return offset + 14
            return offset + (14 + (head[13] & 7) if head[4] >> 6 == 1 else 12)
        return offset + 6 + int.from_bytes(head[4:6], "big")

    resync = chain.search(read, size_bytes, _PACK, lambda _: True)
    found = chain.walk(size_bytes, 0, next_of, resync)
    return chain.collect(_without_stuffing(read, size_bytes, found), size_bytes)


def _without_stuffing(read: ReadAt, size_bytes: int, holes: Iterable[Hole]) -> Iterator[Hole]:
    """Leave out a few zeros, which some programs write between elements."""
    for hole in holes:
        is_short = hole.end <= size_bytes and hole.size <= _MAX_STUFFING_BYTES
        if not is_short or any(read(hole.start, hole.size)):
            yield hole


def asf(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Look at the start of every packet. All packets have one size."""
    header_bytes = int.from_bytes(read(16, 8), "little")
    header = read(0, min(header_bytes, 1 << 20))
    at = header.find(_ASF_FILE_PROPERTIES)
    if at < 0 or read(header_bytes, 16) != _ASF_DATA:
        return []
    flags = int.from_bytes(header[at + 88 : at + 92], "little")
    packet = int.from_bytes(header[at + 92 : at + 96], "little")
    data = read(header_bytes, _ASF_DATA_HEAD)
    count = int.from_bytes(data[40:48], "little")
    start = header_bytes + _ASF_DATA_HEAD
    mark = read(start, 1)
    end = start + count * packet
    if flags & _ASF_BROADCAST or packet < _MIN_ASF_PACKET_BYTES or not count:
        return []
    if not mark or mark[0] & 0xE0 != 0x80:
        return []
    starts = range(start, min(end, size_bytes), packet)
    found = (Hole(at, min(at + packet, size_bytes)) for at in starts if read(at, 1) != mark)
    cut = [Hole(size_bytes, end)] if end > size_bytes else []
    return [*chain.collect(found, size_bytes), *cut]
