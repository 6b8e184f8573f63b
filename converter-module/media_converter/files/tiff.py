"""Reads the first page's tags of a TIFF: how many samples a pixel has and what they mean.

libvips takes every sample after the colours for transparency. The tags say which ones are.
"""

from typing import Final, NamedTuple

from media_converter.files.structure import ReadAt

UNSIGNED: Final = 1
SIGNED: Final = 2
FLOATING: Final = 3

_SUBFILE_TYPE: Final = 254
_BITS: Final = 258
_PHOTOMETRIC: Final = 262
_SAMPLES: Final = 277
_INKS: Final = 334
_TILE_WIDTH: Final = 322
_TILE_HEIGHT: Final = 323
_SUB_DIRECTORIES: Final = 330
_EXTRA_SAMPLES: Final = 338
_SAMPLE_FORMAT: Final = 339
_DNG_VERSION: Final = 50706
_WANTED: Final = (
    _SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _SAMPLES, _SUB_DIRECTORIES, _INKS, _TILE_WIDTH,
    _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _DNG_VERSION,
)  # fmt: skip
# Samples as they come from a sensor.
_RAW: Final = (32803, 34892)
_CMYK: Final = 5
# Samples per pixel of each photometric interpretation, without extra samples.
_COLOURS: Final = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3, 8: 3, 9: 3, 10: 3}
_LAB: Final = (8, 9, 10)
_ALPHA: Final = (1, 2)
_MAX_TAGS: Final = 4096
_MAX_VALUES: Final = 64
# Bytes of a value by its type. Only whole numbers matter here.
_VALUE_BYTES: Final = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}


class TiffPage(NamedTuple):
    """``samples`` is the number of samples per pixel, each of ``bits`` bits.

    ``sample_format`` is UNSIGNED, SIGNED or FLOATING. ``colours`` is how many samples are colours;
    0 if this is unknown. ``has_alpha`` says whether the sample after them is the transparency.
    ``tile`` is the width and height of a tile, 0 if the pixels are in strips. ``is_raw`` says that
    the file is a raw image of a camera, of which this page is at most a preview.
    """

    samples: int
    bits: int
    sample_format: int
    colours: int
    has_alpha: bool
    tile: tuple[int, int] = (0, 0)
    is_raw: bool = False

    @property
    def is_float_colour(self) -> bool:
        """Whether the pixels are RGB in floating point."""
        return self.sample_format == FLOATING and self.colours == 3

    @property
    def is_float_grey(self) -> bool:
        """Whether the pixels are grey in floating point."""
        return self.sample_format == FLOATING and self.colours == 1

    @property
    def shown(self) -> int:
        """How many samples a viewer uses: the colours and the transparency."""
        if not self.colours:
            return self.samples
        return min(self.samples, self.colours + self.has_alpha)


def first_page(read: ReadAt) -> TiffPage | None:
    """The first page of a TIFF. None if the file is not a TIFF or its tags cannot be read."""
    head = read(0, 16)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    order = "little" if head[:2] == b"II" else "big"
    is_big_tiff = 43 in head[2:4]
    tags = _tags(read, head, order == "little", is_big_tiff)
    if tags is None:
        return None
    samples = tags.get(_SAMPLES, (1,))[0]
    photometric = tags.get(_PHOTOMETRIC, (-1,))[0]
    # The signed numbers of CIE Lab are what they should be.
    sample_format = UNSIGNED if photometric in _LAB else tags.get(_SAMPLE_FORMAT, (UNSIGNED,))[0]
    inks = tags.get(_INKS, (4,))[0]
    extra = tags.get(_EXTRA_SAMPLES, ())
    return TiffPage(
        samples=samples,
        bits=tags.get(_BITS, (1,))[0],
        sample_format=sample_format,
        colours=inks if photometric == _CMYK else _COLOURS.get(photometric, 0),
        has_alpha=bool(extra) and extra[0] in _ALPHA,
        tile=(tags.get(_TILE_WIDTH, (0,))[0], tags.get(_TILE_HEIGHT, (0,))[0]),
        is_raw=_is_raw(tags) or head[8:10] == b"CR",
    )


def _is_raw(tags: dict[int, tuple[int, ...]]) -> bool:
    """Whether a page has a sensor's samples, or is a preview beside pages that are not listed."""
    is_preview = bool(tags.get(_SUBFILE_TYPE, (0,))[0] & 1)
    has_sensor = tags.get(_PHOTOMETRIC, (-1,))[0] in _RAW
    return _DNG_VERSION in tags or has_sensor or (is_preview and _SUB_DIRECTORIES in tags)


def _tags(
    read: ReadAt, head: bytes, little: bool, is_big_tiff: bool
) -> dict[int, tuple[int, ...]] | None:
    """The wanted tags of the first page that have whole numbers."""

    def number(data: bytes) -> int:
        return int.from_bytes(data, "little" if little else "big")

    # BigTIFF has counts and offsets of eight bytes.
    offset_bytes, count_bytes = (8, 8) if is_big_tiff else (4, 2)
    directory = number(head[8:16] if is_big_tiff else head[4:8])
    entry_bytes = 4 + 2 * offset_bytes
    count = number(read(directory, count_bytes))
    entries = read(directory + count_bytes, min(count, _MAX_TAGS) * entry_bytes)
    if not entries:
        return None
    found: dict[int, tuple[int, ...]] = {}
    for at in range(0, len(entries) - entry_bytes + 1, entry_bytes):
        entry = entries[at : at + entry_bytes]
        tag, kind = number(entry[:2]), number(entry[2:4])
        values = min(number(entry[4 : 4 + offset_bytes]), _MAX_VALUES)
        if tag not in _WANTED or kind not in _VALUE_BYTES or not values:
            continue
        step = _VALUE_BYTES[kind]
        data = entry[4 + offset_bytes :]
        if step * values > offset_bytes:
            data = read(number(data), step * values)
        if len(data) >= step * values:
            found[tag] = tuple(number(data[i * step : (i + 1) * step]) for i in range(values))
    return found
