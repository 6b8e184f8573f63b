"""How much memory a picture takes, as far as its header and the output's format tell.

The figures were measured in the image (libvips 8.16.1, one thread, 12 megapixels, peak resident set
of all processes). A loader that reads line by line takes none but BASE, one that has to hold the
whole picture takes ``ImageInfo.held`` bytes a pixel, and so does each encoder by its own measure.
"""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.media import ImageInfo

_MIB: Final = 1 << 20
_BASE: Final = 80 * _MIB
# Of it, what the kernel can do without before it kills: pages of programs and libraries. What is
# refused was tried, and does not fit.
_DROPPED: Final = 60 * _MIB
# Under this the fixed part decides, which page cache makes softer than the figures say.
_LEAST_KNOWN: Final = 64 * _MIB
_MARGIN: Final = 1.1
_ROUND: Final = 64 * _MIB

# Bytes for each pixel of the output, all frames together.
_STILL: Final = {"jpeg": 3.0, "png": 0.0, "webp": 9.7, "gif": 13.0, "avif": 21.8}
_MOVING: Final = {"gif": 4.5, "webp": 4.8}
_ALPHA: Final = 2.0
# An animated WebP is put together as a whole before its frames are scaled.
_MOVING_WEBP: Final = 5.4


def check(info: ImageInfo, form: str, size: tuple[int, int], pages: int, limits: Limits) -> None:
    """Raise NeedsMemory, with the limit that would do, for what cannot fit.

    ``size`` is of a frame of the output, ``pages`` the number of frames that are kept.
    """
    if limits.memory is None or limits.memory < _LEAST_KNOWN:
        return
    needed = estimate(info, form, size, pages)
    if needed - _DROPPED <= limits.memory:
        return
    enough = -(-int(needed * _MARGIN) // _ROUND) * _ROUND
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"{info.format} {info.width}x{info.height} to {form} {size[0]}x{size[1]} needs a memory "
        f"limit of {enough // _MIB} MiB, but it is {limits.memory // _MIB} MiB; raise it or choose "
        "a smaller size",
    )


def estimate(info: ImageInfo, form: str, size: tuple[int, int], pages: int) -> int:
    """Bytes that a conversion takes at its peak."""
    source = info.width * info.height
    target = size[0] * size[1] * pages
    each = _MOVING[form] if pages > 1 else _STILL[form]
    if form == "webp" and info.alpha:
        each += _ALPHA
    if info.orientation > 1:
        # Turned as a whole, behind the scaling.
        each += 4.0 if info.alpha else 3.0
    held = info.held * source
    if pages > 1 and info.format == "webp":
        held += _MOVING_WEBP * source * pages
    return _BASE + int(held + each * target)
