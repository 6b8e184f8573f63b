"""Plans video_to_preview: a few seconds from several places of a video, without audio."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.options import PREVIEW_SECONDS
from media_converter.planning import memory
from media_converter.planning.filters import decoder_options, fit_box, video_filter
from media_converter.planning.plan import (
    NO_METADATA,
    OUTPUT_URL,
    PROGRESS,
    ConversionPlan,
    Evidence,
    Expected,
    Position,
    ffmpeg_command,
    read_from,
)
from media_converter.planning.video_codecs import CODECS
from media_converter.probing.media import MediaInfo, Ratio, VideoStream
from media_converter.step import INPUT, Stdout, Step
from media_converter.typed_options import PreviewOptions

_MAX_RATE: Final = {"mp4": 30, "webp": 10}
"""Frames per second."""
_CRF: Final = "23"
_WEBP_QUALITY: Final = "70"
_WEBP_BYTES_PER_PIXEL: Final = 4.8
"""What the encoder holds of each frame."""
_MAX_SECONDS: Final = max(PREVIEW_SECONDS)
_MAX_WEBP_SIDE: Final = 16_383
_MIN_RATE: Final = 5
_TRIES: Final = 3
_READ_AHEAD_SECONDS: Final = 1.0
"""A frame may be stored behind others that are shown later."""


Size = tuple[int, int]
"""Width and height in pixels."""


class Place(NamedTuple):
    """A part of the preview: where it may begin, in seconds, and how long it is."""

    candidates: tuple[float, ...]
    seconds: float


def places(duration: float, options: PreviewOptions, most: int) -> tuple[Place, ...]:
    """The parts of a preview of a video of ``duration`` seconds, at most ``most``.

    They never overlap. Of a video that is less than twice as long as the preview, there is one
    part. The other candidates are for a part that is dark.
    """
    total = min(duration, options.duration)
    count = min(options.segments, most) if duration >= 2 * total else 1
    seconds, gap = total / count, (duration - total) / count
    begins = [(number + 0.5) * gap + number * seconds for number in range(count)]
    step = gap / 2 / _TRIES
    return tuple(
        Place(tuple(round(begin + number * step, 3) for number in range(_TRIES)), seconds)
        for begin in begins
    )


def preview_size(video: VideoStream, options: PreviewOptions, output_format: str) -> Size:
    """Width and height of the preview. The sides of an MP4 are even."""
    width, height = fit_box(*video.displayed_size, options.size)
    if output_format != "mp4":
        return min(width, _MAX_WEBP_SIDE), min(height, _MAX_WEBP_SIDE)
    return max(2, width - width % 2), max(2, height - height % 2)


def needed_memory(
    video: VideoStream, size: Size, output_format: str, count: int, threads: int = 1
) -> int:
    """The memory that a preview of ``count`` parts takes, in bytes, with ``threads`` to encode.

    Each part has a decoder, and filters of its own.
    """
    tone_mapping = memory.for_tone_mapping(video, size)
    part = memory.for_decoding(video) - memory.FOR_COPY + tone_mapping
    if output_format == "mp4":
        settings = CODECS["h264"].settings[0]
        encoder = memory.encoding(video, size, (settings, threads), "h264") - tone_mapping
    else:
        pixels = size[0] * size[1]
        encoder = int(_MAX_RATE["webp"] * _MAX_SECONDS * pixels * _WEBP_BYTES_PER_PIXEL)
    return memory.FOR_COPY + count * part + encoder


def most_threads(
    video: VideoStream, size: Size, output_format: str, count: int, limits: Limits
) -> int:
    """The most threads, at least one, with which a preview of ``count`` parts fits the limit."""
    for threads in range(limits.threads, 1, -1):
        if memory.fits(needed_memory(video, size, output_format, count, threads), limits):
            return threads
    return 1


def most_parts(
    video: VideoStream, size: Size, output_format: str, count: int, limits: Limits
) -> int:
    """How many of ``count`` parts fit into the memory limit, with one thread to encode.

    Raises ConversionError with the reason NeedsMemory if not even one does.
    """
    for parts in range(count, 0, -1):
        if memory.fits(needed_memory(video, size, output_format, parts), limits):
            return parts
    enough = memory.sufficient_limit(needed_memory(video, size, output_format, 1))
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"a preview of {size[0]}x{size[1]} pixels of this video needs a memory limit of {enough} "
        f"MiB, but the limit is {(limits.memory or 0) >> 20} MiB; raise the limit, or choose a "
        "smaller size",
    )


class Part(NamedTuple):
    """A part that was chosen: the frame that is on the screen when it begins, and its length."""

    position: Position
    seconds: float


class Look(NamedTuple):
    """How a preview looks: its size in pixels, its format, the colour behind transparent frames."""

    size: Size
    output_format: str
    background: str


def plan_preview(
    info: MediaInfo, video: VideoStream, parts: Sequence[Part], look: Look, limits: Limits
) -> ConversionPlan:
    """Plan a preview of these parts. ffmpeg seeks to each of them, and reads nothing else."""
    size, output_format, _ = look
    argv = ffmpeg_command(limits, _input(video, parts[0]), demuxer_options=info.demuxer_options)
    # Options before an input hold for this input only.
    common = argv[argv.index("-threads") : argv.index("-an")]
    for part in parts[1:]:
        argv += [*common, *_input(video, part), "-i", f"file:{INPUT}"]
    rate = _rate(video, output_format)
    frames = _frames(parts, rate)
    graph = ";".join(
        f"[{number}:{video.stream_index}]{_filters(video, part, look, rate, count)}[{number}]"
        for number, (part, count) in enumerate(zip(parts, frames, strict=True))
    )
    inputs = "".join(f"[{number}]" for number in range(len(parts)))
    argv += ["-filter_complex", f"{graph};{inputs}concat=n={len(parts)}[all]", "-map", "[all]"]
    threads = most_threads(video, size, output_format, len(parts), limits)
    argv += [*NO_METADATA, *PROGRESS, *_encoder_options(frames, rate, output_format, threads)]
    seconds = sum(frames) * rate[1] / rate[0]
    return ConversionPlan(
        step=Step("encode", (*argv, OUTPUT_URL), Stdout.LINES),
        expected=Expected(
            container=output_format,
            video_codec="h264" if output_format == "mp4" else None,
            size=size,
            duration=seconds,
            frames=sum(frames),
        ),
        summary=f"preview: {video.codec} {video.width}x{video.height} -> {output_format} "
        f"{size[0]}x{size[1]}, {seconds:g} s from {len(parts)} places",
        duration=seconds,
        video_index=video.stream_index,
        start=parts[0].position.time,
    )


def _input(video: VideoStream, part: Part) -> list[str]:
    position = part.position
    # A frame may be shown for longer than the part lasts.
    seconds = max(part.seconds, position.seconds_left()) + _READ_AHEAD_SECONDS
    seconds += position.time - (position.seek or 0.0)
    return [
        *("-an", "-sn", "-dn", *read_from(position).input_options),
        *("-t", f"{seconds:.6f}", *decoder_options(video)),
    ]


def _filters(video: VideoStream, part: Part, look: Look, rate: Ratio, frames: int) -> str:
    filters = [*read_from(part.position).video_filters]
    # Nothing is known of the frames, so fit frames of any size.
    evidence = Evidence(size_varies=True)
    filters.append(video_filter(video, look.size, None, look.background, evidence))
    filters += [f"fps={rate[0]}/{rate[1]}:start_time=0:eof_action=pass", f"trim=end_frame={frames}"]
    return ",".join(filters)


def _rate(video: VideoStream, output_format: str) -> Ratio:
    """Frames per second. Frames of a slide show are repeated."""
    most, known = _MAX_RATE[output_format], video.avg_frame_rate or video.r_frame_rate
    if known and _MIN_RATE <= known[0] / known[1] <= most:
        return known
    return most, 1


def _frames(parts: Sequence[Part], rate: Ratio) -> list[int]:
    """How many frames each part has, at least one. Together they are as long as the parts."""
    ends = accumulate(part.seconds * rate[0] / rate[1] for part in parts)
    places = [0, *map(round, ends)]
    return [max(1, end - begin) for begin, end in pairwise(places)]


def _encoder_options(
    frames: Sequence[int], rate: Ratio, output_format: str, threads: int
) -> list[str]:
    if output_format == "webp":
        # The encoder of animations does not write one with a single frame.
        codec = "libwebp_anim" if sum(frames) > 1 else "libwebp"
        return ["-c:v", codec, "-quality", _WEBP_QUALITY, "-loop", "0", "-f", "webp"]
    begins = [before * rate[1] / rate[0] for before in accumulate(frames[:-1], initial=0)]
    settings = CODECS["h264"].settings[0]
    return [
        *("-c:v", "libx264", "-preset", settings.preset, "-crf", _CRF),
        *("-a53cc", "0", "-x264-params", settings.parameters, "-profile:v", "high"),
        *("-threads:v", str(threads)),
        *("-force_key_frames", ",".join(f"{begin:.6f}" for begin in begins)),
        *("-movflags", "+faststart", "-f", "mp4"),
    ]
