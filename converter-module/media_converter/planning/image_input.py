"""Plans how to make an image that libvips takes for what it is.

libvips takes every sample after the colours of a TIFF for transparency, and shows samples of more
than 16 bits wrongly. So such an image is first rewritten to memory, with plain samples.
"""

import math
from typing import Final, NamedTuple

from media_converter.files.tiff import FLOATING, SIGNED, TiffPage
from media_converter.planning.image import VIPS
from media_converter.probing.media import ImageInfo
from media_converter.step import INPUT, Stdout, Step

_INPUT: Final = f"{INPUT}[fail-on=truncated]"
EARLY_END: Final = "premature end"
"""Part of the loader's warning about a JPEG whose data end before its pixels do."""

# An image in linear light has a mean below this, so larger numbers are not light.
_MAX_MEAN_LIGHT: Final = 2.0
# Largest values of samples that were stored with more bits than they need.
_NARROWER: Final = (255.0, 65535.0)


class Statistics(NamedTuple):
    """Of the samples of an image."""

    lowest: float
    highest: float
    mean: float


def last_pixel_step(info: ImageInfo) -> Step:
    """Build the step that prints the samples of the last stored pixel of a JPEG."""
    place = (str(info.width - 1), str(info.height - 1))
    return Step("last-pixel", (VIPS, "getpoint", INPUT, *place))


def is_filled_in(samples: bytes) -> bool:
    """Whether the loader has filled in a pixel, by its samples. It inverts those of CMYK."""
    values = samples.split()
    return bool(values) and set(values) <= {b"127", b"128"}


def is_deep(page: TiffPage) -> bool:
    """Whether libvips cannot show the samples as they are: 32 bits, or signed."""
    return page.sample_format in (SIGNED, FLOATING) or page.bits == 32


def prepared_info(info: ImageInfo, page: TiffPage, size_bytes: int) -> ImageInfo:
    """The description of the rewritten image, with the size of the copies.

    ``size_bytes`` is the size of the file.
    """
    info = info._replace(held_bytes=_tile_bytes(info, page, size_bytes))
    if not is_deep(page) and page.shown == page.samples:
        return info
    pixels = info.width * info.height
    copied = 0
    sample_bytes = max(1, page.bits // 8)
    if is_deep(page) and not page.is_float_colour:
        sample_bytes = 2
        copied += pixels * page.samples * sample_bytes
    if page.shown < page.samples:
        copied += pixels * page.shown * sample_bytes
    return info._replace(has_alpha=page.has_alpha, copied_bytes=copied)


def _tile_bytes(info: ImageInfo, page: TiffPage, size_bytes: int) -> float:
    """What a loader keeps of a TIFF in tiles, per pixel of the image.

    These are two rows of tiles, if there are two, and one tile: as it is decoded, and as it is in
    the file. A file can have one tile, which is then larger than the image.
    """
    width, height = page.tile
    if not width or not height:
        return 0.0
    bytes_per_pixel = page.samples * max(1, page.bits // 8)
    rows = min(info.height, 2 * height) * info.width * bytes_per_pixel
    tile = width * height * bytes_per_pixel
    return (rows + tile + min(tile, size_bytes)) / (info.width * info.height)


def statistics_step() -> Step:
    """Build the step that prints the statistics of all samples."""
    return Step("measure", (VIPS, "stats", _INPUT, ".mat"))


def parse_statistics(text: bytes) -> Statistics | None:
    """Parse the first row of the matrix: lowest, highest, sum, sum of squares, mean."""
    lines = text.decode("ascii", "replace").splitlines()
    try:
        numbers = [float(word) for word in lines[1].split()[:5]]
        return Statistics(numbers[0], numbers[1], numbers[4])
    except (IndexError, ValueError):
        return None


def plain_samples_step(page: TiffPage, found: Statistics) -> Step | None:
    """Build the step that rewrites deep samples. None if libvips shows them as they are meant.

    The numbers decide what they mean, because no tag does: floating-point samples are light from 0
    to 1, unless they are far larger; and small numbers in large samples are numbers of fewer bits.
    """
    if page.sample_format == FLOATING:
        if is_light(page, found):
            # libvips takes colours for linear light, but not grey.
            return None if page.is_float_colour else _linear_step(65535, 0, deep=True)
        largest = math.inf
    elif found.lowest < 0:
        return _linear_step(256 / 2**page.bits, 128)
    else:
        largest = 2.0 ** (page.bits - (page.sample_format == SIGNED)) - 1
    limits = (*(limit for limit in _NARROWER if limit < largest), largest)
    limit = next((limit for limit in limits if limit >= found.highest), largest)
    return _linear_step(255.999 / (found.highest if math.isinf(limit) else limit), 0)


def is_light(page: TiffPage, found: Statistics) -> bool:
    """Whether the samples are linear light."""
    is_number = math.isfinite(found.mean) and found.mean > _MAX_MEAN_LIGHT
    return page.sample_format == FLOATING and not is_number


def _linear_step(scale: float, offset: float, *, deep: bool = False) -> Step:
    """Multiply and add. The result has 8 bits, or 16 if ``deep``."""
    target = ".png[bitdepth=16,compression=1,filter=none]" if deep else ".tif"
    argv = (VIPS, "linear", _INPUT, target, _text(scale), _text(offset))
    return Step("samples", argv if deep else (*argv, "--uchar"), Stdout.OUTPUT)


def _text(value: float) -> str:
    return f"{value:.12g}" if math.isfinite(value) else "0"


def bands_step(page: TiffPage) -> Step | None:
    """Build the step that drops the samples that no viewer shows. None if there are none."""
    if page.shown == page.samples:
        return None
    argv = (VIPS, "extract_band", _INPUT, ".tif", "0", "--n", str(page.shown))
    return Step("bands", argv, Stdout.OUTPUT)
