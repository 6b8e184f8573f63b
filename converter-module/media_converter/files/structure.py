"""Reads the top-level structure of a file: its kind, missing bytes, faststart.

ffmpeg succeeds on truncated files, and intact files can have headers with a wrong duration. So a
short output alone does not show that the input is truncated. Missing bytes do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

ReadAt = Callable[[int, int], bytes]
"""A function of an offset and a count of bytes. It returns fewer bytes at the end of the file."""

_WAVE64: Final = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_WAVE64_DATA: Final = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_WAVE64_LOOK_BYTES: Final = 4096
_AIFF_LOOK_BYTES: Final = 4096
_MAX_OFFSET: Final = (1 << 63) - 1
_MAX_BOXES: Final = 100_000
_MIN_PLACEHOLDER: Final = 1_900_000_000
_TAIL_BYTES: Final = 65_536
_UNKNOWN_32: Final = 0xFFFFFFFF
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_MP4_FIRST: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_MP4_BOXES: Final = frozenset(
    b"ftyp moov mdat free skip wide pnot moof mfra udta uuid meta sidx ssix styp pdin emsg prft "
    b"bloc".split()
)
_MEDIA_MAGIC: Final = (
    _EBML, b"RIFF", b"RIFX", b"OggS", b"ID3", b"fLaC", b"GIF8", b"FLV", b"FORM", b"caff",
    b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x30\x26\xb2\x75", b".RMF", b"\x47", b"\x89PNG",
    b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"\xff\xfb", b"\xff\xf1", b"MAC ", b"wvpk", b"#!AMR",
)  # fmt: skip
_VIDEO_OR_AUDIO_MAGIC: Final = (
    _EBML, b"OggS", b"ID3", b"fLaC", b"FLV", b"caff", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3",
    b"\x30\x26\xb2\x75", b".RMF", b"\xff\xfb", b"\xff\xf1", b"MAC ", b"wvpk", b"#!AMR",
)  # fmt: skip
_STILL_MAGIC: Final = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
)
_BITMAP_HEADERS: Final = (12, 40, 52, 56, 64, 108, 124)
_STILL_BRANDS: Final = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1")
# Sequences of images and raw images of cameras too.
_IMAGE_BRANDS: Final = (*_STILL_BRANDS, b"avis", b"msf1", b"hevc", b"hevx", b"crx ")
_REFUSED_MAGIC: Final = (
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"v=0", "a session description"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
)


def reader(fd: int) -> ReadAt:
    """A function that reads an open file at an offset. Headers may name offsets of 64 bits."""

    def read(offset: int, count: int) -> bytes:
        # The kernel refuses a read whose end has more than 63 bits.
        return os.pread(fd, count, offset) if offset <= _MAX_OFFSET - count else b""

    return read


def missing_bytes(read: ReadAt, size_bytes: int) -> int:
    """How many bytes the structure promises beyond the end of the file. 0 if this is unknown."""
    head = read(0, 12)
    if head[4:8] in _MP4_FIRST:
        end = max((offset + length for _, offset, length in boxes(read, size_bytes)), default=0)
    elif head[:4] in (b"RIFF", b"RIFX"):
        end = _riff_end(head)
    elif head[:4] == b"FORM":
        end = int.from_bytes(head[4:8], "big") + 8
    elif head[:4] == _EBML:
        end = _segment_end(read)
    elif head[:3] == b"ID3" or head[:1] == b"\xff":
        end = _mp3_end(read)
    else:
        end = 0
    if end >= _MIN_PLACEHOLDER and end > 2 * size_bytes:
        # A recorder that was not stopped leaves a placeholder, such as 0x7FFFF000.
        return 0
    return max(0, end - size_bytes)


def ends_early(read: ReadAt, size_bytes: int) -> bool:
    """Whether the file lacks the mark that ends its format, or the index that an MP4 ends with."""
    head = read(0, 12)
    if is_mp4(head):
        return all(kind not in (b"moov", b"moof") for kind, _, _ in boxes(read, size_bytes))
    tail = read(max(0, size_bytes - _TAIL_BYTES), _TAIL_BYTES)
    if head.startswith(b"\xff\xd8\xff"):
        # An earlier mark may belong to a preview.
        return b"\xff\xd9" not in tail[tail.rfind(b"\xff\xda") + 1 :]
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    return head.startswith(b"GIF8") and not tail.rstrip(b"\0").endswith(b";")


def gif_canvas_pixels(read: ReadAt) -> int:
    """Number of pixels of the canvas that a GIF declares. 0 for other files."""
    head = read(0, 10)
    if head[:4] != b"GIF8":
        return 0
    return int.from_bytes(head[6:8], "little") * int.from_bytes(head[8:10], "little")


def is_faststart(read: ReadAt, size_bytes: int) -> bool:
    """Whether the moov box comes before the media data, so that the MP4 plays while it loads."""
    kinds = [kind for kind, _, _ in boxes(read, size_bytes)]
    return b"moov" in kinds and b"mdat" in kinds and kinds.index(b"moov") < kinds.index(b"mdat")


def is_mp4(head: bytes) -> bool:
    """Whether the first bytes are those of an MP4 or QuickTime file."""
    return head[4:8] in _MP4_FIRST


def looks_like_media(read: ReadAt) -> bool:
    """Whether the first bytes are those of an accepted format."""
    head = read(0, 12)
    return head[4:8] in _MP4_FIRST or head.startswith(_MEDIA_MAGIC)


def looks_like_image(read: ReadAt) -> bool:
    """Whether the first bytes are those of an accepted image, still or animated."""
    return still_image_kind(read) is not None or read(0, 12).startswith((b"GIF8", b"\x89PNG"))


def is_video_or_audio(read: ReadAt) -> bool:
    """Whether the first bytes are those of a video or of audio."""
    head = read(0, 189)
    if head.startswith((b"RIFF", b"RIFX")):
        return head[8:12] in (b"AVI ", b"WAVE")
    is_transport_stream = head[:1] == b"\x47" and head[188:189] == b"\x47"
    is_mp4 = head[4:8] in (b"ftyp", b"moov") and head[8:12] not in _IMAGE_BRANDS
    return is_transport_stream or is_mp4 or head.startswith(_VIDEO_OR_AUDIO_MAGIC)


def refused_kind(read: ReadAt) -> str | None:
    """The kind of a file that the converter refuses, for a message. None for other files."""
    head = read(0, 512).lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, words in _REFUSED_MAGIC:
        if head.startswith(magic):
            return words
    if b"<svg" in head or b"<!DOCTYPE svg" in head:
        return "an SVG drawing"
    return "an XML document" if head.startswith((b"<?xml", b"<MPD")) else None


def still_image_kind(read: ReadAt) -> str | None:
    """The kind of a still image, for a message. None for other files and for GIF and APNG."""
    head = read(0, 4096)
    for magic, words in _STILL_MAGIC:
        if head.startswith(magic):
            return words
    # Two letters alone may start any file. The length of the second header follows.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "a BMP image"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image"
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return "an HEIF or AVIF image"
    return "a PNG image" if head.startswith(b"\x89PNG") and b"acTL" not in head else None


def boxes(read: ReadAt, size_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of each top-level box of an MP4. Stops at the first invalid box."""
    offset = 0
    for _ in range(_MAX_BOXES):
        header = read(offset, 16)
        if len(header) < 8 or header[4:8] not in _MP4_BOXES:
            return
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        elif length == 0:
            length = size_bytes - offset
        if length < 8:
            return
        yield header[4:8], offset, length
        offset += length
        if offset >= size_bytes:
            return


