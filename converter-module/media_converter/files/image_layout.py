"""Reads how the pixels of an image are stored, which decides how much of it its loader keeps."""

from __future__ import annotations

from typing import Final

from media_converter.files.structure import ReadAt

_LOSSLESS: Final = b"VP8L"
_IMAGES: Final = (_LOSSLESS, b"VP8 ", b"ANMF")
_MAX_CHUNKS: Final = 100
_HEIF_LOOK_BYTES: Final = 1 << 16


def is_lossless_webp(read: ReadAt) -> bool:
    """Whether the image of a WebP that is no animation is lossless. False for other files."""
    head = read(0, 12)
    if head[:4] + head[8:] != b"RIFFWEBP":
        return False
    at = 12
    for _ in range(_MAX_CHUNKS):
        chunk = read(at, 8)
        if len(chunk) < 8 or chunk[:4] in _IMAGES:
            return chunk[:4] == _LOSSLESS
        length = int.from_bytes(chunk[4:], "little")
        at += 8 + length + length % 2
    return False


def is_full_chroma_heif(read: ReadAt) -> bool:
    """Whether an image of a HEIC or AVIF has a colour for every pixel (4:4:4 or 4:2:2).

    The boxes with the settings of the decoder say so: av1C and hvcC.
    """
    head = read(0, _HEIF_LOOK_BYTES)
    av1, hevc = _bodies(head, b"av1C"), _bodies(head, b"hvcC")
    # Bit 3 says that colours have half the width, bit 4 that there are none.
    of_av1 = any(len(body) > 2 and not body[2] & 0b11000 for body in av1)
    return of_av1 or any(len(body) > 16 and body[16] & 3 >= 2 for body in hevc)


def _bodies(data: bytes, box: bytes) -> list[bytes]:
    """The first bytes of the body of each box of this kind."""
    return [part[:24] for part in data.split(box)[1:]]
