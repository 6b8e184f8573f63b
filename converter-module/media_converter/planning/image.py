"""Plans image_resize, which fits an image into a box. The output is upright, in sRGB."""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning import image_memory
from media_converter.planning.image_fit import FIT_COVER, Fit, fit_image, position
from media_converter.planning.plan import ConversionPlan, Expected
from media_converter.probing.media import ImageInfo
from media_converter.step import INPUT, PROFILE, Stdout, Step
from media_converter.typed_options import ImageOptions

VIPS: Final = "/usr/bin/vips"
MAX_IMAGE_PIXELS: Final = 300_000_000
"""Of one page. Reading more takes too long. How many fit depends on what a loader keeps of them,
see media_converter.planning.image_memory."""
MAX_ANIMATION_PIXELS: Final = 200_000_000
_FAIL_ON: Final = "truncated"
MAX_IMAGE_SIDE: Final = 65_535
"""In pixels. The largest side of JPEG and GIF. Longer ones take minutes to shrink."""
MAX_FRAMES: Final = 10_000
ANIMATED_OUTPUTS: Final = ("gif", "webp")
_AVIF_SECONDS: Final = ((2, 1.4e-6), (1, 4e-7))
"""Seconds per pixel on one CPU, by effort. An effort of 0 is not faster than 1."""


def plan_image(
    info: ImageInfo,
    options: ImageOptions,
    output_format: str,
    background: str,
    limits: Limits,
    *,
    has_profile: bool = False,
) -> ConversionPlan:
    """Plan a conversion to ``output_format``.

    Raises ConversionError with the reason InputTooLarge or NeedsMemory.
    ``has_profile`` says whether the tool inherits an ICC profile, as PROFILE, that tells what the
    colours of the image mean.
    ``background`` is the colour, as RRGGBB, that transparent pixels are laid on if
    ``output_format`` has no transparency and the options have no colour.
    """
    keeps_frames = info.is_animated and output_format in ANIMATED_OUTPUTS
    pages = info.pages if keeps_frames else 1
    fit = fit_image(info.displayed_size, options)
    refuse_too_large(info, pages)
    ground = options.background or background
    flattens = options.background is not None and info.has_alpha and output_format != "jpeg"
    cuts_frames = keeps_frames and fit.is_cropped
    # A second step is needed for what `vips thumbnail` cannot do, and for a saver that libvips
    # blocks together with its loader.
    is_staged = flattens or cuts_frames or output_format == "jxl"
    image_memory.check(info, output_format, fit, pages, limits, is_staged=is_staged)

    effort = avif_effort(fit.size[0] * fit.size[1], limits.stall_seconds)
    saver_options = _saver_options(output_format, options.quality, ground, info, effort)
    # vips writes to standard output if a name is only an extension.
    target, save = f".{output_format}[{saver_options}]", None
    if is_staged:
        save = _save_step(target, ground if flattens else None)
        target = ".raw" if keeps_frames else ".tif"
    argv = [VIPS, "thumbnail", INPUT + ("[n=-1]" if keeps_frames else ""), target]
    argv += _size_options(options, fit, is_roll=is_staged and keeps_frames)
    argv += ["--fail-on", _FAIL_ON]
    if has_profile:
        argv += ["--import-profile", PROFILE]
    # libvips lays the pixels of a grey image on the red part of a background.
    needs_colours = (
        info.is_grey
        and info.has_alpha
        and (flattens or output_format == "jpeg")
        and not _is_grey(ground)
    )
    if info.needs_srgb or has_profile or needs_colours:
        # This takes a tenth of a second, even if there is nothing to convert.
        argv += ["--export-profile", "srgb", "--intent", "perceptual"]

    pages_text = f" ({info.pages} pages)" if info.pages > 1 else ""
    return ConversionPlan(
        step=Step("resize", tuple(argv), Stdout.OUTPUT),
        expected=Expected(
            container=output_format,
            video_codec=output_format,
            size=fit.size,
            frames=pages if keeps_frames else None,
        ),
        summary=f"image: {info.format} {info.width}x{info.height}{pages_text}"
        f" -> {output_format} {fit.size[0]}x{fit.size[1]}",
        save=save,
        warnings=(fit.warning,) if fit.warning else (),
    )


def _size_options(options: ImageOptions, fit: Fit, *, is_roll: bool) -> list[str]:
    """The size for `vips thumbnail`. The frames of a ``is_roll`` are cut later, one by one."""
    if is_roll:
        width, height = fit.scaled
        return [str(width), "--height", str(height), "--size", "force"]
    if options.fit == FIT_COVER:
        width, height = fit.size
        where = position(fit, options.gravity)
        return [str(width), "--height", str(height), "--size", "down", "--crop", where]
    return [str(options.width), "--height", str(options.height), "--size", "down"]


