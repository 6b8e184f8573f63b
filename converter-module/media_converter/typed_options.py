"""The options of each conversion type, read and checked, with their defaults."""

from typing import Final, NamedTuple

DEFAULT_BITRATE: Final = 192
DEFAULT_SIZE: Final = (800, 600)
DEFAULT_QUALITY: Final = 85
DEFAULT_WAVEFORM_SIZE: Final = (800, 250)
DEFAULT_TILE_SIZE: Final = (160, 160)
DEFAULT_PREVIEW_SIZE: Final = (640, 640)
DEFAULT_CODECS: Final = {"mp4": "h264", "webm": "vp9"}
"""The codec of the video, by container."""


class VideoOptions(NamedTuple):
    """The options of video_to_mp4 and video_to_webm, which differ in ``container``.

    ``resolution`` is the maximum of the shorter side in pixels. ``size`` is the box, in pixels,
    that the video fits into (``fit`` contain) or fills (cover). Times are in seconds.
    ``max_bitrate`` is in kbit/s, None for the limit of the quality. If ``video_codec`` is None, any
    codec that may be copied into the container is copied, and a video that is encoded gets the
    default codec of the container. ``audio`` is keep or none. ``loudness`` is in LUFS.
    """

    quality: str | None = None
    resolution: int | None = None
    start: float = 0.0
    duration: float | None = None
    max_bitrate: int | None = None
    video_codec: str | None = None
    container: str = "mp4"
    max_frame_rate: int | None = None
    audio: str = "keep"
    loudness: float | None = None
    size: tuple[int, int] | None = None
    fit: str = "contain"

    @property
    def codec(self) -> str:
        """The codec that a video is encoded to."""
        return self.video_codec or DEFAULT_CODECS[self.container]


class AudioOptions(NamedTuple):
    """The options of audio_to_mp3 and audio_convert.

    ``bitrate`` is in kbit/s, None for the default of the format. Times are in seconds. ``channels``
    is mono or stereo, None for the default. ``loudness`` is in LUFS, None for that of the input.
    """

    bitrate: int | None = DEFAULT_BITRATE
    start: float = 0.0
    duration: float | None = None
    channels: str | None = None
    loudness: float | None = None


class ImageOptions(NamedTuple):
    """The options of image_resize.

    ``width`` and ``height`` are the box, in pixels, that the image fits into (``fit`` contain) or
    fills (cover). ``gravity`` is which part of it then remains. Transparent pixels are laid on
    ``background``, RRGGBB. None: only if the format has no transparency.
    """

    width: int = DEFAULT_SIZE[0]
    height: int = DEFAULT_SIZE[1]
    quality: int = DEFAULT_QUALITY
    fit: str = "contain"
    gravity: str = "centre"
    background: str | None = None


class ThumbnailOptions(NamedTuple):
    """The options of extract_thumbnail. ``time`` is in seconds, ``size`` in pixels.

    ``share`` is the time as a share of the duration, 0 to 1. None means the default time, the size
    of the video, the default quality.
    """

    time: float | None = None
    size: tuple[int, int] | None = None
    quality: int | None = None
    share: float | None = None


class InfoOptions(NamedTuple):
    """The options of media_info. ``placeholder`` is thumbhash, blurhash or None."""

    loudness: str | None = None
    placeholder: str | None = None


class WaveformOptions(NamedTuple):
    """The options of audio_waveform. ``size`` is in pixels. Colours are RRGGBB or transparent."""

    size: tuple[int, int] = DEFAULT_WAVEFORM_SIZE
    colour: str = "1E90FF"
    background: str = "transparent"
    samples_per_pixel: int = 256


class StoryboardOptions(NamedTuple):
    """The options of video_storyboard. ``size`` is the box, in pixels, of one image.

    ``interval`` is in seconds. Without it and ``images``, the option count, the number of images
    is the default.
    """

    interval: float | None = None
    images: int | None = None
    columns: int = 10
    size: tuple[int, int] = DEFAULT_TILE_SIZE


class PreviewOptions(NamedTuple):
    """The options of video_to_preview. ``size`` is a box in pixels, ``duration`` in seconds."""

    duration: float = 6
    size: tuple[int, int] = DEFAULT_PREVIEW_SIZE
    segments: int = 4


Options = (
    VideoOptions
    | AudioOptions
    | ImageOptions
    | ThumbnailOptions
    | InfoOptions
    | WaveformOptions
    | StoryboardOptions
    | PreviewOptions
)
