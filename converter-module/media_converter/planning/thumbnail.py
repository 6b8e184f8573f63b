"""Plans extract_thumbnail, which makes an image of one frame as players display it."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.planning.filters import decoder_options, fit_box, fit_varying, still_filter
from media_converter.planning.plan import (
    OUTPUT_URL,
    ConversionPlan,
    Expected,
    Position,
    ffmpeg_command,
    read_from,
)
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.step import Step
from media_converter.typed_options import ThumbnailOptions

DEFAULT_TIME: Final = 1.0
DEFAULT_QUALITY: Final = 94
"""For JPEG, this is ffmpeg's ``-q:v 2``."""

# The codec of each output format.
CODECS: Final = {"jpeg": "mjpeg", "png": "png", "webp": "webp", "avif": "av1"}

# Other times to try if the frame at the default time is dark, as fractions of the duration.
_OTHER_FRACTIONS: Final = (0.1, 0.25, 0.5, 0.75)
_LUMA_SIDE: Final = 16
_MIN_LUMA: Final = 30
TAIL_SECONDS: Final = 3.0
"""The search for the last frame starts this many seconds before the end."""


class ThumbnailRequest(NamedTuple):
    """What to extract: a frame of ``video``, a stream of the file ``info``, as ``output_format``.

    Transparent pixels are laid on ``background``, a colour as RRGGBB.
    """

    info: MediaInfo
    video: VideoStream
    options: ThumbnailOptions
    limits: Limits
    output_format: str
    background: str

    @property
    def duration(self) -> float | None:
        """Duration of the video in seconds."""
        return self.video.duration or self.info.duration


def candidate_times(request: ThumbnailRequest) -> tuple[float, ...]:
    """The times to try, in order, in seconds from the start of the file.

    If a time was requested, there is no other. Otherwise the default time comes first. A few other
    times follow, for videos that start with black, and then the time of the first frame.
    """
    if request.options.time is not None:
        return (request.options.time,)
    duration = request.duration
    if duration is None:
        return (DEFAULT_TIME, 0.0)
    default_time = DEFAULT_TIME if duration > DEFAULT_TIME + 0.1 else duration / 2
    other_times = (duration * fraction for fraction in _OTHER_FRACTIONS)
    return tuple(dict.fromkeys(round(time, 3) for time in (default_time, *other_times, 0.0)))


def plan_thumbnail(
    request: ThumbnailRequest, position: Position, *, size_varies: bool = False
) -> ConversionPlan:
    """Plan a frame. Standard output receives 16 x 16 luma values of it.

    ``size_varies`` says that its size or the shape of its pixels is not that of the first frame.
    """
    # The default time need not be exact, so skip frames that no other frame refers to.
    skip_options = ["-skip_frame", "noref"] if request.options.time is None else []
    fit = fit_varying(request.video.displayed_size) if size_varies else []
    return _plan(request, position, skip_options, ["-frames:v", "1"], fit)


def plan_last_frame(request: ThumbnailRequest, position: Position) -> ConversionPlan:
    """Plan the last frame. ffmpeg writes each frame after ``position`` over the previous one."""
    return _plan(request, position)


def is_dark(mean_luma: float) -> bool:
    """Whether a frame with this mean luma, 0 to 255, is too dark for a thumbnail."""
    return mean_luma < _MIN_LUMA


def _plan(
    request: ThumbnailRequest,
    position: Position,
    skip_options: Iterable[str] = (),
    frame_limit: Iterable[str] = (),
    fit: Iterable[str] = (),
) -> ConversionPlan:
    video, box, output_format = request.video, request.options.size, request.output_format
    size = video.displayed_size if box is None else fit_box(*video.displayed_size, box)
    reading = read_from(position)
    filters = still_filter(video, size, output_format, request.background)
    graph = (
        f"[0:{video.stream_index}]{','.join([*reading.video_filters, *fit, filters])},"
        f"split[image][copy];"
        f"[copy]scale={_LUMA_SIDE}:{_LUMA_SIDE}:out_range=pc,format=gray[grey]"
    )

    input_options = ["-an", "-sn", "-dn", *skip_options, *reading.input_options]
    input_options += decoder_options(video)
    argv = ffmpeg_command(
        request.limits, input_options, demuxer_options=request.info.demuxer_options
    )
    argv += ["-filter_complex", graph]
    argv += ["-map", "[image]", *frame_limit, "-map_metadata", "-1", "-fps_mode", "passthrough"]
    argv += _encoder_options(output_format, request.options.quality or DEFAULT_QUALITY)
    argv += [OUTPUT_URL]
    argv += ["-map", "[grey]", *frame_limit, "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]

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
    """Convert libjpeg's quality, 1 to 100 (best), to ffmpeg's -q:v, 31 to 2 (best)."""
    table_percent = 200 - 2 * quality if quality >= 50 else 5000 / quality
    return max(2, min(31, round(table_percent * 0.169)))
