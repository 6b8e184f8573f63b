"""From ``vipsheader -a`` to ImageInfo. Pure: the text comes from a step the caller runs."""

from __future__ import annotations

from typing import Final

from media_converter.media import ImageInfo
from media_converter.process import INPUT, Step

VIPSHEADER: Final = "/usr/bin/vipsheader"

_LOADERS: Final = {
    "jpegload": "jpeg",
    "pngload": "png",
    "webpload": "webp",
    "gifload": "gif",
    "heifload": "heif",
    "tiffload": "tiff",
}


# What sRGB is reached from without a profile.
_PLAIN: Final = ("srgb", "rgb16", "b-w", "grey16")


def step(path: str = INPUT) -> Step:
    """The step that reads a picture's header, and no pixel of it."""
    return Step("probe", (VIPSHEADER, "-a", path))


def parse(text: bytes, canvas: int = 0) -> ImageInfo | None:
    """The picture vipsheader described, None if it described none of an accepted format.

    ``canvas`` is handed through to ImageInfo.
    """
    fields: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        key, between, value = line.partition(": ")
        # The first one counts: text inside the picture's metadata comes later.
        if between:
            fields.setdefault(key, value.strip())
    loader = fields.get("vips-loader", "").removesuffix("_source")
    width, height = _whole(fields.get("width")), _whole(fields.get("height"))
    if loader not in _LOADERS or not width or not height:
        return None
    orientation = _whole(fields.get("orientation")) or 1
    return ImageInfo(
        format=_LOADERS[loader],
        width=width,
        height=_whole(fields.get("page-height")) or height,
        pages=_whole(fields.get("n-pages")) or 1,
        # HEIF is turned by its loader, which then reports the turned size.
        orientation=orientation if 1 <= orientation <= 8 and loader != "heifload" else 1,
        canvas=canvas,
        managed="icc-profile-data" in fields or fields.get("interpretation") not in _PLAIN,
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
