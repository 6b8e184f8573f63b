"""Reads which colours the numbers of a PNG, HEIF or AVIF image mean, without an ICC profile.

libvips applies ICC profiles, but it ignores the chunks gAMA, cHRM and cICP of a PNG and the box
colr of type nclx.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from media_converter.files.structure import ReadAt

_MAX_CHUNKS: Final = 1000
_MAX_META_BYTES: Final = 4 << 20
_MAX_BOXES: Final = 20_000
_PNG_UNIT: Final = 100_000
_PRIMARIES: Final = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9,
    "smpte428": 10, "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
_TRANSFERS: Final = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8,
    "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16, "smpte428": 17,
    "arib-std-b67": 18,
}  # fmt: skip

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""


class ColourTags(NamedTuple):
    """What a file says about its colours. None means that it says nothing.

    ``primaries`` and ``transfer`` are code points of H.273 (CICP). ``chromaticities`` and ``gamma``
    are a PNG's cHRM and gAMA; ``gamma`` is the exponent from sample to light. ``over_profile`` says
    that the tags take precedence over an ICC profile that the file has too.
    """

    primaries: int | None = None
    transfer: int | None = None
    full_range: bool = True
    chromaticities: Chromaticities | None = None
    gamma: float | None = None
    over_profile: bool = False


def colour_tags(read: ReadAt) -> ColourTags | None:
    """The tags of a PNG, HEIF or AVIF file. None for other files and for files without tags."""
    head = read(0, 12)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(read)
    return _heif(read) if head[4:8] == b"ftyp" else None


def by_name(primaries: str, transfer: str) -> ColourTags | None:
    """The tags with these names, by which ffprobe calls the code points. None if it knows none."""
    found = ColourTags(_PRIMARIES.get(primaries), _TRANSFERS.get(transfer))
    return found if found != ColourTags() else None


def png_chunks(read: ReadAt) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of the body of each PNG chunk before the pixels."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        head = read(at, 8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], at + 8, length
        at += 12 + length


def _png(read: ReadAt) -> ColourTags | None:
    bodies = {kind: read(at, min(length, 64)) for kind, at, length in png_chunks(read)}
    cicp = bodies.get(b"cICP", b"")
    if len(cicp) == 4:
        return ColourTags(cicp[0], cicp[1], bool(cicp[3]), over_profile=b"iCCP" in bodies)
    if b"iCCP" in bodies or b"sRGB" in bodies:
        return None
    gamma = int.from_bytes(bodies.get(b"gAMA", b""), "big") / _PNG_UNIT
    white_red_green_blue = bodies.get(b"cHRM", b"")
    values = tuple(
        int.from_bytes(white_red_green_blue[at : at + 4], "big") / _PNG_UNIT
        for at in range(0, 32, 4)
    )
    chromaticities = values if len(white_red_green_blue) == 32 else None
    if not gamma and chromaticities is None:
        return None
    return ColourTags(
        chromaticities=chromaticities,  # type: ignore[arg-type] # eight values
        gamma=1 / gamma if gamma else None,
    )


def _heif(read: ReadAt) -> ColourTags | None:
    """The nclx colours of the primary item, or else of any item: tiles of a grid have their own."""
    meta = heif_meta(read)
    if meta is None:
        return None
    properties: list[tuple[bytes, bytes]] = []
    primary, of_primary = -1, set[int]()
    children = dict(_inner_boxes(meta[4:]))
    if b"pitm" in children:
        body = children[b"pitm"]
        primary = int.from_bytes(body[4:8] if body[:1] > b"\0" else body[4:6], "big")
    for kind, body in _inner_boxes(children.get(b"iprp", b"")):
        if kind == b"ipco":
            properties = list(_inner_boxes(body))
        elif kind == b"ipma":
            of_primary |= _properties_of(body, primary)
    nclx = {
        index: body
        for index, (kind, body) in enumerate(properties, 1)
        if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 11
    }
    index = next((index for index in nclx if index in of_primary), next(iter(nclx), None))
    if index is None:
        return None
    body = nclx[index]
    primaries, transfer = int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big")
    # libheif converts to full range.
    return ColourTags(primaries, transfer)


def heif_meta(read: ReadAt) -> bytes | None:
    """The body of the box meta of a HEIF or AVIF file. None if there is none."""
    at = 0
    for _ in range(_MAX_BOXES):
        head = read(at, 16)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8:
            return None
        if head[4:8] == b"meta":
            return read(at + 8, min(length, _MAX_META_BYTES) - 8) if length > 12 else None
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:
            return None
        at += length
    return None


def _inner_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for _ in range(_MAX_BOXES):
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8 or at + length > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + length]
        at += length


def _properties_of(ipma: bytes, item: int) -> set[int]:
    """The numbers of the item's properties, in a box of type ipma."""
    if len(ipma) < 8:
        return set()
    version, wide = ipma[0], bool(ipma[3] & 1)
    at, id_bytes, index_bytes = 8, 4 if version else 2, 2 if wide else 1
    for _ in range(min(int.from_bytes(ipma[4:8], "big"), _MAX_BOXES)):
        found = int.from_bytes(ipma[at : at + id_bytes], "big")
        at += id_bytes
        count = ipma[at] if at < len(ipma) else 0
        at += 1
        if found == item:
            indexes = (
                int.from_bytes(ipma[at + i * index_bytes : at + (i + 1) * index_bytes], "big")
                for i in range(count)
            )
            # The highest bit says that the property is essential.
            return {index & (0x7FFF if wide else 0x7F) for index in indexes}
        at += count * index_bytes
    return set()
