"""Decides the size of a video and how it is cropped. Nothing is ever enlarged."""

from __future__ import annotations

from media_converter.planning.filters import fit_box, fit_short_side
from media_converter.planning.image_fit import FIT_COVER, Fit
from media_converter.typed_options import VideoOptions


def fit_video(displayed_size: tuple[int, int], options: VideoOptions) -> Fit:
    """How a video of this displayed size is scaled and cropped.

    All sides are even, because H.264 in 4:2:0 cannot have odd ones. The other codecs follow the
    same rule. So a side may be off by a pixel from the exact aspect ratio. With fit cover, a video
    that is smaller than the box is cropped to the aspect ratio of the box, and not enlarged.
    """
    if options.size is None:
        size = fit_short_side(*displayed_size, options.resolution)
        return Fit(size, size)
    (width, height), box = displayed_size, options.size
    max_size = (min(width, box[0]), min(height, box[1]))
    if options.fit != FIT_COVER:
        fitted_width, fitted_height = fit_box(width, height, box)
        size = (_even(fitted_width, max_size[0]), _even(fitted_height, max_size[1]))
        return Fit(size, size)
    share = min(1.0, width / box[0], height / box[1])
    size = (_even(box[0] * share, max_size[0]), _even(box[1] * share, max_size[1]))
    scale = max(size[0] / width, size[1] / height)
    scaled = (max(size[0], _even(width * scale)), max(size[1], _even(height * scale)))
    wanted = (_even(box[0], box[0]), _even(box[1], box[1]))
    warning = ""
    if size[0] < wanted[0] or size[1] < wanted[1]:
        warning = (
            f"The output is {size[0]}x{size[1]}, not {box[0]}x{box[1]}: the video is smaller, and "
            "it is not enlarged."
        )
    return Fit(size, scaled, warning)


def _even(side: float, max_side: float = float("inf")) -> int:
    """Round a side to an even number, at most ``max_side``, but never below 2."""
    even = 2 * round(side / 2)
    return max(2, even if even <= max_side else even - 2)
