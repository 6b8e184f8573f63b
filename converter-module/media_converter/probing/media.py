"""Typed descriptions of media files and images, from which conversions are planned."""

from __future__ import annotations

from typing import Final, NamedTuple

Ratio = tuple[int, int]
"""Numerator and denominator, both positive."""

MAX_PIXELS: Final = 40_000_000
"""Maximum pixels of a video frame. 8K has fewer."""

HDR_TRANSFERS: Final = frozenset({"smpte2084", "arib-std-b67"})
FULL_RANGE_FORMATS: Final = frozenset({"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"})


class VideoStream(NamedTuple):
    """A video stream, by ffprobe's names. Times are in seconds. None if the file does not say.

    ``width`` and ``height`` are in pixels, as decoded. Applying ``sample_aspect_ratio`` and
    ``rotation`` (degrees clockwise, a multiple of 90) gives the displayed size. ``field_order`` is
    progressive, tt, bb, tb, bt or unknown. ``coded_alpha`` says that VP8 or VP9 has an alpha
    channel in a second bit stream. ``dolby_profile`` is None without Dolby Vision.
    """

    stream_index: int
    codec: str
    width: int
    height: int
    pixel_format: str = ""
    profile: str = ""
    level: int = 0
    sample_aspect_ratio: Ratio = (1, 1)
    rotation: int = 0
    mirrored: bool = False
    full_range: bool = False
    color_space: str = ""
    color_primaries: str = ""
    color_transfer: str = ""
    field_order: str = "progressive"
    r_frame_rate: Ratio | None = None
    avg_frame_rate: Ratio | None = None
    start: float = 0.0
    duration: float | None = None
    bit_rate: int | None = None
    coded_alpha: bool = False
    dolby_profile: int | None = None
    dolby_compatible: bool = True

    @property
    def displayed(self) -> tuple[int, int]:
        """Displayed width and height, in square pixels."""
        width, height = self.width, self.height
        across, down = self.sample_aspect_ratio
        # Enlarge one side instead of reducing the other, so that no detail is lost.
        if across > down:
            width = max(1, round(width * across / down))
        elif down > across:
            height = max(1, round(height * down / across))
        return (height, width) if self.rotation % 180 else (width, height)

    @property
    def hdr(self) -> bool:
        """Whether the transfer function is one of HDR."""
        return self.color_transfer in HDR_TRANSFERS

    @property
    def alpha(self) -> bool:
        """Whether pixels can be transparent."""
        name = self.pixel_format
        return (
            self.coded_alpha
            or name.startswith(("yuva", "gbrap", "rgba", "argb", "bgra", "abgr", "ya", "pal8"))
            or name in ("rgba64le", "rgba64be")
        )


class AudioStream(NamedTuple):
    """An audio stream. ``layout`` is empty if the file names none.

    ``secondary`` says that it is a commentary, karaoke or a track for people with impairments.
    """

    stream_index: int
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
    """An audio or video file. Lists only streams that can be decoded.

    ``attached_pics`` are images attached to the file, such as cover art. ``duration`` is in
    seconds. ``duration_is_exact`` says whether the file states its duration; otherwise ffprobe
    estimates it from bit rates or timestamps. ``undecodable`` names the other streams.
    """

    container: str
    size: int
    duration: float | None = None
    duration_is_exact: bool = True
    start: float = 0.0
    video: tuple[VideoStream, ...] = ()
    audio: tuple[AudioStream, ...] = ()
    attached_pics: tuple[VideoStream, ...] = ()
    undecodable: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


class ImageInfo(NamedTuple):
    """An image file. ``width`` and ``height`` are those of one page, as stored.

    ``format`` is libvips' loader: jpeg, png, webp, gif, heif, tiff. ``orientation`` is EXIF's, 1 to
    8. ``canvas`` is the pixels a GIF declares, which can be more than its loader reports.
    ``needs_srgb`` says whether its colours must be converted to sRGB, because it has a profile or
    another colour space. ``held_bytes`` is how many bytes per pixel the loader keeps of a whole
    page, 0 if it reads line by line. ``full_chroma`` says that a JPEG is 4:4:4.
    """

    format: str
    width: int
    height: int
    pages: int = 1
    orientation: int = 1
    canvas: int = 0
    needs_srgb: bool = True
    alpha: bool = False
    held_bytes: float = 0.0
    full_chroma: bool = False

    @property
    def animated(self) -> bool:
        """Whether the pages are frames of an animation."""
        return self.pages > 1 and self.format in ("gif", "webp")

    @property
    def displayed(self) -> tuple[int, int]:
        """Width and height of a page after applying the orientation."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)
