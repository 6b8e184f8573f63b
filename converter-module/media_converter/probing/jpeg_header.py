"""Reads the header of an ordinary JPEG, without starting a tool for it.

Starting vipsheader takes a fifth of the time that a photograph of 12 megapixels takes. So this
describes the JPEGs for which a few bytes tell all that vipsheader would. For any other JPEG it says
nothing, and vipsheader is asked: other coding processes, CMYK, a colour profile, or anything that
is not exactly as the standards have it.
"""

from typing import Final, NamedTuple

from media_converter.files import jpeg
from media_converter.files.structure import ReadAt
from media_converter.probing.media import ImageInfo
from media_converter.probing.vipsheader import held_by_jpeg

_START: Final = b"\xff\xd8\xff"
_BASELINE: Final = 0xC0
_PROGRESSIVE: Final = 0xC2
_FRAMES: Final = (_BASELINE, 0xC1, _PROGRESSIVE)
_HUFFMAN_TABLES: Final = 0xC4
_QUANTIZATION: Final = 0xDB
_RESTART_INTERVAL: Final = 0xDD
_COMMENT: Final = 0xFE
_APPLICATION: Final = range(0xE0, 0xF0)
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_KNOWN: Final = (
    *_FRAMES, _HUFFMAN_TABLES, _QUANTIZATION, _RESTART_INTERVAL, _COMMENT, *_APPLICATION, jpeg.SCAN
)  # fmt: skip
_PROFILE: Final = b"ICC_PROFILE"
_EXIF: Final = b"Exif"
_EXIF_HEAD_BYTES: Final = 6
_ENTRY_BYTES: Final = 12
_MAX_ENTRIES: Final = 200
_ORIENTATION: Final = 274
_SHORT: Final = 3
_COLOURS: Final = 3
_MAX_FACTOR: Final = 4
# libjpeg reads no larger ones.
_MAX_SIDE: Final = 65_500
_MAX_TABLES_BYTES: Final = 4096
_MAX_TABLE: Final = 3
_MAX_CODES: Final = 256


Segment = tuple[int, int, int]
"""Marker, offset and length, as jpeg.segments has them."""


class _Frame(NamedTuple):
    """``factors`` are the sampling factors of each component, horizontal and vertical.

    ``names`` are the identifiers of the components.
    """

    is_progressive: bool
    width: int
    height: int
    factors: tuple[int, ...]
    names: bytes

    @property
    def components(self) -> int:
        return len(self.factors) // 2


def read_header(read: ReadAt) -> ImageInfo | None:
    """What the header of a JPEG says. None if it is no JPEG, or one that vipsheader must read.

    Reads at most a few hundred bytes for each segment before the first scan.
    """
    if read(0, 3) != _START:
        return None
    places = list(jpeg.segments(read))
    if any(marker not in _KNOWN or length < 0 for marker, _, length in places):
        return None
    frames = [_frame(marker, read(at, n)) for marker, at, n in places if marker in _FRAMES]
    frame = frames[0] if len(frames) == 1 else None
    orientation = _orientation(read, places)
    if frame is None or orientation is None or _has_profile(read, places):
        return None
    if not all(_is_valid_table(read, place) for place in places):
        return None
    scanned = _scanned(read, places[-1], frame)
    if not scanned:
        return None
    full_chroma, held = max(frame.factors) == 1, 0.0
    if frame.is_progressive or scanned < frame.components:
        held = held_by_jpeg("4:4:4" if full_chroma else "4:2:0", frame.components)
    return ImageInfo(
        format="jpeg",
        width=frame.width,
        height=frame.height,
        orientation=orientation,
        needs_srgb=False,
        held_bytes=held,
        full_chroma=full_chroma,
        is_grey=frame.components == 1,
    )


def _scanned(read: ReadAt, place: Segment, frame: _Frame) -> int:
    """How many components the first scan has. 0 if it is not valid."""
    marker, at, length = place
    body = read(at, length) if marker == jpeg.SCAN and length < _MAX_TABLES_BYTES else b""
    count = body[0] if body else 0
    named = body[1 : 1 + 2 * count : 2]
    is_valid = 0 < count <= frame.components and len(body) == 4 + 2 * count
    return count if is_valid and set(named) <= set(frame.names) else 0


def _is_valid_table(read: ReadAt, place: Segment) -> bool:
    """Whether libjpeg accepts the tables of a segment. True of a segment without tables."""
    marker, at, length = place
    if marker == _RESTART_INTERVAL:
        return length == 2
    if marker not in (_HUFFMAN_TABLES, _QUANTIZATION):
        return True
    body = read(at, length) if length < _MAX_TABLES_BYTES else b""
    if not body or len(body) != length:
        return False
    while body:
        kind, table = divmod(body[0], 16)
        size = 1 + 64 * (kind + 1)
        if marker == _HUFFMAN_TABLES:
            codes = sum(body[1:17])
            size = 17 + codes
            if codes > _MAX_CODES:
                return False
        if kind > 1 or table > _MAX_TABLE or len(body) < size:
            return False
        body = body[size:]
    return True


def _has_profile(read: ReadAt, places: list[Segment]) -> bool:
    return any(m == _APP2 and read(at, len(_PROFILE)) == _PROFILE for m, at, _ in places)


def _frame(marker: int, body: bytes) -> _Frame | None:
    """The frame header, if it has 8 bits, a size, and grey or three colours."""
    if len(body) < 6 or body[0] != 8 or body[5] not in (1, _COLOURS):
        return None
    if len(body) != 6 + 3 * body[5]:
        return None
    height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    packed = body[7::3]
    factors = tuple(factor for byte in packed for factor in divmod(byte, 16))
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        return None
    if not all(1 <= factor <= _MAX_FACTOR for factor in factors):
        return None
    return _Frame(marker == _PROGRESSIVE, width, height, factors, body[6::3])


def _orientation(read: ReadAt, places: list[Segment]) -> int | None:
    """The orientation in the Exif data, 1 if there is none. None if it is not certain."""
    found = [(at, n) for m, at, n in places if m == _APP1 and read(at, len(_EXIF)) == _EXIF]
    if not found:
        return 1
    return _orientation_in(read, *found[0]) if len(found) == 1 else None


def _orientation_in(read: ReadAt, at: int, length: int) -> int | None:
    """The orientation in the first directory of Exif data, as above."""
    head = read(at, _EXIF_HEAD_BYTES + 8)
    is_little = head[6:10] == b"II*\0"
    if head[:6] != b"Exif\0\0" or not (is_little or head[6:10] == b"MM\0*"):
        return None

    def number(data: bytes) -> int:
        return int.from_bytes(data, "little" if is_little else "big")

    start = _EXIF_HEAD_BYTES + number(head[10:14])
    count = number(read(at + start, 2))
    if not 0 < count <= _MAX_ENTRIES or start + 2 + count * _ENTRY_BYTES > length:
        return None
    entries = read(at + start + 2, count * _ENTRY_BYTES)
    rows = [entries[i : i + _ENTRY_BYTES] for i in range(0, len(entries), _ENTRY_BYTES)]
    found = [row for row in rows if number(row[:2]) == _ORIENTATION]
    if not found:
        return 1
    value = number(found[0][8:10])
    is_plain = len(found) == 1 and (number(found[0][2:4]), number(found[0][4:8])) == (_SHORT, 1)
    return value if is_plain and 1 <= value <= 8 else None
