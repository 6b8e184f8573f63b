"""From ``vipsheader -a`` to ImageInfo. Pure: the text comes from a step the caller runs."""

from __future__ import annotations

from collections.abc import Mapping
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


_SAMPLES: Final = {"4:2:0": 1.5, "4:2:2": 2.0}
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
    bands = _whole(fields.get("bands")) or 3
    return ImageInfo(
        format=_LOADERS[loader],
        width=width,
        height=_whole(fields.get("page-height")) or height,
        pages=_whole(fields.get("n-pages")) or 1,
        # HEIF is turned by its loader, which then reports the turned size.
        orientation=orientation if 1 <= orientation <= 8 and loader != "heifload" else 1,
        canvas=canvas,
        managed="icc-profile-data" in fields or fields.get("interpretation") not in _PLAIN,
        alpha=bands in (2, 4) and fields.get("interpretation") != "cmyk",
        held=_held(loader, bands, fields),
        full_colour=fields.get("jpeg-chroma-subsample") == "4:4:4",
    )


def _held(loader: str, bands: int, fields: Mapping[str, str]) -> float:
    """ImageInfo.held: measured, or counted where a whole picture is kept as it is."""
    match loader:
        case "jpegload" if fields.get("jpeg-multiscan") == "1":
            # Coefficients of two bytes until the last scan.
            return 2 * _SAMPLES.get(fields.get("jpeg-chroma-subsample", ""), bands)
        case "pngload" if fields.get("interlaced") == "1":
            return bands * (2 if fields.get("format") == "ushort" else 1)
        case "heifload":
            alpha = 4.0 if bands in (2, 4) else 0.0
            return alpha + (5.4 if fields.get("heif-compression") == "av1" else 3.8)
        case "gifload":
            return 5.0
        case _:
            return 0.0


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
