"""Reads and writes PNG without a library, for small images and drawings of two colours."""

import zlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BANDS: Final = {0: 1, 2: 3, 4: 2, 6: 4}
"""Samples per pixel, by the colour type of PNG: grey and RGB, without and with transparency."""
_PALETTE: Final = 3
_WRITE_BYTES: Final = 1 << 16


class Pixels(NamedTuple):
    """A decoded image. ``rgba`` has four bytes per pixel, row by row."""

    width: int
    height: int
    rgba: bytes


def decode(data: bytes) -> Pixels | None:
    """Decode a PNG of 8 bits per sample without palette and interlacing. None for others."""
    if not data.startswith(_SIGNATURE):
        return None
    try:
        chunks = list(_chunks(data))
        header = next(body for kind, body in chunks if kind == b"IHDR")
        width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
        bands = _BANDS.get(header[9], 0)
        if header[8] != 8 or not bands or header[12]:
            return None
        packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
        rows = _unfiltered(zlib.decompress(packed), width * bands, height, bands)
    except (zlib.error, IndexError, StopIteration):
        return None
    return Pixels(width, height, _to_rgba(rows, bands))


def _chunks(data: bytes) -> Iterable[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _unfiltered(data: bytes, stride: int, height: int, bands: int) -> bytes:
    """The samples of all rows. Each row begins with the number of its filter."""
    before, found = bytearray(stride), bytearray()
    for row in range(height):
        at = row * (stride + 1)
        kind, line = data[at], bytearray(data[at + 1 : at + 1 + stride])
        if len(line) < stride:
            raise IndexError(row)
        for i in range(stride) if kind else ():
            left, corner = (line[i - bands], before[i - bands]) if i >= bands else (0, 0)
            line[i] = (line[i] + _predicted(kind, left, before[i], corner)) & 255
        found += line
        before = line
    return bytes(found)


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    match kind:
        case 1:
            return left
        case 2:
            return above
        case 3:
            return (left + above) // 2
        case _:
            guess = left + above - corner
            # Of equally near samples, the first one counts.
            return min((left, above, corner), key=lambda sample: abs(guess - sample))


def _to_rgba(samples: bytes, bands: int) -> bytes:
    if bands == 4:
        return samples
    count = len(samples) // bands
    pixels = bytearray(b"\xff" * (4 * count))
    colours = (0, 0, 0) if bands <= 2 else (0, 1, 2)
    for place, band in enumerate(colours):
        pixels[place::4] = samples[band::bands]
    if bands == 2:
        pixels[3::4] = samples[1::2]
    return bytes(pixels)


def write_palette(
    write: Callable[[bytes], None],
    size: tuple[int, int],
    colours: Iterable[bytes],
    rows: Iterable[bytes],
) -> None:
    """Write a PNG row by row. A byte of ``rows`` is the number of one of the ``colours``, RGBA."""
    palette = tuple(colours)
    header = b"".join(side.to_bytes(4, "big") for side in size) + bytes((8, _PALETTE, 0, 0, 0))
    write(_SIGNATURE + _chunk(b"IHDR", header))
    write(_chunk(b"PLTE", b"".join(colour[:3] for colour in palette)))
    if any(colour[3] != 255 for colour in palette):
        write(_chunk(b"tRNS", bytes(colour[3] for colour in palette)))
    packer, packed = zlib.compressobj(6), b""
    for row in rows:
        packed += packer.compress(b"\0" + row)
        if len(packed) >= _WRITE_BYTES:
            write(_chunk(b"IDAT", packed))
            packed = b""
    write(_chunk(b"IDAT", packed + packer.flush()) + _chunk(b"IEND", b""))


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum
