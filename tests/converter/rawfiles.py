"""Builds files byte by byte: those that no encoder writes, and those that need no encoder."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int,
    height: int,
    depth: int,
    colour_type: int,
    row: bytes,
    *,
    extra: bytes = b"",
    claimed: tuple[int, int] | None = None,
) -> bytes:
    """A PNG of which every scan line is ``row``. ``claimed`` is a wrong size for its header."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"\0" + row) for _ in range(height)) + packer.flush()
    shown = claimed or (width, height)
    header = struct.pack(">IIBBBBB", *shown, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )


def segments(data: bytes) -> list[tuple[int, int]]:
    """Marker and offset of every JPEG segment up to the first scan."""
    found, at = [], 2
    while data[at] == 0xFF:
        found.append((data[at + 1], at))
        if data[at + 1] == 0xDA:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def jpeg_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment, after its first ones."""
    at = next((o for m, o in segments(data) if m not in {0xE0}), 2)
    return data[:at] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[at:]


def jpeg_claiming(data: bytes, width: int, height: int) -> bytes:
    """A JPEG with a wrong size in its header."""
    at = next(o for m, o in segments(data) if m in {0xC0, 0xC2})
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def exif(orientation: int | None = None, *, place: bool = False, maker: str = "") -> bytes:
    """An Exif TIFF block, without the leading name."""
    entries: list[tuple[int, int, int, bytes]] = []
    if maker:
        text = maker.encode() + b"\0"
        entries.append((0x010F, 2, len(text), text))
    if orientation is not None:
        entries.append((0x0112, 3, 1, struct.pack("<HH", orientation, 0)))
    if place:
        entries.append((0x8825, 4, 1, b"GPS!"))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    tail_at = len(head) + 12 * len(entries) + 4
    table, tail = b"", b""
    gps_at = 0
    for tag, kind, count, value in entries:
        if value == b"GPS!":
            gps_at = len(head) + len(table) + 8
        stored = value
        if len(value) > 4:
            stored = struct.pack("<I", tail_at + len(tail))
            tail += value
        table += struct.pack("<HHI", tag, kind, count) + stored.ljust(4, b"\0")
    block = bytearray(head + table + bytes(4) + tail)
    if place:
        block[gps_at : gps_at + 4] = struct.pack("<I", len(block))
        data_at = len(block) + 2 + 2 * 12 + 4
        block += struct.pack("<H", 2)
        block += struct.pack("<HHI", 1, 2, 2) + b"N\0\0\0"
        block += struct.pack("<HHII", 2, 5, 3, data_at)
        block += bytes(4) + struct.pack("<6I", 48, 1, 51, 1, 0, 1)
    return bytes(block)


def svg(inner: str, width: int = 64, height: int = 64) -> bytes:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}">{inner}</svg>'
    ).encode()


def webp_claiming(width: int, height: int) -> bytes:
    """A lossless WebP of a few bytes that claims up to 16384x16384 pixels."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08\0\0"
    body += bytes(len(body) % 2)
    data = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(data)) + data


