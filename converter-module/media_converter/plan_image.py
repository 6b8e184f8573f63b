"""image_resize: fit a picture into a box, upright, in sRGB, without metadata."""

from __future__ import annotations

from typing import Final

from media_converter import memory_image
from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.media import ImageInfo
from media_converter.options import ImageOptions
from media_converter.pictures import fit_box
from media_converter.plan import Expected, Plan
from media_converter.process import INPUT, Stdout, Step

VIPS: Final = "/usr/bin/vips"
MAX_PIXELS: Final = 50_000_000
MAX_ANIMATION_PIXELS: Final = 200_000_000

# A tenth of a second even where there is nothing to convert, so only where there is.
_TO_SRGB: Final = ("--export-profile", "srgb", "--intent", "perceptual")

ANIMATED_OUTPUTS: Final = ("gif", "webp")


def plan(
    info: ImageInfo, options: ImageOptions, form: str, background: str, limits: Limits
) -> Plan:
    """The plan of a conversion into ``form``. Raises InputTooLarge and NeedsMemory.

    ``background``, RRGGBB, is what see-through parts are laid on where ``form`` has none.
    """
    keeps_frames = info.animated and form in ANIMATED_OUTPUTS
    pages = info.pages if keeps_frames else 1
    refuse_bombs(info, pages)
    size = fit_box(*info.displayed, (options.width, options.height))
    memory_image.check(info, form, size, pages, limits)
    source = INPUT + ("[n=-1]" if keeps_frames else "")
    argv = (
        *(VIPS, "thumbnail", source, f".{form}[{_saver(form, options.quality, background, info)}]"),
        *(str(options.width), "--height", str(options.height), "--size", "down"),
        *("--fail-on", "truncated", *(_TO_SRGB if info.managed else ())),
    )
    return Plan(
        step=Step("resize", argv, Stdout.OUTPUT),
        expected=Expected(
            container=form,
            video_codec=form,
            size=size,
            frames=pages if keeps_frames else None,
        ),
        note=f"{info.format} {info.width}x{info.height}"
        + (f", {info.pages} pages," if info.pages > 1 else "")
        + f" to {form} {size[0]}x{size[1]}",
    )


def refuse_bombs(info: ImageInfo, pages: int) -> None:
    """Raise InputTooLarge by the header alone, before a pixel is decoded."""
    pixels = max(info.width * info.height, info.canvas)
    if pixels > MAX_PIXELS:
        raise _too_large(f"{info.width}x{info.height} is {pixels / 1e6:.0f}", MAX_PIXELS)
    if pixels * pages > MAX_ANIMATION_PIXELS:
        raise _too_large(
            f"{pages} frames of {pixels / 1e6:.1f} megapixels are {pixels * pages / 1e6:.0f}",
            MAX_ANIMATION_PIXELS,
        )


def _too_large(what: str, limit: int) -> ConversionError:
    return ConversionError(
        ExitReason.INPUT_TOO_LARGE, f"{what} megapixels, over the limit of {limit / 1e6:.0f}"
    )


def _saver(form: str, quality: int, background: str, info: ImageInfo) -> str:
    ground = " ".join(str(channel) for channel in bytes.fromhex(background))
    common = f"keep=none,background={ground}"
    match form:
        case "jpeg":
            # Red letters that the source has sharp are not to be blurred: as ImageMagick does it.
            colour = ",subsample-mode=off" if info.full_colour else ""
            return f"Q={quality},optimize-coding{colour},{common}"
        case "png":
            return f"compression=6,bitdepth=8,{common}"
        case "webp":
            return f"Q={quality},{common}"
        case "avif":
            return f"Q={quality},compression=av1,effort=2,{common}"
        case _:
            return f"effort=3,{common}"
