"""extract_thumbnail: one picture of a video, upright, in its displayed shape."""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.media import MediaInfo, VideoStream
from media_converter.options import ThumbnailOptions
from media_converter.pictures import decoder_options, fit_box, still_filter
from media_converter.plan import Expected, Plan, ffmpeg_input, output_name
from media_converter.process import Step

DEFAULT_TIME: Final = 1.0
DEFAULT_QUALITY: Final = 94
"""What ``-q:v 2`` is on this scale."""

# What an extension may stand for, by the name of the format.
CODECS: Final = {"jpeg": "mjpeg", "png": "png", "webp": "webp", "avif": "av1"}

# Where else to look when the default moment is black: fractions of the length.
_OTHER_MOMENTS: Final = (0.1, 0.25, 0.5, 0.75)
_LUMA_SIDE: Final = 16
_DARK: Final = 30
# How far before the end the search for the last frame begins, in seconds.
_TAIL: Final = 3.0


class Request(NamedTuple):
    """A picture of ``video`` in ``info``, in the format ``form``, see-through parts on RRGGBB."""

    info: MediaInfo
    video: VideoStream
    options: ThumbnailOptions
    limits: Limits
    form: str
    background: str


def moments(request: Request) -> tuple[float, ...]:
    """The moments to try, in order, in seconds from the start of the file.

    A moment that was asked for is the only one. The default is followed by a few others for
    clips that begin with black, and by the very first frame.
    """
    if request.options.time is not None:
        return (request.options.time,)
    length = request.video.duration or request.info.duration
    if length is None:
        return (DEFAULT_TIME, 0.0)
    first = DEFAULT_TIME if length > DEFAULT_TIME + 0.1 else length / 2
    others = (length * fraction for fraction in _OTHER_MOMENTS)
    return tuple(dict.fromkeys(round(moment, 3) for moment in (first, *others, 0.0)))


def plan(request: Request, moment: float) -> Plan:
    """The plan of a picture at ``moment``; on standard output come its 16 x 16 grey values."""
    return _plan(request, moment, ("-frames:v", "1"))


def plan_last(request: Request) -> Plan:
    """The plan of the last picture: each one overwrites the one before it."""
    length = request.video.duration or request.info.duration or 0.0
    return _plan(request, max(0.0, length - _TAIL), ())


def is_dark(light: float) -> bool:
    """Whether a picture of this mean light is so dark that nothing is seen."""
    return light < _DARK


def _plan(request: Request, moment: float, count: tuple[str, ...]) -> Plan:
    video, box, form = request.video, request.options.size, request.form
    size = video.displayed if box is None else fit_box(*video.displayed, box)
    picture = still_filter(video, size, form, request.background)
    graph = (
        f"[0:{video.number}]{picture},split[picture][copy];"
        f"[copy]scale={_LUMA_SIDE}:{_LUMA_SIDE}:out_range=pc,format=gray[grey]"
    )
    seek = ("-ss", f"{moment:.6f}") if moment else ()
    # Frames no other refers to need not be decoded on the way to a moment nobody asked for exactly.
    skip = ("-skip_frame", "noref") if request.options.time is None and count else ()
    argv = (
        *ffmpeg_input(request.limits, "-an", "-sn", "-dn", *skip, *seek, *decoder_options(video)),
        *("-filter_complex", graph),
        *("-map", "[picture]", *count, "-map_metadata", "-1", "-fps_mode", "passthrough"),
        *_encoder(form, request.options.quality or DEFAULT_QUALITY),
        output_name(),
        *("-map", "[grey]", *count, "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"),
    )
    return Plan(
        step=Step("extract", argv),
        expected=Expected(container=form, video_codec=CODECS[form], size=size),
        note=f"{video.codec} {video.width}x{video.height} to {form} {size[0]}x{size[1]}",
    )


def _encoder(form: str, quality: int) -> tuple[str, ...]:
    match form:
        case "jpeg":
            scale = str(jpeg_scale(quality))
            return ("-c:v", "mjpeg", "-q:v", scale, "-update", "1", "-f", "image2")
        case "png":
            return ("-c:v", "png", "-update", "1", "-f", "image2")
        case "webp":
            return ("-c:v", "libwebp", "-quality", str(quality), "-f", "webp")
        case _:
            crf = str(round((100 - quality) * 63 / 100))
            return (
                *("-c:v", "libaom-av1", "-still-picture", "1", "-crf", crf, "-cpu-used", "6"),
                *("-f", "avif"),
            )


def jpeg_scale(quality: int) -> int:
    """ffmpeg's -q:v, 2 (best) to 31, for a quality of 1 to 100 as libjpeg counts it."""
    percent = 200 - 2 * quality if quality >= 50 else 5000 / quality
    return max(2, min(31, round(percent * 0.169)))
