"""Estimates the memory that the conversion of an image takes, and refuses it if it cannot fit.

The figures were measured in the image (libvips 8.16.1, one thread, 12 megapixels, peak resident set
of all processes). A loader that reads line by line takes only ``_BASE``. A loader that keeps the
whole image also takes ``ImageInfo.held_bytes`` per pixel. Each encoder has its own figure.
"""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning.image_fit import Fit
from media_converter.probing.media import ImageInfo

_MIB: Final = 1 << 20
_BASE: Final = 80 * _MIB
# The part of _BASE that the kernel frees under pressure: pages of programs and libraries. We tried
# images that this estimate refuses, and they did not fit.
_RECLAIMABLE: Final = 60 * _MIB
# With a smaller limit, page cache matters more than the image, so the estimate is not good enough.
_MIN_LIMIT_TO_CHECK: Final = 64 * _MIB
_MOST_WITHOUT_LIMIT: Final = 4096 * _MIB
"""If the container has no memory limit."""
_MARGIN: Final = 1.1
# Recommended limits are multiples of this.
_LIMIT_STEP: Final = 64 * _MIB
# The memory of the AV1 encoder depends on the content too, so an estimate near the limit is a risk.
_AVIF_SHARE: Final = 0.78

# Bytes that the encoder takes per pixel of the output, in all frames together.
_STILL_BYTES: Final = {"jpeg": 3.0, "png": 0.0, "webp": 9.7, "gif": 13.0, "avif": 21.8, "jxl": 20.0}
_STAGED_BYTES: Final = 4
_ANIMATED_BYTES: Final = {"gif": 4.5, "webp": 4.8}
_WEBP_ALPHA_BYTES: Final = 2.0
# Bytes per pixel of the input: the loader of an animated WebP builds all frames before scaling.
_ANIMATED_WEBP_LOADER_BYTES: Final = 5.4

# Bytes per pixel of the output: the loader of other lossy WebP images scales while it decodes.
_SCALED_WEBP_BYTES: Final = 4.3


def check(
    info: ImageInfo,
    output_format: str,
    fit: Fit,
    pages: int,
    limits: Limits,
    *,
    is_staged: bool = False,
) -> None:
    """Raise ConversionError with the reason NeedsMemory if the conversion does not fit the limit.

    The message names a sufficient limit. ``fit`` has the size of one frame of the output, and
    ``pages`` is the number of its frames. ``is_staged`` says that a second step makes the output.
    """
    size = fit.size
    needed = estimate(info, output_format, fit, pages, is_staged=is_staged)
    if limits.memory is None and needed > _MOST_WITHOUT_LIMIT:
        raise ConversionError(
            ExitReason.INPUT_TOO_LARGE,
            f"{info.format} {info.width}x{info.height} to {output_format} {size[0]}x{size[1]} "
            f"needs {needed // _MIB} MiB of memory, over the limit of "
            f"{_MOST_WITHOUT_LIMIT // _MIB} MiB; choose a smaller size, or a smaller image",
        )
    if limits.memory is None or limits.memory < _MIN_LIMIT_TO_CHECK:
        return
    share = _AVIF_SHARE if output_format == "avif" else 1.0
    if needed - _RECLAIMABLE <= limits.memory * share:
        return
    least = max(needed * _MARGIN, needed / share)
    enough = -(-int(least) // _LIMIT_STEP) * _LIMIT_STEP
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"{info.format} {info.width}x{info.height} to {output_format} {size[0]}x{size[1]} needs "
        f"a memory limit of {enough // _MIB} MiB, but the limit is {limits.memory // _MIB} MiB; "
        "raise the limit or choose a smaller size",
    )


def encoder_bytes(output_format: str) -> float:
    """Bytes that the encoder takes per pixel of a still."""
    return _STILL_BYTES[output_format]


def estimate(
    info: ImageInfo, output_format: str, fit: Fit, pages: int, *, is_staged: bool = False
) -> int:
    """Peak memory of a conversion in bytes. The parameters are those of :func:`check`."""
    input_pixels = info.width * info.height
    # What is cut off is scaled first.
    scaled_pixels = fit.scaled[0] * fit.scaled[1] * pages
    output_pixels = fit.size[0] * fit.size[1] * pages
    encoder_bytes = (_ANIMATED_BYTES if pages > 1 else _STILL_BYTES)[output_format]
    if output_format == "webp" and info.has_alpha:
        encoder_bytes += _WEBP_ALPHA_BYTES
    turning_bytes = 0.0
    if info.orientation > 1:
        # libvips rotates the whole image after scaling.
        turning_bytes = 4.0 if info.has_alpha else 3.0
    loader_bytes = info.held_bytes * input_pixels
    if info.format == "webp":
        if pages > 1:
            loader_bytes += _ANIMATED_WEBP_LOADER_BYTES * input_pixels * pages
        elif not info.held_bytes:
            loader_bytes += _SCALED_WEBP_BYTES * scaled_pixels
    staged_bytes = 3 * scaled_pixels if fit.is_cropped else 0
    if is_staged:
        # In memory: the scaled image, and of an animation also its frames after they are cut.
        staged_bytes += _STAGED_BYTES * (scaled_pixels + (output_pixels if pages > 1 else 0))
    encoder_bytes = encoder_bytes * output_pixels + turning_bytes * scaled_pixels
    return _BASE + info.copied_bytes + staged_bytes + int(loader_bytes + encoder_bytes)
