"""Small intact files of each container, as lists of their elements."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, SupportsIndex

from media_converter.probing import holes, ogg
from media_converter.probing.chain import Hole

PIECES = 40


def vint(number: int) -> bytes:
    return (number | 1 << 28).to_bytes(4, "big")


def matroska(known: bool = True) -> list[bytes]:
    head = b"\x1a\x45\xdf\xa3" + vint(4) + bytes(4) + b"\x18\x53\x80\x67"
    block = b"\xa3" + vint(1000) + b"\x81\x00\x10\x80" + b"\x55" * 996
    cluster = b"\x1f\x43\xb6\x75" + (vint(5 * len(block)) if known else b"\x01" + b"\xff" * 7)
    clusters = [cluster + 5 * block for _ in range(PIECES // 5)]
    return [head + b"\x01" + b"\xff" * 7, *clusters]


def flv() -> list[bytes]:
    body = b"\x17\x01" + b"\x55" * 998
    tag = b"\x09" + struct.pack(">I", len(body))[1:] + bytes(7) + body
    return [b"FLV\x01\x05\0\0\0\x09" + bytes(4), *[tag + struct.pack(">I", len(tag))] * PIECES]


def avi() -> list[bytes]:
    chunks = [b"00dc" + struct.pack("<I", 1000) + b"\x55" * 1000] * PIECES
    movi = struct.pack("<I", 4 + sum(map(len, chunks)))
    size = struct.pack("<I", 16 + sum(map(len, chunks)))
    return [b"RIFF" + size + b"AVI LIST" + movi + b"movi", *chunks]


def program_stream() -> list[bytes]:
    pack = b"\0\0\1\xba\x44" + bytes(8) + b"\xf8"
    return [pack + b"\0\0\1\xe0" + struct.pack(">H", 2000) + b"\x55" * 2000] * PIECES


def page(
    number: int, content: bytes = b"\x55" * 1000, flags: int = 0, position: int | None = None
) -> bytes:
    place = struct.pack("<q", 960 * number if position is None else position)
    lacing = [255] * (len(content) // 255) + [len(content) % 255]
    head = b"OggS\0" + bytes([flags]) + place + struct.pack("<III", 7, number, 0)
    made = head + bytes([len(lacing), *lacing]) + content
    return made[:22] + struct.pack("<I", ogg.checksum(made)) + made[26:]


def ogg_pages() -> list[bytes]:
    return [page(number, flags=2 if number == 0 else 0) for number in range(PIECES)]


def packet(number: int, pid: int = 0x100, flags: int = 0x10) -> bytes:
    return bytes([0x47, pid >> 8, pid & 255, flags | number & 15]) + b"\x55" * 184


def transport() -> list[bytes]:
    return [packet(number) for number in range(PIECES)]


def mp3() -> list[bytes]:
    return [b"\xff\xfb\xe0\x44" + b"\x55" * 1040] * PIECES  # 320 kbit/s, 44.1 kHz


def adts() -> list[bytes]:
    head = bytes([0xFF, 0xF1, 0x4C, 0x80 | 1000 >> 11, 1000 >> 3 & 255, (1000 & 7) << 5 | 0x1F])
    return [head + b"\x55" * 994] * PIECES


def ac3() -> list[bytes]:
    return [b"\x0b\x77\x00\x00\x14\x40" + b"\x55" * 762] * PIECES  # 192 kbit/s, 48 kHz


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def fragment(samples: int = 10, size: int = 100) -> bytes:
    """One second of a track with 10 samples per second."""

    def moof(offset: int) -> bytes:
        tfhd = box(b"tfhd", struct.pack(">II", 0x20000, 1))
        rows = struct.pack(">II", 100, size) * samples
        trun = box(b"trun", struct.pack(">IIi", 0x301, samples, offset) + rows)
        return box(b"moof", box(b"mfhd", bytes(8)) + box(b"traf", tfhd + trun))

    offset = len(moof(0)) + 8
    return moof(offset) + box(b"mdat", b"\x55" * (samples * size))


def fragments() -> list[bytes]:
    tkhd = box(b"tkhd", bytes(12) + struct.pack(">I", 1) + bytes(68))
    mdhd = box(b"mdhd", bytes(12) + struct.pack(">I", 1000) + bytes(8))
    trex = box(b"trex", bytes(4) + struct.pack(">IIIII", 1, 1, 100, 100, 0))
    moov = box(b"moov", box(b"trak", tkhd + box(b"mdia", mdhd)) + box(b"mvex", trex))
    return [box(b"ftyp", b"isom") + moov, *[fragment()] * PIECES]


FORMATS: dict[str, Callable[[], list[bytes]]] = {
    "matroska": matroska,
    "live matroska": lambda: matroska(known=False),
    "flv": flv,
    "avi": avi,
    "program stream": program_stream,
    "ogg": ogg_pages,
    "transport stream": transport,
    "mp3": mp3,
    "adts": adts,
    "ac3": ac3,
    "fragments": fragments,
}


def find(data: bytes) -> tuple[Hole, ...]:
    return holes.find(lambda at, count: data[at : at + count], len(data))


def id3(length: int, stated: int | None = None, flags: int = 0) -> bytes:
    size = length if stated is None else stated
    digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0" + bytes([flags]) + digits + b"\x33" * length


def table(kind: bytes, *numbers: int) -> bytes:
    return box(kind, bytes(4) + b"".join(struct.pack(">I", number) for number in numbers))


def indexed(stsz: bytes, stsc: bytes, stco: bytes, media: int) -> bytes:
    """A file that starts with an index and has one track."""
    trak = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsz + stsc + stco))))
    return box(b"moov", trak) + box(b"mdat", bytes(media))


ROWS = {
    # Chunks of 300 samples, the last of 100 samples.
    "equal": table(b"stsz", 4, 1000),
    "listed": table(b"stsz", 0, 1000, *[4] * 1000),
}


def asf(packet_bytes: int, count: int) -> bytes:
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(76)
    properties += struct.pack("<II", packet_bytes, packet_bytes)
    length = 30 + len(properties)
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<Q", length)
    media = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c") + bytes(24)
    packets = (b"\x82" + bytes(packet_bytes - 1)) * count
    return head + bytes(6) + properties + media + struct.pack("<Q", count) + bytes(2) + packets


class Copied(bytes):
    """Bytes that count how many of them are copied by slices, also by slices of slices."""

    total = 0

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        part = super().__getitem__(key)
        if isinstance(part, int):
            return part
        Copied.total += len(part)
        return Copied(part)
