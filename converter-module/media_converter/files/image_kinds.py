"""Names the images that no loader reads, by their content.

Without this, a loader's error would call an intact file damaged.
"""

from __future__ import annotations

from typing import Final

from media_converter.files import colour_tags, jpeg, tiff
from media_converter.files.structure import ReadAt

_TIFF_BITS: Final = (1, 2, 4, 8, 16, 32)
_JPEG_KINDS: Final = {
    0xC3: "a lossless JPEG image",
    0xC5: "a hierarchical JPEG image",
    0xC6: "a hierarchical JPEG image",
    0xC7: "a hierarchical JPEG image",
    0xCB: "a lossless JPEG image",
    0xCD: "a hierarchical JPEG image",
    0xCE: "a hierarchical JPEG image",
    0xCF: "a hierarchical JPEG image",
    0xF7: "a JPEG-LS image",
}
# Types of items of a HEIF that are coded, and whether there is a decoder.
_HEIF_CODECS: Final = {
    b"av01": "",
    b"hvc1": "",
    b"avc1": "H.264",
    b"evc1": "EVC",
    b"j2k1": "JPEG 2000",
    b"jpeg": "JPEG",
    b"mski": "a mask",
    b"unci": "no compression",
    b"vvc1": "H.266",
}
_RAW: Final = "a raw image of a camera"
_MAGIC: Final = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"\0\0\1\0", "an icon"),
    (b"\0\0\2\0", "a cursor"),
    (b"qoif", "a QOI image"),
    (b"DDS ", "a DDS texture"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance image"),
    (b"SIMPLE  =", "a FITS image"),
    (b"II\xbc\x01", "a JPEG XR image"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x8bJNG", "a JNG image"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIU\0", _RAW),
    (b"FOVb", _RAW),
)


def without_loader(read: ReadAt) -> str | None:
    """What the file is, for a message, if it is an image that no loader reads. Otherwise None."""
    head = read(0, 16)
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(read)
    if head[4:8] == b"ftyp":
        return _heif(read)
    if head.startswith(b"\x89PNG") and head[12:16] == b"CgBI":
        return "a PNG image that was changed for iOS apps"
    page = tiff.first_page(read)
    if page and page.is_raw:
        return _RAW
    if page and page.bits not in _TIFF_BITS:
        return f"a TIFF image with {page.bits} bits per sample"
    return None


def _jpeg(read: ReadAt) -> str | None:
    for marker, at, _ in jpeg.segments(read):
        if marker in _JPEG_KINDS:
            return _JPEG_KINDS[marker]
        if marker in jpeg.START_OF_FRAME:
            bits = read(at, 1)
            # Zero and numbers above 16 are damage.
            if bits and bits[0] != 8 and 1 < bits[0] <= 16:
                return f"a JPEG image with {bits[0]} bits per sample"
            return None
    return None


def _heif(read: ReadAt) -> str | None:
    meta = colour_tags.heif_meta(read) or b""
    found = set[bytes]()
    at = meta.find(b"infe")
    while at >= 0:
        # Version and flags, the item's number (longer from version 3 on), its protection, its type.
        place = at + (12 if meta[at + 4 : at + 5] < b"\3" else 14)
        found.add(meta[place : place + 4])
        at = meta.find(b"infe", at + 4)
    codecs = found & _HEIF_CODECS.keys()
    if not codecs or any(not _HEIF_CODECS[codec] for codec in codecs):
        return None
    return f"an HEIF image with {_HEIF_CODECS[min(codecs)]}"
