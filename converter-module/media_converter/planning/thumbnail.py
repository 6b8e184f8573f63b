"""Plans extract_thumbnail: one frame of a video, upright, in its displayed shape."""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.options import ThumbnailOptions
from media_converter.planning.filters import decoder_options, fit_box, still_filter
from media_converter.planning.plan import OUTPUT_URL, ConversionPlan, Expected, ffmpeg_input
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.step import Step

DEFAULT_TIME: Final = 1.0
DEFAULT_QUALITY: Final = 94
"""The same as ``-q:v 2``."""

# The codec of each output format.
CODECS: Final = {"jpeg": "mjpeg", "png": "png", "webp": "webp", "avif": "av1"}

# Where else to look if the frame at the default time is black, as fractions of the duration.
_OTHER_TIMES: Final = (0.1, 0.25, 0.5, 0.75)
_LUMA_SIDE: Final = 16
_DARK: Final = 30
# The search for the last frame starts this many seconds before the end.
_TAIL: Final = 3.0


class ThumbnailRequest(NamedTuple):
    """A frame of ``video`` in ``info`` as a ``format``, with transparent pixels on RRGGBB."""

    info: MediaInfo
    video: VideoStream
    options: ThumbnailOptions
    limits: Limits
    format: str
    background: str

    @property
    def duration(self) -> float | None:
        """Duration of the video in seconds."""
        return self.video.duration or self.info.duration


def candidate_times(request: ThumbnailRequest) -> tuple[float, ...]:
    """The times to try, in order, in seconds from the start of the file.

    A requested time is the only one. The default time is followed by a few others, for videos that
    start with black, and by the first frame.
    """
    if request.options.time is not None:
        return (request.options.time,)
    duration = request.duration
    if duration is None:
        return (DEFAULT_TIME, 0.0)
    first = DEFAULT_TIME if duration > DEFAULT_TIME + 0.1 else duration / 2
    others = (duration * fraction for fraction in _OTHER_TIMES)
    return tuple(dict.fromkeys(round(time, 3) for time in (first, *others, 0.0)))


def plan_thumbnail(request: ThumbnailRequest, time: float) -> ConversionPlan:
    """Plan the frame at ``time``. Standard output receives 16 x 16 luma values of it."""
    # A default time need not be exact, so skip frames that no other frame refers to.
    skip = ["-skip_frame", "noref"] if request.options.time is None else []
    return _plan(request, time, skip, ["-frames:v", "1"])


def plan_last_frame(request: ThumbnailRequest) -> ConversionPlan:
    """Plan the last frame: each frame overwrites the one before it."""
    return _plan(request, max(0.0, (request.duration or 0.0) - _TAIL), [], [])


def is_dark(mean_luma: float) -> bool:
    """Whether a frame with this mean luma, 0 to 255, is too dark to show anything."""
    return mean_luma < _DARK


def _plan(
    request: ThumbnailRequest, time: float, skip: list[str], count: list[str]
) -> ConversionPlan:
    video, box, output_format = request.video, request.options.size, request.format
    size = video.displayed if box is None else fit_box(*video.displayed, box)
    graph = (
        f"[0:{video.stream_index}]{still_filter(video, size, output_format, request.background)},"
        f"split[image][copy];"
        f"[copy]scale={_LUMA_SIDE}:{_LUMA_SIDE}:out_range=pc,format=gray[grey]"
    )

    input_options = ["-an", "-sn", "-dn", *skip]
    if time:
        input_options += ["-ss", f"{time:.6f}"]
    input_options += decoder_options(video)
    argv = ffmpeg_input(request.limits, input_options)
    argv += ["-filter_complex", graph]
    argv += ["-map", "[image]", *count, "-map_metadata", "-1", "-fps_mode", "passthrough"]
    argv += _encoder_options(output_format, request.options.quality or DEFAULT_QUALITY)
    argv += [OUTPUT_URL]
    argv += ["-map", "[grey]", *count, "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]

    return ConversionPlan(
        step=Step("extract", tuple(argv)),
        expected=Expected(container=output_format, video_codec=CODECS[output_format], size=size),
        summary=f"thumbnail: {video.codec} {video.width}x{video.height}"
        f" -> {output_format} {size[0]}x{size[1]}",
    )


def _encoder_options(output_format: str, quality: int) -> list[str]:
    match output_format:
        case "jpeg":
            scale = str(jpeg_scale(quality))
            return ["-c:v", "mjpeg", "-q:v", scale, "-update", "1", "-f", "image2"]
        case "png":
            return ["-c:v", "png", "-update", "1", "-f", "image2"]
        case "webp":
            return ["-c:v", "libwebp", "-quality", str(quality), "-f", "webp"]
        case _:
            crf = str(round((100 - quality) * 63 / 100))
            argv = ["-c:v", "libaom-av1", "-still-picture", "1", "-crf", crf, "-cpu-used", "6"]
            return [*argv, "-f", "avif"]


def jpeg_scale(quality: int) -> int:
    """Convert a quality of 1 to 100, as libjpeg counts it, to ffmpeg's -q:v, 31 to 2 (best)."""
    percent = 200 - 2 * quality if quality >= 50 else 5000 / quality
    return max(2, min(31, round(percent * 0.169)))
