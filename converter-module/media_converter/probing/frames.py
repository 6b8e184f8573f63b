"""Finds holes in MP3, ADTS, AC-3 and E-AC-3: every frame says how long it is."""

from __future__ import annotations

import re
from typing import Final

from media_converter.probing import chain
from media_converter.probing.chain import Hole
from media_converter.probing.isobmff import ReadAt

_SYNC: Final = re.compile(rb"\xff[\xe0-\xff]|\x0b\x77")
_TRAILING_TAGS: Final = (b"TAG", b"APETAGEX", b"LYRICS", b"3DI")
# Other formats that may follow a leading tag.
_OTHER_FORMATS: Final = (b"fLaC", b"MAC ", b"TTA", b"MPCK", b"MP+", b"wvpk", b"OFR ", b"OggS")
_HAS_FOOTER: Final = 0x10
# A leading tag may state too small a size. The cover in it is not longer than this.
_MAX_LEADING_BYTES: Final = 16 << 20
_FRAMES_IN_STEP: Final = 3
# Decoders find the next frame behind a piece of one, as where two songs were joined.
_MIN_HOLE_BYTES: Final = 2048
_RATES: Final = (44100, 48000, 32000)
_LAST_AC3_VERSION: Final = 10
_AC3_RATES: Final = (48000, 44100, 32000)
_AC3_KBITS: Final = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
)  # fmt: skip
_KBITS: Final = {
    # By version 1 or not, and by layer.
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def walk(read: ReadAt, size_bytes: int) -> list[Hole]:
    """Walk frames and tags. Bytes between the leading tags and the first frame are no loss.

    Returns nothing for other formats, which may start with the same tags.
    """

    def next_of(offset: int) -> int | None:
        head = read(offset, 10)
        if tag := _tag_bytes(head):
            return offset + tag
        if head.startswith(_TRAILING_TAGS):
            return size_bytes
        length = frame_bytes(head)
        return offset + length if length else None

    def accept(offset: int) -> bool:
        end = next_of(offset)
        return end is not None and end < size_bytes and next_of(end) is not None

    tags_end = 0
    while tag := _tag_bytes(read(tags_end, 10)):
        tags_end += tag
    if tags_end > size_bytes:
        return [Hole(size_bytes, tags_end)]
    first = _first_frame(read, size_bytes, tags_end)
    if first is None:
        return []
    resync = chain.search(read, size_bytes, _SYNC, accept)
    found = chain.walk(size_bytes, first, next_of, resync)
    return chain.collect((hole for hole in found if hole.size >= _MIN_HOLE_BYTES), size_bytes)


def _first_frame(read: ReadAt, size_bytes: int, start: int) -> int | None:
    """Where frames of one kind start to follow each other. None if this is another format."""
    head = read(start, 10)
    if head.startswith(_OTHER_FORMATS) or (start == 0 and not frame_bytes(head)):
        return None

    def accept(offset: int) -> bool:
        head = read(offset, 10)
        for _ in range(_FRAMES_IN_STEP - 1):
            length = frame_bytes(head)
            offset += length
            before, head = head, read(offset, 10)
            if not length or not frame_bytes(head) or not _are_alike(before, head):
                return False
        return True

    return chain.search(read, min(size_bytes, start + _MAX_LEADING_BYTES), _SYNC, accept)(start)


def _tag_bytes(head: bytes) -> int:
    """The length of the ID3 tag that starts with ``head``. 0 if this is no tag."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    length = sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    return 10 + length + (10 if head[5] & _HAS_FOOTER else 0)


def _are_alike(one: bytes, other: bytes) -> bool:
    """Whether two frames have the same format and sample rate."""
    if one[0] != 0xFF:
        return one[:2] == other[:2]
    mask = 0x0C if one[1] & 6 else 0x3C
    return one[:2] == other[:2] and one[2] & mask == other[2] & mask


def frame_bytes(head: bytes) -> int:
    """The length of the frame that starts with ``head``. 0 if this is no frame."""
    if head[:2] == b"\x0b\x77" and len(head) >= 6:
        return _dolby_bytes(head)
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    layer = 4 - (head[1] >> 1 & 3)
    if layer == 4:
        is_adts = head[1] & 0xF6 == 0xF0
        return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if is_adts else 0
    version, rate, kbits = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or kbits in (0, 15):
        return 0
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 1000 * _KBITS[version == 3, layer][kbits - 1]
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def _dolby_bytes(head: bytes) -> int:
    if head[5] >> 3 > _LAST_AC3_VERSION:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >> 1 >= len(_AC3_KBITS):
        return 0
    kbits = _AC3_KBITS[code >> 1]
    words = kbits * 96_000 // _AC3_RATES[rate] + (code & 1 if rate == 1 else 0)
    return 2 * words
