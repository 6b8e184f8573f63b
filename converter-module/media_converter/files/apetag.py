"""Reads the APEv2 tags at the end of a file. ffmpeg reads them in a few formats only."""

from __future__ import annotations

from typing import Final

from media_converter.files.structure import ReadAt

_MAGIC: Final = b"APETAGEX"
_FOOTER: Final = 32
_ID3V1: Final = 128
_MAX_BYTES: Final = 16 << 20
_MAX_ITEMS: Final = 1000
_MAX_VALUE: Final = 4096


def ape_tags(read: ReadAt, size_bytes: int) -> tuple[tuple[str, str], ...]:
    """Name and value of each text. Several values have a zero byte between them."""
    # A tag of type ID3v1 may follow.
    for end in (size_bytes, size_bytes - _ID3V1):
        footer = read(end - _FOOTER, _FOOTER) if end >= _FOOTER else b""
        if footer[:8] == _MAGIC:
            length = int.from_bytes(footer[12:16], "little")
            if _FOOTER <= length <= min(end, _MAX_BYTES):
                return _items(read(end - length, length - _FOOTER))
    return ()


def _items(data: bytes) -> tuple[tuple[str, str], ...]:
    found = []
    at = 0
    for _ in range(_MAX_ITEMS):
        length, flags = _number(data[at : at + 4]), _number(data[at + 4 : at + 8])
        end_of_name = data.find(b"\0", at + 8)
        if end_of_name < 0:
            break
        name, value = data[at + 8 : end_of_name], data[end_of_name + 1 : end_of_name + 1 + length]
        at = end_of_name + 1 + length
        is_text = not flags & 6
        if is_text and name and length <= _MAX_VALUE:
            found.append((name.decode("latin-1"), value.decode("utf-8", "replace")))
    return tuple(found)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