def gif_bomb(width: int, height: int, frames: int) -> bytes:
    """A GIF of many frames of one pixel on a large canvas."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\xff\0\0\0\0\xff"
    frame = b"\x21\xf9\x04\x08\x0a\0\0\0" + b"\x2c\0\0\0\0\1\0\1\0\0" + b"\2\2\x44\1\0"
    return head + frame * frames + b"\x3b"


UNSPECIFIED, ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 0, 1, 2
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
TIFF_WHITE_IS_ZERO, TIFF_BLACK_IS_ZERO, TIFF_RGB, TIFF_CMYK = 0, 1, 2, 5


def tiff(
    width: int,
    height: int,
    pixel: bytes,
    *,
    samples: int,
    bits: int = 8,
    photometric: int = TIFF_RGB,
    extra: tuple[int, ...] = (),
    sample_format: int = UNSIGNED,
    big_endian: bool = False,
    planar: bool = False,
) -> bytes:
    """An uncompressed TIFF of one colour. ``extra`` are the values of the tag ExtraSamples."""
    order = ">" if big_endian else "<"
    if planar:
        step = bits // 8
        planes = [pixel[at : at + step] * (width * height) for at in range(0, len(pixel), step)]
    else:
        planes = [pixel * (width * height)]
    entries: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (width,)),
        (257, "I", (height,)),
        (258, "H", (bits,) * samples),
        (259, "H", (1,)),
        (262, "H", (photometric,)),
        (273, "I", (0,) * len(planes)),
        (277, "H", (samples,)),
        (278, "I", (height,)),
        (279, "I", tuple(len(plane) for plane in planes)),
        (284, "H", (2 if planar else 1,)),
    ]
    if photometric == TIFF_CMYK:
        entries.append((332, "H", (1,)))
    if extra:
        entries.append((338, "H", extra))
    entries.append((339, "H", (sample_format,) * samples))
    tail_at = 8 + 2 + 12 * len(entries) + 4
    lengths = {"H": 2, "I": 4}
    sizes = [lengths[kind] * len(values) for _, kind, values in entries]
    data_at = tail_at + sum(size + size % 2 for size in sizes if size > 4)
    table, tail = b"", b""
    for (tag, kind, values), size in zip(entries, sizes, strict=True):
        found = values
        if tag == 273:
            found = tuple(
                data_at + sum(len(plane) for plane in planes[:index])
                for index in range(len(planes))
            )
        stored = struct.pack(f"{order}{len(found)}{kind}", *found)
        table += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(found))
        if size > 4:
            table += struct.pack(f"{order}I", tail_at + len(tail))
            tail += stored + bytes(size % 2)
        else:
            table += stored.ljust(4, b"\0")
    mark = b"MM\0*" if big_endian else b"II*\0"
    head = mark + struct.pack(f"{order}IH", 8, len(entries))
    return head + table + bytes(4) + tail + b"".join(planes)


def bmp(
    width: int,
    height: int,
    kind: str,
    colour_at: Callable[[int, int], tuple[int, int, int]],
    alpha: int = 255,
) -> bytes:
    """A BMP of a kind: its bits per pixel, or a name for what is special."""
    colours = sorted({colour_at(x, y) for y in range(height) for x in range(width)})
    if kind == "1":
        # The last colour in order of rows is left out.
        colours = list(dict.fromkeys(colour_at(x, 0) for x in range(width)))
    number = {colour: index for index, colour in enumerate(colours)}
    bits = {"1": 1, "4": 4, "rle4": 4, "8": 8, "rle8": 8, "16": 16, "565": 16, "32": 32}.get(
        kind, 32 if kind in {"bitfields", "1010", "alpha", "no-alpha", "v5"} else 24
    )
    rows = [
        [colour_at(x, y) for x in range(width)]
        for y in (range(height) if kind == "top-down" else range(height - 1, -1, -1))
    ]
    packed = b"".join(_bmp_row(row, bits, kind, number, alpha) for row in rows)
    if kind.startswith("rle"):
        packed += b"\0\1"
    compression = {"rle8": 1, "rle4": 2, "565": 3, "bitfields": 3, "1010": 3, "alpha": 3}.get(
        kind, 0
    )
    masks = {
        "565": (0xF800, 0x07E0, 0x001F, 0),
        "bitfields": (0xFF, 0xFF00, 0xFF0000, 0),
        "1010": (0x3FF00000, 0xFFC00, 0x3FF, 0),
        "alpha": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    }.get(kind, (0, 0, 0, 0))
    length = {"core": 12, "alpha": 108, "v5": 124}.get(kind, 40)
    if length == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        stored_height = -height if kind == "top-down" else height
        info = struct.pack(
            "<IiiHHIIiiII", length, width, stored_height, 1, bits, compression, len(packed), 0, 0,
            len(colours) if bits <= 8 else 0, 0,
        )  # fmt: skip
        if length > 40:
            info = (info + struct.pack("<4I", *masks)).ljust(length, b"\0")
        elif compression == 3:
            info += struct.pack("<3I", *masks[:3])
    palette = b"".join(bytes((*colour[::-1], 0)) for colour in colours) if bits <= 8 else b""
    start = 14 + len(info) + len(palette)
    total = 0 if kind == "size-0" else start + len(packed)
    return b"BM" + struct.pack("<IHHI", total, 0, 0, start) + info + palette + packed


def _bmp_row(
    row: list[tuple[int, int, int]],
    bits: int,
    kind: str,
    number: dict[tuple[int, int, int], int],
    alpha: int,
) -> bytes:
    if kind == "rle8":
        return b"".join(b"\1" + bytes([number[colour]]) for colour in row[:5]) + _bmp_literal(
            [number[colour] for colour in row[5:]]
        )
    if kind == "rle4":
        return b"".join(bytes((1, number[colour] << 4)) for colour in row) + b"\0\0"
    if bits <= 8:
        text = "".join(format(number.get(colour, 0), f"0{bits}b") for colour in row)
        text = text.ljust(-(-len(text) // 32) * 32, "0")
        return int(text, 2).to_bytes(len(text) // 8, "big")
    body = b""
    for red, green, blue in row:
        if kind == "16":
            body += struct.pack("<H", red >> 3 << 10 | green >> 3 << 5 | blue >> 3)
        elif kind == "565":
            body += struct.pack("<H", red >> 3 << 11 | green >> 2 << 5 | blue >> 3)
        elif kind == "1010":
            body += struct.pack("<I", red << 22 | green << 12 | blue << 2)
        elif kind == "bitfields":
            body += bytes((red, green, blue, 0))
        elif bits == 32:
            # The fourth byte is not transparency, unless a mask says so.
            body += bytes((blue, green, red, {"alpha": alpha}.get(kind, 77)))
        else:
            body += bytes((blue, green, red))
    return body + bytes(-len(body) % 4)


def _bmp_literal(values: list[int]) -> bytes:
    """A literal run, and the end of the row."""
    return bytes((0, len(values), *values)) + bytes(len(values) % 2) + b"\0\0"
