"""Builds files byte by byte: those that no encoder writes, and those that need no encoder."""

from __future__ import annotations

import struct
import zlib

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
