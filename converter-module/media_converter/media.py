"""What a media file is: one typed value for everything the plans look at."""

from __future__ import annotations

from typing import Final, NamedTuple

Ratio = tuple[int, int]
"""Numerator and denominator, both positive."""

MAX_PIXELS: Final = 40_000_000
"""Most pixels of a video frame that is decoded: more than 8K has."""

HDR_TRANSFERS: Final = frozenset({"smpte2084", "arib-std-b67"})
FULL_RANGE_FORMATS: Final = frozenset({"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"})


class VideoStream(NamedTuple):
    """A stream of pictures. Sizes are pixels, times seconds; None is what the file does not say.

    ``width`` and ``height`` are as decoded; ``sample_aspect`` and ``rotation`` (degrees clockwise,
    a multiple of 90) lead from there to what is displayed. ``order`` is scan order as ffprobe has
    it (progressive, tt, bb, tb, bt). ``dolby_profile`` is None without Dolby Vision.
    """

    number: int
    codec: str
    width: int
    height: int
    pixel_format: str = ""
    profile: str = ""
    level: int = 0
    sample_aspect: Ratio = (1, 1)
    rotation: int = 0
    mirrored: bool = False
    full_range: bool = False
    matrix: str = ""
    primaries: str = ""
    transfer: str = ""
    order: str = "progressive"
    peak_rate: Ratio | None = None
    mean_rate: Ratio | None = None
    start: float = 0.0
    duration: float | None = None
    bit_rate: int | None = None
    coded_alpha: bool = False
    dolby_profile: int | None = None
    dolby_compatible: bool = True

    @property
    def displayed(self) -> tuple[int, int]:
        """Width and height in square pixels, as a viewer sees it."""
        width, height = self.width, self.height
        across, down = self.sample_aspect
        # The longer of the two corrections is made by growing: nothing of the picture is lost.
        if across > down:
            width = max(1, round(width * across / down))
        elif down > across:
            height = max(1, round(height * down / across))
        return (height, width) if self.rotation % 180 else (width, height)

    @property
    def hdr(self) -> bool:
        """Whether the transfer function is one of high dynamic range."""
        return self.transfer in HDR_TRANSFERS

    @property
    def alpha(self) -> bool:
        """Whether pixels can be see-through."""
        name = self.pixel_format
        return (
            self.coded_alpha
            or name.startswith(("yuva", "gbrap", "rgba", "argb", "bgra", "abgr", "ya", "pal8"))
            or name in ("rgba64le", "rgba64be")
        )


class AudioStream(NamedTuple):
    """A stream of sound. ``layout`` is empty where the file names none."""

    number: int
    codec: str
    sample_rate: int
    channels: int
    layout: str = ""
    profile: str = ""
    start: float = 0.0
    duration: float | None = None
    bit_rate: int | None = None
    default: bool = False
    secondary: bool = False


class MediaInfo(NamedTuple):
    """A file with streams. Only streams that can be decoded are listed.

    ``pictures`` are still ones attached to the file, such as cover art.

    ``duration`` is what the file promises, in seconds. ``firm`` says whether that is written in
    the file; otherwise it is an estimate from bit rates or time stamps.
    """

    container: str
    size: int
    duration: float | None = None
    firm: bool = True
    start: float = 0.0
    video: tuple[VideoStream, ...] = ()
    audio: tuple[AudioStream, ...] = ()
    pictures: tuple[VideoStream, ...] = ()
    undecodable: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


class ImageInfo(NamedTuple):
    """A picture file. ``width`` and ``height`` are of one page, as stored.

    ``format`` is the loader's: jpeg, png, webp, gif, heif, tiff. ``orientation`` is EXIF's, 1 to 8.
    ``canvas`` is what a GIF declares, in pixels: its loader may count with less. ``managed`` says
    whether its colours mean something only by a profile, its own or that of CMYK. ``held`` is how
    many bytes a pixel its loader has to hold of a whole page, 0 where it reads line by line.
    ``full_colour`` says that a JPEG's colour planes are as large as that of its brightness (4:4:4).
    """

    format: str
    width: int
    height: int
    pages: int = 1
    orientation: int = 1
    canvas: int = 0
    managed: bool = True
    alpha: bool = False
    held: float = 0.0
    full_colour: bool = False

    @property
    def animated(self) -> bool:
        """Whether its pages are frames that follow each other."""
        return self.pages > 1 and self.format in ("gif", "webp")

    @property
    def displayed(self) -> tuple[int, int]:
        """Width and height of a page after its orientation is applied."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)
