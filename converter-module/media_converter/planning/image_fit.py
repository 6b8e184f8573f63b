"""Decides the size of an image and how it is cropped. Nothing is ever enlarged."""

from typing import Final, NamedTuple

from media_converter.planning.filters import fit_box
from media_converter.typed_options import ImageOptions

FIT_COVER: Final = "cover"


class Fit(NamedTuple):
    """The size of the output, and how the image or frame is scaled and cropped to it.

    ``size`` is the size of the output. ``scaled`` is the size of the whole image or frame before it
    is cropped. ``warning`` is set if the fit is cover and the output is smaller than requested.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    warning: str = ""

    @property
    def is_cropped(self) -> bool:
        """Whether a part of the image or frame is cropped."""
        return self.size != self.scaled

    @property
    def kept(self) -> tuple[float, float]:
        """The fraction of the width and of the height that is not cropped."""
        return self.size[0] / self.scaled[0], self.size[1] / self.scaled[1]


def fit_image(image: tuple[int, int], options: ImageOptions) -> Fit:
    """How an image of this displayed size becomes the output.

    With the fit cover, an image that is smaller than the box is only cropped to its aspect ratio.
    """
    box = (options.width, options.height)
    if options.fit != FIT_COVER:
        size = fit_box(*image, box)
        return Fit(size, size)
    width, height = image
    share = min(1.0, width / box[0], height / box[1])
    size = (max(1, round(box[0] * share)), max(1, round(box[1] * share)))
    scale = max(size[0] / width, size[1] / height)
    scaled = (max(size[0], round(width * scale)), max(size[1], round(height * scale)))
    warning = ""
    if share < 1.0:
        warning = (
            f"The output is {size[0]}x{size[1]}, not {box[0]}x{box[1]}: the image is smaller, and "
            "it is not enlarged."
        )
    return Fit(size, scaled, warning)


def position(fit: Fit, gravity: str) -> str:
    """What libvips calls the part that remains: low, high, centre, attention or entropy.

    Only one side is cropped. Low is its left or upper end.
    """
    if gravity in ("attention", "entropy", "centre"):
        return gravity
    crops_width = fit.scaled[0] > fit.size[0]
    low, high = ("west", "east") if crops_width else ("north", "south")
    ends = {low: "low", high: "high"}
    return next((ends[word] for word in gravity.split("-") if word in ends), "centre")


def offset(fit: Fit, where: str) -> tuple[int, int]:
    """Where the part begins that remains, for low, high and centre: column and row."""
    spare = [scaled - kept for scaled, kept in zip(fit.scaled, fit.size, strict=True)]
    share = {"low": 0.0, "centre": 0.5, "high": 1.0}[where]
    return int(spare[0] * share), int(spare[1] * share)