def _save_step(target: str, ground: str | None) -> Step:
    """Build the step that makes the output of an image that another step has written."""
    argv: tuple[str, ...] = (VIPS, "copy", INPUT, target)
    if ground is not None:
        argv = (VIPS, "flatten", INPUT, target, "--background", _rgb(ground))
    return Step("save", argv, Stdout.OUTPUT, reads_own=True)


def frame_part_step(size: tuple[int, int], where: str) -> Step:
    """Build the step that cuts one frame. libvips decides where."""
    width, height = map(str, size)
    argv = (VIPS, "smartcrop", INPUT, ".raw", width, height, "--interesting", where)
    return Step("cut", argv, Stdout.OUTPUT, reads_own=True)


def verify_step() -> Step:
    """Build the step that decodes a JPEG XL output: its end cannot be seen from its structure."""
    return Step("verify", (VIPS, "avg", INPUT), reads_own=True)


def page_step(page: int) -> Step:
    """Build the step that prints a PNG of 16 x 16 pixels of a frame of an output, from 0."""
    argv = (VIPS, "thumbnail", f"{INPUT}[page={page}]", ".png", "16", "--height", "16")
    return Step("colour", (*argv, "--size", "force"), reads_own=True)


def refusing_warnings(step: Step) -> Step:
    """The same step, but it also fails if the loader warns that pixels are missing."""
    argv = ["warning" if word == _FAIL_ON else word for word in step.argv]
    return step._replace(argv=tuple(argv))


def refuse_too_large(info: ImageInfo, pages: int) -> None:
    """Raise ConversionError with the reason InputTooLarge if ``pages`` pages have too many pixels.

    Also if a side is too long, or if the file has too many frames, even if only the first is used.
    The size comes from the header of the file, so no pixel is decoded.
    """
    if max(info.width, info.height) > MAX_IMAGE_SIDE:
        raise ConversionError(
            ExitReason.INPUT_TOO_LARGE,
            f"{info.width}x{info.height} has a side of more than {MAX_IMAGE_SIDE} pixels; "
            "make it smaller",
        )
    if info.pages > MAX_FRAMES:
        raise ConversionError(
            ExitReason.INPUT_TOO_LARGE,
            f"{info.pages} frames or pages are more than the limit of {MAX_FRAMES}; split it",
        )
    pixels = max(info.width * info.height, info.canvas_pixels)
    if pixels > MAX_IMAGE_PIXELS:
        raise _too_large(
            f"{info.width}x{info.height} is {pixels / 1e6:.0f}",
            MAX_IMAGE_PIXELS,
            "make the image smaller before you upload it",
        )
    if pages > 1 and pixels * pages > MAX_ANIMATION_PIXELS:
        raise _too_large(
            f"{pages} frames of {pixels / 1e6:.1f} megapixels are {pixels * pages / 1e6:.0f}",
            MAX_ANIMATION_PIXELS,
            "choose another output format than GIF and WebP to get the first frame",
        )


def _too_large(size: str, limit: int, cure: str) -> ConversionError:
    return ConversionError(
        ExitReason.INPUT_TOO_LARGE,
        f"{size} megapixels, over the limit of {limit / 1e6:.0f}; {cure}",
    )


def _rgb(colour: str) -> str:
    return " ".join(str(channel) for channel in bytes.fromhex(colour))


def _is_grey(colour: str) -> bool:
    return len(set(bytes.fromhex(colour))) == 1


def avif_effort(pixels: int, seconds: float) -> int:
    """The effort of the AV1 encoder with which an image is encoded in time."""
    return next((effort for effort, rate in _AVIF_SECONDS if pixels * rate * 2 <= seconds), 1)


def _saver_options(
    output_format: str, quality: int, background: str, info: ImageInfo, effort: int
) -> str:
    """The options of libvips' saver for ``output_format``."""
    common_options = f"keep=none,background={_rgb(background)}"
    match output_format:
        case "jpeg":
            # Keep 4:4:4, as ImageMagick does, so that sharp red letters are not blurred.
            chroma = ",subsample-mode=off" if info.full_chroma else ""
            return f"Q={quality},optimize-coding{chroma},{common_options}"
        case "png":
            return f"compression=6,bitdepth=8,{common_options}"
        case "webp":
            return f"Q={quality},{common_options}"
        case "avif":
            return f"Q={quality},compression=av1,effort={effort},{common_options}"
        case "jxl":
            # An effort of 7 takes 8 times as long, for a file that is a tenth smaller.
            return f"Q={quality},effort=4,{common_options}"
        case _:
            return f"effort=3,{common_options}"
