"""Estimates the memory that an image takes, from its header and the output's format.

The figures were measured in the image (libvips 8.16.1, one thread, 12 megapixels, peak resident set
of all processes). A loader that reads line by line takes only BASE. A loader that keeps the whole
image takes ``ImageInfo.held_bytes`` per pixel. Each encoder has a figure of its own.
"""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.probing.media import ImageInfo

_MIB: Final = 1 << 20
_BASE: Final = 80 * _MIB
# The part of BASE that the kernel can drop before it kills: pages of programs and libraries. Images
# that this refuses were tried, and they do not fit.
_DROPPED: Final = 60 * _MIB
# Below this limit the fixed part dominates. Page cache makes it less exact than the figures say.
_MIN_KNOWN_LIMIT: Final = 64 * _MIB
_MARGIN: Final = 1.1
_ROUND: Final = 64 * _MIB

# Bytes per pixel of the output, all frames together.
_STILL: Final = {"jpeg": 3.0, "png": 0.0, "webp": 9.7, "gif": 13.0, "avif": 21.8}
_ANIMATED: Final = {"gif": 4.5, "webp": 4.8}
_ALPHA: Final = 2.0
# The loader of an animated WebP builds all frames before they are scaled.
_ANIMATED_WEBP: Final = 5.4


def check(
    info: ImageInfo, output_format: str, size: tuple[int, int], pages: int, limits: Limits
) -> None:
    """Raise NeedsMemory, with a sufficient limit, for an image that cannot fit.

    ``size`` is that of one frame of the output. ``pages`` is the number of frames that it keeps.
    """
    if limits.memory is None or limits.memory < _MIN_KNOWN_LIMIT:
        return
    needed = estimate(info, output_format, size, pages)
    if needed - _DROPPED <= limits.memory:
        return
    enough = -(-int(needed * _MARGIN) // _ROUND) * _ROUND
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"{info.format} {info.width}x{info.height} to {output_format} {size[0]}x{size[1]} needs "
        f"a memory limit of {enough // _MIB} MiB, but the limit is {limits.memory // _MIB} MiB; "
        "raise it or choose a smaller size",
    )


def estimate(info: ImageInfo, output_format: str, size: tuple[int, int], pages: int) -> int:
    """Peak memory of a conversion in bytes."""
    source = info.width * info.height
    target = size[0] * size[1] * pages
    each = _ANIMATED[output_format] if pages > 1 else _STILL[output_format]
    if output_format == "webp" and info.alpha:
        each += _ALPHA
    if info.orientation > 1:
        # libvips rotates the whole image after scaling.
        each += 4.0 if info.alpha else 3.0
    held = info.held_bytes * source
    if pages > 1 and info.format == "webp":
        held += _ANIMATED_WEBP * source * pages
    return _BASE + int(held + each * target)
