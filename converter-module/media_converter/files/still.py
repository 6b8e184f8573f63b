"""Parses the structure of an image that a run wrote, to verify it without running a tool.

Running a tool on every output would cost more than making a small image. These parsers find a
wrong format, a wrong size, a wrong number of frames and a missing end.
"""

from typing import Final, NamedTuple


class Still(NamedTuple):
    """``format`` is a value of options.FORMATS. ``width`` and ``height`` are those of a frame."""

    format: str
    width: int
    height: int
    frames: int = 1


_JXL_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def measure(data: bytes) -> Still | None:
    """Measure an image. None if it is incomplete or of another format."""
    parsers = (
        (b"\xff\xd8\xff", _jpeg),
        (b"\x89PNG\r\n\x1a\n", _png),
        (b"GIF8", _gif),
        (b"RIFF", _webp),
        (b"\xff\x0a", _jxl),
    )
    try:
        for magic, parse in parsers:
            if data.startswith(magic):
                return parse(data)
        return _avif(data) if data[4:8] == b"ftyp" else None
    except IndexError:
        return None


def _jpeg(data: bytes) -> Still | None:
    if not data.endswith(b"\xff\xd9"):
        return None
    at = 2
    while data[at] == 0xFF:
        kind = data[at + 1]
        # The markers SOF0 to SOF15. Three codes in this range have another meaning.
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return Still("jpeg", _big(data, at + 7, 2), _big(data, at + 5, 2))
        at += 2 + _big(data, at + 2, 2)
    return None


def _png(data: bytes) -> Still | None:
    at = 8
    while at < len(data):
        length, kind = _big(data, at, 4), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return Still("png", _big(data, 16, 4), _big(data, 20, 4)) if at <= len(data) else None
    return None


def _gif(data: bytes) -> Still | None:
    still = Still("gif", _little(data, 6, 2), _little(data, 8, 2), 0)
    at = 13 + _colour_table_bytes(data[10])
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at = _after_blocks(data, at + 2)
        elif data[at] == 0x2C:
            at = _after_blocks(data, at + 11 + _colour_table_bytes(data[at + 9]))
            still = still._replace(frames=still.frames + 1)
        else:
            return None
    return still if still.frames else None


def _colour_table_bytes(flags: int) -> int:
    """Size of a GIF colour table in bytes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """The offset after a chain of GIF data blocks, which ends with an empty block."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _webp(data: bytes) -> Still | None:
    if data[8:12] != b"WEBP" or _little(data, 4, 4) + 8 > len(data):
        return None
    at, size, frames = 12, (0, 0), 0
    while at < len(data):
        kind, length, body = data[at : at + 4], _little(data, at + 4, 4), at + 8
        if kind == b"VP8X":
            size = (_little(data, body + 4, 3) + 1, _little(data, body + 7, 3) + 1)
        elif kind == b"VP8 " and size == (0, 0):
            size = (_little(data, body + 6, 2) & 0x3FFF, _little(data, body + 8, 2) & 0x3FFF)
        elif kind == b"VP8L" and size == (0, 0):
            bits = _little(data, body + 1, 4)
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"ANMF":
            frames += 1
        at = body + length + length % 2
    return Still("webp", *size, frames or 1) if size != (0, 0) and at <= len(data) else None


def _avif(data: bytes) -> Still | None:
    """Measure the largest item. Smaller ones are tiles of the grid or the alpha channel."""
    if data[8:12] not in (b"avif", b"avis") or not _boxes_end(data):
        return None
    largest = (0, 0)
    at = data.find(b"ispe")
    while at >= 0:
        largest = max(largest, (_big(data, at + 8, 4), _big(data, at + 12, 4)))
        at = data.find(b"ispe", at + 4)
    return Still("avif", *largest) if largest != (0, 0) else None


def _jxl(data: bytes) -> Still | None:
    """Measure a bare JPEG XL codestream, which begins with its size, the lowest bit first.

    The structure does not show where it ends, so the output is decoded, too.
    """
    bits, at = _little(data, 2, 10), 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return bits >> at - count & (1 << count) - 1

    def side(*, is_small: bool) -> int:
        return 8 * (read(5) + 1) if is_small else read((9, 13, 18, 30)[read(2)]) + 1

    is_small = bool(read(1))
    height = side(is_small=is_small)
    ratio = read(3)
    if ratio:
        width, of = _JXL_RATIOS[ratio - 1]
        return Still("jxl", height * width // of, height)
    return Still("jxl", side(is_small=is_small), height)


def _boxes_end(data: bytes) -> bool:
    """Whether the top-level boxes end exactly where the file ends."""
    at = 0
    while at < len(data):
        length = _big(data, at, 4)
        if length < 8:
            return length == 0
        at += length
    return at == len(data)


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(_slice(data, at, count), "big")


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(_slice(data, at, count), "little")


def _slice(data: bytes, at: int, count: int) -> bytes:
    part = data[at : at + count]
    if len(part) < count:
        raise IndexError(at)
    return part