def _riff_end(head: bytes) -> int:
    length = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
    # A program that cannot seek back writes 0 or the largest number.
    return 0 if length in (0, _UNKNOWN_32) else length + 8


def _mp3_end(read: ReadAt) -> int:
    """End of the frames that an MP3's Xing header counts. 0 without such a header."""
    tag = read(0, 10)
    start = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        start = 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(tag[6:10]))
    frame = read(start, 64)
    # The Xing header follows the side information, whose length depends on version and channels.
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or at < 0:
        return 0
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    count = at + 8 + 4 * (flags & 1)
    return start + int.from_bytes(frame[count : count + 4], "big") if flags & 2 else 0


def _segment_end(read: ReadAt) -> int:
    """End of Matroska's segment. 0 if its length is unknown, as in live recordings."""
    length, after = _vint(read, 4)
    if length is None:
        return 0
    start = after + length
    if read(start, 4) != _SEGMENT:
        return 0
    length, after = _vint(read, start + 4)
    return 0 if length is None else after + length


def _vint(read: ReadAt, offset: int) -> tuple[int | None, int]:
    """The EBML number at ``offset``, and the offset after it. The number is None if unknown."""
    data = read(offset, 8)
    if not data or data[0] == 0:
        return None, offset
    count = 9 - data[0].bit_length()
    value = int.from_bytes(data[:count], "big") & ((1 << 7 * count) - 1)
    return (None if value == (1 << 7 * count) - 1 else value), offset + count


def is_endless_aiff(read: ReadAt) -> bool:
    """Whether an AIFF has no length, as programs write it to a pipe. ffmpeg cannot read it."""
    head = read(0, _AIFF_LOOK_BYTES)
    at = head.find(b"SSND")
    return (
        head[:4] == b"FORM" and head[8:11] == b"AIF" and at > 0 and not any(head[at + 4 : at + 8])
    )


def is_endless_wave64(read: ReadAt) -> bool:
    """Whether a Wave64 file has the length that ffmpeg gives it in a pipe, and cannot read."""
    head = read(0, _WAVE64_LOOK_BYTES)
    at = head.find(_WAVE64_DATA)
    return head[:16] == _WAVE64 and at > 0 and head[at + 16 : at + 24] == b"\xff" * 7 + b"\x7f"
