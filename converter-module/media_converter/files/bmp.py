"""Reads BMP images, for which libvips has no loader, row by row."""

import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from media_converter.files.structure import ReadAt

_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_FILE_HEADER: Final = 14
_CORE_HEADER: Final = 12
_INFO_HEADER: Final = 40
_OS2_HEADER: Final = 64
_EMBEDDED_PROFILE: Final = b"DEBM"
_MAX_PROFILE_BYTES: Final = 16 << 20
_MASKS_OF_16_BITS: Final = (0x7C00, 0x03E0, 0x001F, 0)
_MASKS_OF_32_BITS: Final = (0xFF0000, 0x00FF00, 0x0000FF, 0)
_ROWS_AT_ONCE: Final = 64

Row = bytes | bytearray
Masks = tuple[int, int, int, int]


class Bitmap(NamedTuple):
    """The header of a BMP. ``problem`` says why it cannot be read, for a message; empty if it can.

    ``masks`` are the bits of red, green, blue and alpha. ``palette`` is red, green and blue of each
    colour. ``pixels_at`` is the offset of the pixels. ``profile`` is an ICC profile.
    """

    width: int
    height: int
    top_down: bool = False
    bits: int = 24
    compression: int = _RGB
    pixels_at: int = 0
    masks: Masks = _MASKS_OF_32_BITS
    palette: bytes = b""
    profile: bytes = b""
    problem: str = ""

    @property
    def stride(self) -> int:
        """Bytes of a stored row."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def is_run_length(self) -> bool:
        """Whether the pixels are compressed."""
        return self.compression in (_RLE8, _RLE4)

    def missing_bytes(self, size_bytes: int) -> int:
        """How many bytes of pixels are missing at the end of the file."""
        if self.is_run_length:
            return 0
        # Some programs leave out the padding of the last row.
        last = (self.width * self.bits + 7) // 8
        end = self.pixels_at + (self.height - 1) * self.stride + last
        return max(0, end - size_bytes)


def header(read: ReadAt) -> Bitmap | None:
    """The header of a BMP. None for other files."""
    head = read(0, _FILE_HEADER + 124)
    if head[:2] != b"BM" or len(head) < _FILE_HEADER + _CORE_HEADER:
        return None
    pixels_at, length = struct.unpack_from("<II", head, 10)
    if length == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        compression, used = _RGB, 0
    elif length in (_INFO_HEADER, 52, 56, _OS2_HEADER, 108, 124) and len(head) >= 54:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
        used = struct.unpack_from("<I", head, 46)[0]
    else:
        return None
    if width < 1 or not height:
        return Bitmap(1, 1, problem="its header is damaged")
    masks, mask_bytes = _masks(read, length, bits, compression)
    entry = 3 if length == _CORE_HEADER else 4
    palette_at = _FILE_HEADER + length + mask_bytes
    colours = min(used or 1 << bits, 1 << bits) if bits <= 8 else 0
    stored = read(palette_at, colours * entry)
    bitmap = Bitmap(
        width=width,
        height=abs(height),
        top_down=height < 0,
        bits=bits,
        compression=compression,
        pixels_at=pixels_at,
        masks=masks,
        palette=b"".join(stored[at : at + 3][::-1] for at in range(0, len(stored), entry)),
        profile=_profile(read, head, length),
    )
    return bitmap._replace(problem=_problem(bitmap, length))


def _masks(read: ReadAt, length: int, bits: int, compression: int) -> tuple[Masks, int]:
    """The masks, and how many bytes they take after the header."""
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS) or length == _OS2_HEADER:
        return (_MASKS_OF_16_BITS if bits == 16 else _MASKS_OF_32_BITS), 0
    stored = read(_FILE_HEADER + _INFO_HEADER, 16).ljust(16, b"\0")
    red, green, blue, alpha = struct.unpack("<4I", stored)
    if length == _INFO_HEADER:
        has_alpha = compression == _ALPHA_BITFIELDS
        return (red, green, blue, alpha if has_alpha else 0), 16 if has_alpha else 12
    return (red, green, blue, alpha if length >= 56 else 0), 0


def _profile(read: ReadAt, head: bytes, length: int) -> bytes:
    if length != 124 or head[70:74] != _EMBEDDED_PROFILE:
        return b""
    at, size = struct.unpack_from("<II", head, 126)
    return read(_FILE_HEADER + at, size) if 128 < size <= _MAX_PROFILE_BYTES else b""


def _problem(bitmap: Bitmap, length: int) -> str:
    depths = {
        _RGB: (1, 2, 4, 8, 16, 24, 32),
        _RLE8: (8,),
        _RLE4: (4,),
        _BITFIELDS: (16, 32),
        _ALPHA_BITFIELDS: (16, 32),
    }
    is_os2 = length == _OS2_HEADER and bitmap.compression == _BITFIELDS
    if bitmap.compression not in depths or is_os2:
        return f"compression {bitmap.compression} is not accepted"
    if bitmap.bits not in depths[bitmap.compression]:
        return f"{bitmap.bits} bits per pixel are not accepted"
    return ""


def has_alpha(read: ReadAt, bitmap: Bitmap) -> bool:
    """Whether the pixels are transparent somewhere and visible somewhere.

    Many programs declare an alpha channel and leave it empty.
    """
    mask = bitmap.masks[3]
    if not mask or bitmap.bits != 32 or bitmap.compression == _RGB:
        return False
    at = _byte_of(mask)
    if at is None:
        return False
    return any(any(row[at::4]) for row in _stored_rows(read, bitmap))


def rows(read: ReadAt, bitmap: Bitmap, *, with_alpha: bool) -> Iterator[Row]:
    """The rows from top to bottom, as RGB or RGBA."""
    convert = _converter(bitmap, with_alpha=with_alpha)
    stored = _decoded_rows(read, bitmap) if bitmap.is_run_length else _stored_rows(read, bitmap)
    for row in stored:
        yield convert(row)


def _stored_rows(read: ReadAt, bitmap: Bitmap) -> Iterator[bytes]:
    stride, height = bitmap.stride, bitmap.height
    for first in range(0, height, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, height - first)
        start = first if bitmap.top_down else height - first - count
        block = read(bitmap.pixels_at + start * stride, count * stride).ljust(count * stride, b"\0")
        order = range(count) if bitmap.top_down else range(count - 1, -1, -1)
        for index in order:
            yield block[index * stride : (index + 1) * stride]


def _converter(bitmap: Bitmap, *, with_alpha: bool) -> Callable[[bytes], Row]:
    """The function from a stored row to RGB or RGBA."""
    if bitmap.bits <= 8:
        return _by_palette(bitmap)
    masks = bitmap.masks[: 4 if with_alpha else 3]
    step = bitmap.bits // 8
    places = (2, 1, 0) if bitmap.bits == 24 else tuple(_byte_of(mask) for mask in masks)
    if bitmap.bits != 16 and None not in places:
        used = bitmap.width * step

        def pick(row: bytes) -> Row:
            pixels = bytearray(bitmap.width * len(places))
            for channel, place in enumerate(places):
                pixels[channel :: len(places)] = row[place:used:step]
            return pixels

        return pick
    return _by_masks(bitmap, masks)


def _by_palette(bitmap: Bitmap) -> Callable[[bytes], Row]:
    width, bits = bitmap.width, bitmap.bits
    tables = [bitmap.palette[channel::3].ljust(256, b"\0") for channel in range(3)]
    mask = (1 << bits) - 1
    shifts = range(8 - bits, -1, -bits)
    indexes = [bytes(byte >> shift & mask for shift in shifts) for byte in range(256)]

    def convert(row: bytes) -> Row:
        values = row if bits == 8 else b"".join([indexes[byte] for byte in row])
        pixels = bytearray(3 * width)
        for channel, table in enumerate(tables):
            pixels[channel::3] = values[:width].translate(table)
        return pixels

    return convert


def _by_masks(bitmap: Bitmap, masks: tuple[int, ...]) -> Callable[[bytes], Row]:
    width = bitmap.width
    layout = struct.Struct(f"<{width}{'H' if bitmap.bits == 16 else 'I'}")

    def channel_of(mask: int) -> Callable[[int], int]:
        low = mask & -mask or 1
        highest = mask // low or 1
        return lambda value: (value & mask) // low * 255 // highest

    channels = [channel_of(mask) for mask in masks]

    def convert(row: bytes) -> Row:
        values = layout.unpack_from(row)
        pixels = bytearray(width * len(channels))
        for index, channel in enumerate(channels):
            pixels[index :: len(channels)] = bytes(map(channel, values))
        return pixels

    return convert


def _byte_of(mask: int) -> int | None:
    """Which byte of a pixel a mask selects. None if it is not a whole byte."""
    return {0xFF: 0, 0xFF00: 1, 0xFF0000: 2, 0xFF000000: 3}.get(mask)


def _decoded_rows(read: ReadAt, bitmap: Bitmap) -> Iterator[bytes]:
    """The rows of a run-length compressed BMP, packed like those of an uncompressed one."""
    width, height = bitmap.width, bitmap.height
    canvas = _decode_runs(_Bytes(read, bitmap.pixels_at), bitmap)
    pack = bitmap.compression == _RLE4
    for index in range(height) if bitmap.top_down else range(height - 1, -1, -1):
        row = bytes(canvas[index * width : (index + 1) * width])
        if pack:
            row += bytes(len(row) % 2)
            row = bytes(high << 4 | low for high, low in zip(row[::2], row[1::2], strict=True))
        yield row


class _Bytes:
    """Reads a file forwards in blocks. Returns nothing after its end."""

    def __init__(self, read: ReadAt, offset: int) -> None:
        self._read = read
        self._offset = offset
        self._block = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        while len(self._block) - self._at < count:
            more = self._read(self._offset, 1 << 16)
            if not more:
                return b""
            self._offset += len(more)
            self._block = self._block[self._at :] + more
            self._at = 0
        self._at += count
        return self._block[self._at - count : self._at]


def _decode_runs(source: _Bytes, bitmap: Bitmap) -> bytearray:
    """One colour number per byte, in stored order. Raises ValueError if the runs end too early."""
    width, height = bitmap.width, bitmap.height
    canvas = bytearray(width * height)
    nibbles = bitmap.compression == _RLE4
    x = y = 0
    while y < height:
        pair = source.take(2)
        if len(pair) < 2:
            if y == height - 1 and x >= width:
                break
            raise ValueError("the runs end too early")
        count, value = pair
        if count:
            colours = (value >> 4, value & 15) if nibbles else (value, value)
            run = bytes(colours) * (count // 2 + 1)
        elif value == 0:
            x, y = 0, y + 1
            continue
        elif value == 1:
            break
        elif value == 2:
            move = source.take(2).ljust(2, b"\0")
            x, y = x + move[0], y + move[1]
            continue
        else:
            count = value
            stored = source.take((count + 1) // 2 if nibbles else count)
            source.take(len(stored) % 2)
            run = stored
            if nibbles:
                run = bytes(part for byte in stored for part in (byte >> 4, byte & 15))
        room = max(0, min(count, width - x, len(run)))
        canvas[y * width + x : y * width + x + room] = run[:room]
        x += count
    return canvas


def tiff_header(bitmap: Bitmap, *, with_alpha: bool) -> bytes:
    """The start of an uncompressed TIFF to which the rows are appended."""
    bands = 4 if with_alpha else 3
    row_bytes = bitmap.width * bands
    strips = -(-bitmap.height // _ROWS_AT_ONCE)
    profile = bitmap.profile
    entries: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack("<I", bitmap.width)),
        (257, 4, 1, struct.pack("<I", bitmap.height)),
        (258, 3, bands, struct.pack(f"<{bands}H", *(8,) * bands)),
        (259, 3, 1, struct.pack("<H", 1)),
        (262, 3, 1, struct.pack("<H", 2)),
        (273, 4, strips, bytes(4 * strips)),
        (277, 3, 1, struct.pack("<H", bands)),
        (278, 4, 1, struct.pack("<I", _ROWS_AT_ONCE)),
        (279, 4, strips, bytes(4 * strips)),
        (284, 3, 1, struct.pack("<H", 1)),
        *([(338, 3, 1, struct.pack("<H", 2))] if with_alpha else []),
        *([(34675, 7, len(profile), profile)] if profile else []),
    ]
    tail_at = 8 + 2 + 12 * len(entries) + 4
    data_at = tail_at + sum(len(body) + len(body) % 2 for *_, body in entries if len(body) > 4)
    sizes = [
        row_bytes * min(_ROWS_AT_ONCE, bitmap.height - first)
        for first in range(0, bitmap.height, _ROWS_AT_ONCE)
    ]
    starts = [data_at + sum(sizes[:1]) * index for index in range(strips)]
    strip_data = {273: struct.pack(f"<{strips}I", *starts), 279: struct.pack(f"<{strips}I", *sizes)}
    table, tail = b"", b""
    for tag, kind, count, empty in entries:
        body = strip_data.get(tag, empty)
        table += struct.pack("<HHI", tag, kind, count)
        if len(body) > 4:
            table += struct.pack("<I", tail_at + len(tail))
            tail += body + bytes(len(body) % 2)
        else:
            table += body.ljust(4, b"\0")
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4) + tail
