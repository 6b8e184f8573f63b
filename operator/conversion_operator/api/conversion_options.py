"""``spec.options`` of a ConversionJob. ``kubectl explain`` prints the docstrings of the fields.

The integers and strings that an option takes come from GRAMMAR. Which conversion type has which
option is a matter of :mod:`conversion_operator.api.option_rules`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from conversion_operator.api.api_model import ApiModel
from media_converter.options import GRAMMAR, MAX_LENGTH


def _integers(name: str) -> Any:
    """The integers an option takes, in any conversion type.

    Strict: pydantic would also read True and strings such as "+5" or " 5 " as integers.
    """
    bounds = [bound for row in GRAMMAR if row.name == name for bound in row.kind.integers or ()]
    return Field(strict=True, ge=min(bounds), le=max(bounds))


def _strings(name: str) -> StringConstraints:
    """The strings an option takes, in any conversion type."""
    patterns = [row.kind.pattern for row in GRAMMAR if row.name == name]
    return StringConstraints(max_length=MAX_LENGTH, pattern="|".join(patterns))


Resolution = Annotated[int, _integers("resolution")] | Annotated[str, _strings("resolution")]
MaxFrameRate = Annotated[int, _integers("maxFrameRate")] | Annotated[str, _strings("maxFrameRate")]
MaxBitrate = Annotated[int, _integers("maxBitrate")] | Annotated[str, _strings("maxBitrate")]
Bitrate = Annotated[int, _integers("bitrate")] | Annotated[str, _strings("bitrate")]
Quality = Annotated[int, _integers("quality")] | Annotated[str, _strings("quality")]
Start = Annotated[int, _integers("start")] | Annotated[str, _strings("start")]
Duration = Annotated[int, _integers("duration")] | Annotated[str, _strings("duration")]
Loudness = Annotated[int, _integers("loudness")] | Annotated[str, _strings("loudness")]
SamplesPerPixel = (
    Annotated[int, _integers("samplesPerPixel")] | Annotated[str, _strings("samplesPerPixel")]
)
Time = Annotated[int, _integers("time")] | Annotated[str, _strings("time")]
Interval = Annotated[int, _integers("interval")] | Annotated[str, _strings("interval")]
Count = Annotated[int, _integers("count")] | Annotated[str, _strings("count")]
Segments = Annotated[int, _integers("segments")] | Annotated[str, _strings("segments")]
Columns = Annotated[int, _integers("columns")] | Annotated[str, _strings("columns")]


class ConversionOptions(ApiModel):
    """Options of the conversion. Each applies only to some conversion types."""

    video_codec: Annotated[str, _strings("videoCodec")] | None = None
    """Codec that the video is encoded to. hevc and av1 make smaller files than h264, but fewer
    players have them, and encoding takes longer. Allowed: h264, hevc or av1 for video_to_mp4; vp9
    or av1 for video_to_webm. Default: h264 for video_to_mp4, vp9 for video_to_webm.
    """
    quality: Quality | None = None
    """Quality of the output. A higher quality makes a larger file. Allowed: low, medium or high for
    video_to_mp4 and video_to_webm; 1 to 100, as a number or a string, for image_resize and
    extract_thumbnail. Default: medium for videos, 85 for image_resize, 94 for extract_thumbnail.
    """
    resolution: Resolution | None = None
    """Maximum length of the short side of the output, for video_to_mp4 and video_to_webm. A smaller
    video is not enlarged. Allowed: 240p, 360p, 480p, 720p, 1080p, 1440p or 2160p, or the number
    without p. Default: the size of the input.
    """
    max_bitrate: MaxBitrate | None = None
    """Highest bit rate of the video, for video_to_mp4 and video_to_webm. A video with a higher bit
    rate is encoded, not copied. It can only lower the limit that quality sets. Allowed: 100 to
    100000 kbit/s, as a whole number (4000) or a string ("4000k"). Default: the limit of the
    quality, which depends on the size and the frame rate: 5760 for medium at 720p with 25 frames
    per second.
    """
    max_frame_rate: MaxFrameRate | None = None
    """Highest frame rate, in frames per second, for video_to_mp4 and video_to_webm. A lower one is
    not changed. Allowed: 1 to 60, as a number or a string. Default: 60.
    """
    audio: Annotated[str, _strings("audio")] | None = None
    """Whether the output has the audio of the video, for video_to_mp4 and video_to_webm. Allowed:
    keep or none. Default: keep.
    """
    bitrate: Bitrate | None = None
    """Bit rate of the output, for audio_to_mp3, and for audio_convert to .m4a, .opus and .ogg.
    A bit rate that the format does not have for mono or stereo becomes the nearest one. Allowed:
    32k, 40k, 48k, 56k, 64k, 80k, 96k, 112k, 128k, 160k, 192k, 224k, 256k or 320k, or the number
    without k. Default: 192k for audio_to_mp3; 128k for .m4a and .ogg, 96k for .opus; in mono
    96k for .m4a, 80k for .ogg, 64k for .opus.
    """
    channels: Annotated[str, _strings("channels")] | None = None
    """Channels of the output, for audio_to_mp3 and audio_convert. Allowed: mono or stereo. Default:
    mono for a mono input, stereo for all others.
    """
    start: Start | None = None
    """Start of the part to convert, for video_to_mp4, video_to_webm, audio_to_mp3 and
    audio_convert. Allowed: 0 to 604800 seconds, as a whole number (90) or a string ("1.5" or
    "HH:MM:SS.mmm"). Default: 0.
    """
    duration: Duration | None = None
    """Length of the part to convert, for video_to_mp4, video_to_webm, audio_to_mp3 and
    audio_convert. Allowed: more than 0 and up to 604800 seconds, as a whole number (90) or a string
    ("1.5" or "HH:MM:SS.mmm"). Default: up to the end of the input. For video_to_preview, the length
    of the output. Allowed: 3 to 10 seconds, as a whole number (6) or a string ("6s"). Default: 6.
    """
    size: Annotated[str, _strings("size")] | None = None
    """Box in pixels that the output fits into, for video_to_mp4, video_to_webm, image_resize and
    extract_thumbnail. The aspect ratio is kept, and nothing is enlarged. With fit cover, the box
    that the output fills. Does not go together with resolution. For audio_waveform to .png, the
    size of the drawing. For video_storyboard, the box of one image. For video_to_preview, a box
    as for image_resize. Allowed: WIDTHxHEIGHT, each 1 to 16384. Default: 800x600 for image_resize
    if it is the single output, otherwise the size of the input; the size of the video for
    video_to_mp4, video_to_webm and extract_thumbnail; 800x250 for audio_waveform; 160x160 for
    video_storyboard; 640x640 for video_to_preview.
    """
    fit: Annotated[str, _strings("fit")] | None = None
    """Whether the output fits into the size or fills it, for video_to_mp4, video_to_webm and
    image_resize. Allowed: contain, or cover: what is outside of the aspect ratio is cut off, and
    nothing is enlarged. The middle of a video remains. cover needs size. Default: contain.
    """
    gravity: Annotated[str, _strings("gravity")] | None = None
    """Which part of the image remains, for image_resize with fit cover. Allowed: centre, north,
    north-east, east, south-east, south, south-west, west or north-west; attention for the part that
    draws the eye; entropy for the part with the most detail. Default: centre.
    """
    colour: Annotated[str, _strings("colour")] | None = None
    """Colour of the waveform, for audio_waveform to .png. Allowed: RRGGBB in quotes, such as
    "1E90FF", or transparent. Default: 1E90FF, a blue.
    """
    background: Annotated[str, _strings("background")] | None = None
    """Colour behind the waveform, for audio_waveform to .png, or behind the transparent pixels of
    an image, for image_resize. Allowed: RRGGBB in quotes, such as "FFFFFF", or transparent for
    audio_waveform. Default: transparent for audio_waveform; for image_resize white, if the output
    format has no transparency.
    """
    samples_per_pixel: SamplesPerPixel | None = None
    """How many samples one pair of peaks stands for, for audio_waveform to .json. Allowed: 64, 128,
    256, 512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536. Default: 256.
    """
    time: Time | None = None
    """Time of the frame in the video, for extract_thumbnail. Allowed: 0 to 604800 seconds,
    as a whole number (90) or a string ("1.5" or "HH:MM:SS.mmm"), or a percentage of the duration
    ("25%"), at most 100%. Default: 1 second, or the middle of a shorter video. If that frame is
    black, another frame is used.
    """

    loudness: Loudness | None = None
    """Loudness of the output by EBU R128, for video_to_mp4, video_to_webm, audio_to_mp3 and
    audio_convert. The gain is linear. Only where it would clip, peaks are limited, and the true
    peak is at most -1 dBTP. For media_info, whether the loudness is measured. Allowed: LUFS from
    -40 to -9 as a whole number (-16) or a string ("-16.5"); measure for media_info. Default: the
    loudness of the input; it is not measured.
    """
    placeholder: Annotated[str, _strings("placeholder")] | None = None
    """What a page shows while the image loads, for media_info. The document then also has the
    dominant colour. Allowed: thumbhash or blurhash. Default: none.
    """
    interval: Interval | None = None
    """Time between two images, for video_storyboard. Does not go together with count. A
    storyboard has at most 1000 images: if that is too few for this interval, they are further
    apart, and a warning says so. Allowed: more than 0 and up to 604800 seconds, as a whole number
    (10) or a string ("2.5" or "HH:MM:SS.mmm"). Default: see count.
    """
    count: Count | None = None
    """Number of images, for video_storyboard. Does not go together with interval. Allowed: 1 to
    1000, as a number or a string. Default: 100, or fewer, so that there is at most one for each
    second.
    """
    columns: Columns | None = None
    """Number of images in a row, for video_storyboard. Allowed: 1 to 100, as a number or a
    string. Default: 10.
    """

    segments: Segments | None = None
    """Number of places that the output shows, for video_to_preview. Allowed: 1 to 10, as a number
    or a string. Default: 4.
    """

    @field_validator(
        *("quality", "resolution", "bitrate", "start", "duration", "time", "samples_per_pixel"),
        *("loudness", "max_bitrate", "max_frame_rate", "interval", "count", "columns", "segments"),
        mode="before",
    )
    @classmethod
    def _read_whole(cls, value: object) -> object:
        """JSON does not tell 90.0 from 90. The API server does, so it gets 90."""
        return int(value) if isinstance(value, float) and value.is_integer() else value
