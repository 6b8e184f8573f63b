"""Defines the descriptions of media files and images that conversion plans are made from."""

from typing import Final, NamedTuple

Ratio = tuple[int, int]
"""Numerator and denominator, both positive."""

MAX_FRAME_PIXELS: Final = 40_000_000
"""Maximum pixels of a video frame. 8K has fewer."""

HDR_TRANSFERS: Final = frozenset({"smpte2084", "arib-std-b67"})
FULL_RANGE_FORMATS: Final = frozenset({"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"})


class VideoStream(NamedTuple):
    """A video stream. Most names and values are those of ffprobe. None and "" mean unknown.

    ``width`` and ``height`` are in pixels, as decoded. ``rotation`` is 0, 90, 180 or 270 degrees
    clockwise. ``displayed_size`` applies it and ``sample_aspect_ratio``. Frame rates are in frames
    per second, ``start`` and ``duration`` in seconds, ``bit_rate`` in bits per second.
    ``field_order`` is progressive, tt, bb, tb, bt or unknown. ``coded_alpha`` says that VP8 or VP9
    has an alpha channel in a second bit stream. ``dolby_profile`` is None without Dolby Vision.
    ``needs_dolby_vision`` says that only Dolby Vision decoders can show the video. ``cropped`` is
    how many columns and rows the container hides; ``width`` and ``height`` do not count them.
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
    needs_dolby_vision: bool = False
    cropped: tuple[int, int] = (0, 0)

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Width and height in square pixels, after applying aspect ratio and rotation."""
        width, height = self.width, self.height
        pixel_width, pixel_height = self.sample_aspect_ratio
        # Enlarge one side instead of reducing the other, so that no detail is lost.
        if pixel_width > pixel_height:
            width = max(1, round(width * pixel_width / pixel_height))
        elif pixel_height > pixel_width:
            height = max(1, round(height * pixel_height / pixel_width))
        return (height, width) if self.rotation % 180 else (width, height)

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return self.color_transfer in HDR_TRANSFERS

    @property
    def has_alpha(self) -> bool:
        """Whether pixels can be transparent."""
        name = self.pixel_format
        return (
            self.coded_alpha
            or name.startswith(("yuva", "gbrap", "rgba", "argb", "bgra", "abgr", "ya", "pal8"))
            or name in ("rgba64le", "rgba64be")
        )


class AudioStream(NamedTuple):
    """An audio stream. Names and units are those of VideoStream. ``sample_rate`` is in Hz.

    ``layout`` is empty if the file names none. ``default`` says that players choose this track.
    ``secondary`` says that it is a commentary, karaoke or a track for people with impairments.
    ``sample_bits`` is how many bits a sample has, 0 for lossy codecs. ``language`` and ``title``
    are tags. ``joined`` are the indexes of the mono tracks that the channels come from, if each
    channel is a track of its own; see :mod:`media_converter.planning.joined_tracks`.
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
    sample_bits: int = 0
    language: str = ""
    title: str = ""
    joined: tuple[int, ...] = ()


class Unread(NamedTuple):
    """A stream that has a decoder, but ffprobe did not see enough of it to describe it.

    ``scrambled`` says that nothing of it can be read without a key. ``starts_late`` says that it
    begins behind what the converter looks at.
    """

    kind: str
    codec: str
    stream_index: int
    scrambled: bool = False
    starts_late: bool = False


class MediaInfo(NamedTuple):
    """An audio or video file. ``video`` and ``audio`` have only streams that can be decoded.

    ``undecodable`` names the streams without a decoder, and ``unread`` those that begin after the
    part that ffprobe read. ``encrypted`` says that packets are encrypted. ``programs`` has the
    indexes of the streams that belong together. ``demuxer_options`` are the input options that make
    tools find all streams. ``container`` is ffprobe's ``format_name``. ``clock_restarts`` says that
    a time of the file may be in several places of it. ``attached_pics`` are images attached to the
    file, such as cover art. ``duration`` and ``start`` are in seconds. ``duration_is_exact`` says
    whether the file states its duration. If it does not, ffprobe estimates the duration from bit
    rates or timestamps.
    """

    container: str
    size_bytes: int
    duration: float | None = None
    duration_is_exact: bool = True
    start: float = 0.0
    video: tuple[VideoStream, ...] = ()
    audio: tuple[AudioStream, ...] = ()
    attached_pics: tuple[VideoStream, ...] = ()
    undecodable: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    encrypted: bool = False
    programs: tuple[frozenset[int], ...] = ()
    demuxer_options: tuple[str, ...] = ()
    clock_restarts: bool = False
    tags: tuple[tuple[str, str], ...] = ()


class ImageInfo(NamedTuple):
    """An image file. ``width`` and ``height`` are the size of one page, as stored.

    ``format`` is jpeg, png, webp, gif, heif, tiff or bmp. ``orientation`` is the EXIF value.
    ``canvas_pixels`` is the number of pixels that a GIF declares, which can be larger than its
    loader reports; 0 for other formats. ``needs_srgb`` says that the colours must be converted to
    sRGB, because the image has a profile or another colour space. ``held_bytes`` is how many bytes
    per pixel the loader keeps in memory for a whole page, 0 if it reads line by line.
    ``full_chroma`` says that a JPEG is 4:4:4. ``is_grey`` says that the image has no colours.
    ``copied_bytes`` is the size of the copies in memory that libvips reads instead of the file.
    ``delays`` of an animation are how long its frames are shown, in milliseconds, and ``loop`` is
    how often it is shown, 0 for ever.
    """

    format: str
    width: int
    height: int
    pages: int = 1
    orientation: int = 1
    canvas_pixels: int = 0
    needs_srgb: bool = True
    has_alpha: bool = False
    held_bytes: float = 0.0
    full_chroma: bool = False
    is_grey: bool = False
    copied_bytes: int = 0
    delays: tuple[int, ...] = ()
    loop: int = 0

    @property
    def is_animated(self) -> bool:
        """Whether the pages are frames of an animation."""
        return self.pages > 1 and self.format in ("gif", "webp")

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Width and height of a page after applying the orientation."""
        swaps_sides = self.orientation >= 5
        return (self.height, self.width) if swaps_sides else (self.width, self.height)
