"""Decides the size of a video and what is cut off. Nothing is ever enlarged."""

from __future__ import annotations

from media_converter.options import VideoOptions
from media_converter.planning.filters import fit_box, fit_short_side
from media_converter.planning.image_fit import COVER, Fit


def fit_video(video: tuple[int, int], options: VideoOptions) -> Fit:
    """How a video of this displayed size becomes the output.

    All sides are even, because 4:2:0 has no odd ones. So the aspect ratio may differ by a pixel.
    With the fit cover, a video that is smaller than the box is only cut to its aspect ratio.
    """
    if options.size is None:
        size = fit_short_side(*video, options.resolution)
        return Fit(size, size)
    (width, height), box = video, options.size
    most = (min(width, box[0]), min(height, box[1]))
    if options.fit != COVER:
        wide, high = fit_box(width, height, box)
        size = (_even(wide, most[0]), _even(high, most[1]))
        return Fit(size, size)
    share = min(1.0, width / box[0], height / box[1])
    size = (_even(box[0] * share, most[0]), _even(box[1] * share, most[1]))
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


def _even(side: float, most: float = float("inf")) -> int:
    """The even number next to a side. At least 2, and otherwise at most ``most``."""
    even = 2 * round(side / 2)
    return max(2, even if even <= most else even - 2)
