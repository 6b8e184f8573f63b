"""The header of a JPEG, read without a tool. tests/converter compares it with libvips."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.probing.jpeg_header import read_header
from media_converter.probing.media import ImageInfo

SOF, PROGRESSIVE, SCAN, APP1, APP2, COMMENT = 0xC0, 0xC2, 0xDA, 0xE1, 0xE2, 0xFE
THREE_COLOURS = bytes((1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))
FULL_CHROMA = bytes((1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1))
GREY = bytes((1, 0x11, 0))


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2) + body


def frame(
    components: bytes = THREE_COLOURS, *, marker: int = SOF, bits: int = 8, size: bytes = b""
) -> bytes:
    size = size or (3000).to_bytes(2) + (4000).to_bytes(2)
    return segment(marker, bytes((bits,)) + size + bytes((len(components) // 3,)) + components)


def scan(count: int = 3, names: bytes = b"\1\2\3") -> bytes:
    components = b"".join(bytes((name, 0)) for name in names[:count])
    return segment(SCAN, bytes((count,)) + components + bytes(3))


def jpeg(*parts: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


def exif(*entries: bytes, order: str = "little", start: int = 8) -> bytes:
    mark = b"II*\0" if order == "little" else b"MM\0*"
    count = len(entries).to_bytes(2, "little" if order == "little" else "big")
    offset = start.to_bytes(4, "little" if order == "little" else "big")
    body = b"Exif\0\0" + mark + offset + count + b"".join(entries) + bytes(4)
    return segment(APP1, body)


def entry(value: int, *, tag: int = 274, kind: int = 3, count: int = 1, big: bool = False) -> bytes:
    words = ((tag, 2), (kind, 2), (count, 4), (value, 2), (0, 2))
    return b"".join(number.to_bytes(size, "big" if big else "little") for number, size in words)


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: data[offset : offset + count]


def header(*parts: bytes) -> ImageInfo | None:
    return read_header(reader(jpeg(*parts)))


PLAIN = ImageInfo("jpeg", 4000, 3000, needs_srgb=False)


def test_an_ordinary_photo() -> None:
    assert header(frame(), scan()) == PLAIN
    assert header(segment(COMMENT, b"\xff\xd8"), frame(FULL_CHROMA), scan()) == PLAIN._replace(
        full_chroma=True
    )
    assert header(frame(GREY), scan(1)) == PLAIN._replace(full_chroma=True, is_grey=True)


def test_several_scans_are_kept_in_memory() -> None:
    assert header(frame(marker=PROGRESSIVE), scan()) == PLAIN._replace(held_bytes=3.0)
    assert header(frame(FULL_CHROMA), scan(1)) == PLAIN._replace(held_bytes=6.0, full_chroma=True)


@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation(value: int) -> None:
    found = header(exif(entry(1, tag=271), entry(value)), frame(), scan())
    assert found == PLAIN._replace(orientation=value)
    assert header(exif(entry(value, big=True), order="big"), frame(), scan()) == found
    assert header(exif(entry(value, tag=271)), frame(), scan()) == PLAIN


UNSURE = {
    "no JPEG": b"\x89PNG" + jpeg(frame(), scan()),
    "no frame": jpeg(scan()),
    "two frames": jpeg(frame(), frame(), scan()),
    "no scan": jpeg(frame()),
    "cut": jpeg(frame(), scan())[:12],
    "12 bits": jpeg(frame(bits=12), scan()),
    "lossless": jpeg(frame(marker=0xC3), scan()),
    "arithmetic": jpeg(frame(marker=0xC9), scan()),
    "no height": jpeg(frame(size=bytes(2) + (9).to_bytes(2)), scan()),
    "no width": jpeg(frame(size=(9).to_bytes(2) + bytes(2)), scan()),
    "four colours": jpeg(frame(THREE_COLOURS + bytes((4, 0x11, 0))), scan(4)),
    "no sampling": jpeg(frame(bytes((1, 0, 0))), scan(1)),
    "too many in the scan": jpeg(frame(GREY), scan(2)),
    "a profile": jpeg(segment(APP2, b"ICC_PROFILE\0\1\1"), frame(), scan()),
    "unknown segment": jpeg(segment(0xDC, b"\0\1"), frame(), scan()),
    "bytes between segments": jpeg(b"\0", frame(), scan()),
    "two Exif": jpeg(exif(entry(6)), exif(entry(6)), frame(), scan()),
    "an orientation of 9": jpeg(exif(entry(9)), frame(), scan()),
    "an orientation of 0": jpeg(exif(entry(0)), frame(), scan()),
    "two orientations": jpeg(exif(entry(6), entry(1)), frame(), scan()),
    "another type": jpeg(exif(entry(6, kind=4)), frame(), scan()),
    "two values": jpeg(exif(entry(6, count=2)), frame(), scan()),
    "Exif of another kind": jpeg(segment(APP1, b"Exif\0\1II*\0" + bytes(30)), frame(), scan()),
    "no byte order": jpeg(segment(APP1, b"Exif\0\0XX*\0" + bytes(30)), frame(), scan()),
    "a directory elsewhere": jpeg(exif(entry(6), start=900), frame(), scan()),
    "an empty directory": jpeg(exif(), frame(), scan()),
    "a side that libjpeg refuses": jpeg(frame(size=(9).to_bytes(2) + (65501).to_bytes(2)), scan()),
    "a scan of an unknown component": jpeg(frame(), scan(names=b"\1\2\4")),
    "a scan that is cut": jpeg(frame(), segment(SCAN, b"\3\1\0\2\0\3\0")),
    "a restart interval of three bytes": jpeg(segment(0xDD, bytes(3)), frame(), scan()),
    "a quantization table 4": jpeg(segment(0xDB, b"\4" + bytes(64)), frame(), scan()),
    "a quantization table that is cut": jpeg(segment(0xDB, bytes(64)), frame(), scan()),
    "a Huffman table 4": jpeg(segment(0xC4, b"\4" + bytes(16)), frame(), scan()),
    "a Huffman table of class 2": jpeg(segment(0xC4, b"\x20" + bytes(16)), frame(), scan()),
    "too many Huffman codes": jpeg(
        segment(0xC4, b"\0" + b"\x11" * 16 + bytes(272)), frame(), scan()
    ),
    "Huffman codes that are cut": jpeg(
        segment(0xC4, b"\0" + b"\1" * 16 + bytes(15)), frame(), scan()
    ),
    "no table": jpeg(segment(0xC4, b""), frame(), scan()),
}


def test_tables_as_encoders_write_them() -> None:
    quantization = segment(0xDB, bytes(65) + b"\x11" + bytes(128))
    huffman = segment(0xC4, b"\0" + b"\1" * 16 + bytes(16) + b"\x11" + bytes(16))
    interval = segment(0xDD, b"\0\4")
    assert header(quantization, huffman, interval, frame(), scan()) == PLAIN


@pytest.mark.parametrize("name", UNSURE)
def test_anything_else_is_for_vipsheader(name: str) -> None:
    assert read_header(reader(UNSURE[name])) is None


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_are_an_error(noise: bytes, at: int) -> None:
    whole = jpeg(exif(entry(6)), frame(), scan())
    for data in (noise, b"\xff\xd8\xff" + noise, whole[:at] + noise + whole[at:]):
        found = read_header(reader(data))
        assert found is None or 0 < found.width <= 65535
