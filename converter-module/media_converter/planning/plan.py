"""Defines the conversion plan, and builds the parts of an ffmpeg command that plans share.

A plan depends only on its arguments: it reads no file and runs no tool.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from media_converter.limits import Limits
from media_converter.planning.gain import Gain
from media_converter.probing.media import MAX_FRAME_PIXELS
from media_converter.probing.pixel_shapes import Shapes
from media_converter.probing.rates import Rates
from media_converter.step import INPUT, OUTPUT, Step, output_path

FFMPEG: Final = "/opt/ffmpeg/bin/ffmpeg"
OUTPUT_URL: Final = f"file:{OUTPUT}"
NO_METADATA: Final = ("-map_metadata", "-1", "-map_chapters", "-1")
"""Drops all tags and chapters, which can reveal a GPS position, a device or an author.

An audio output then gets back the tags of :mod:`planning.tags`.
"""
_ROUNDING_MARGIN_SECONDS: Final = 0.0005
PROGRESS: Final = ("-nostats", "-stats_period", "1", "-progress", "pipe:1")
"""Options that print progress on standard output, once per second."""


class Expected(NamedTuple):
    """What the output must be. None means that the output may have any value.

    ``size`` is width and height in pixels. Durations are in seconds. ``frames`` is the largest
    number of frames that an animation may have.
    """

    container: str
    video_codec: str | None = None
    audio_codec: str | None = None
    size: tuple[int, int] | None = None
    duration: float | None = None
    video_duration: float | None = None
    audio_duration: float | None = None
    frames: int | None = None


WHOLE: Final = (1.0, 1.0)
"""The whole frame: nothing is cropped."""


class OutputParts(NamedTuple):
    """The parts of the ffmpeg command for one output video.

    :mod:`planning.together` makes the command for one or several videos from them.

    ``command_start`` is the command up to and including the inputs. ``video_index`` is the stream
    index of the video in input 0. ``audio_map`` is the -map argument of the audio, such as 0:1, and
    None if the output has no audio. ``video_options`` are the output options of the video.
    ``audio_options`` encode the audio, and are empty if it is copied. ``duration`` limits the
    output, in seconds. ``muxer`` are the options of the container.
    """

    command_start: tuple[str, ...]
    video_index: int
    audio_map: str | None
    video_options: tuple[str, ...]
    audio_options: tuple[str, ...]
    duration: float | None
    muxer: tuple[str, ...]


class ConversionPlan(NamedTuple):
    """The step to run and what its output must be.

    ``summary`` is a line for the log. ``duration`` is how many seconds of media the step
    processes. It is for progress only and may be an estimate. ``video_index`` and ``audio_index``
    are the streams that it reads. ``joined`` are the tracks if the audio is joined from several.
    ``save`` is an optional second step. It reads what the first step wrote to memory, and writes
    the output. ``kept`` is the fraction of the displayed width and height that is not cropped.
    ``output_parts`` is set for videos.
    """

    step: Step
    expected: Expected
    summary: str
    duration: float | None = None
    video_index: int | None = None
    audio_index: int | None = None
    copies_video: bool = False
    copies_audio: bool = False
    start: float = 0.0
    joined: tuple[int, ...] = ()
    save: Step | None = None
    warnings: tuple[str, ...] = ()
    kept: tuple[float, float] = WHOLE
    output_parts: OutputParts | None = None

    @property
    def audio_indexes(self) -> tuple[int, ...]:
        """The streams of the input that the audio comes from."""
        return self.joined or (() if self.audio_index is None else (self.audio_index,))


def output_url(number: int) -> str:
    """The URL of an output, if ffmpeg writes several."""
    return f"file:{output_path(number)}"


class Position(NamedTuple):
    """The frame that a player shows at ``time``, and where to seek to decode it.

    Times are seconds from the start of the file. ``frame_time`` is when the frame appears, and
    ``frame_duration`` is how long it is shown. ``frame_time`` is None and ``frame_duration`` is 0
    if the frame is not known: the packets have no timestamps, the timestamps restart, or no frame
    is found. ``seek`` is None for the start of the file. ``origin`` is the first timestamp of the
    file.
    """

    time: float
    frame_time: float | None = None
    frame_duration: float = 0.0
    seek: float | None = None
    origin: float = 0.0

    def seconds_left(self) -> float:
        """How long the frame is still shown after ``time``. 0 if it is not known."""
        if self.frame_time is None:
            return 0.0
        return self.frame_time + self.frame_duration - self.time


class MayCopy(NamedTuple):
    """Which streams may be copied, if they meet the requirements of the output.

    If a copy fails its checks, the stream is encoded instead.
    """

    video: bool = True
    audio: bool = True


COPY_ALL: Final = MayCopy()


class Evidence(NamedTuple):
    """What the packets of the input and earlier tries of this run have shown.

    ``may_copy`` says which streams may still be copied. ``position`` is the frame that is shown
    when the range starts, None if the range starts at the start of the input. ``size_varies``: the
    frame size changes within the input. Always true if ``shapes`` is set, because the filters for
    shapes fit any size. ``audio_varies``: the channel count or the sample rate changes.
    ``last_held_seconds`` is how long the last frame is shown, None if it is not known.
    ``gain`` gives the audio the requested loudness. ``shapes`` are the sample aspect ratios, None
    if all frames have the one that the file states. ``rates`` are measured from the packets of the
    range, None if they were not read.
    """

    may_copy: MayCopy = COPY_ALL
    position: Position | None = None
    size_varies: bool = False
    audio_varies: bool = False
    last_held_seconds: float | None = None
    gain: Gain | None = None
    rates: Rates | None = None
    shapes: Shapes | None = None


NO_EVIDENCE: Final = Evidence()


def ffmpeg_command(
    limits: Limits, input_options: Iterable[str] = (), *, demuxer_options: tuple[str, ...] = ()
) -> list[str]:
    """The start of an ffmpeg command: the executable, global options, input options, the input.

    When it exits, ffmpeg prints counts of what it read and decoded, see
    media_converter.probing.decoded. It does not fail because of decode errors (-max_error_rate 1):
    the converter decides from the counts whether too much is lost. ``demuxer_options`` are those of
    the MediaInfo.
    """
    threads = str(limits.threads)
    argv = [FFMPEG, "-nostdin", "-y", "-hide_banner", "-v", "level+verbose"]
    argv += ["-max_error_rate", "1"]
    argv += ["-filter_threads", threads, "-filter_complex_threads", threads]
    argv += ["-protocol_whitelist", "file,pipe", "-threads", threads]
    argv += ["-max_pixels", str(MAX_FRAME_PIXELS)]
    argv += demuxer_options
    argv += input_options
    argv += ["-i", f"file:{INPUT}"]
    return argv


def trim_options(start: float, duration: float | None) -> list[str]:
    """Input options that read only a range of the input. ffmpeg seeks to a keyframe before it."""
    options = ["-ss", f"{start:.6f}"] if start else []
    return options if duration is None else [*options, "-t", f"{duration:.6f}"]


class Reading(NamedTuple):
    """How ffmpeg reads a range: its input options and the first filters of each stream.

    ffmpeg seeks to a keyframe before the range. It decodes and drops the frames before the range,
    except the frame that is on the screen when the range starts.
    """

    input_options: tuple[str, ...] = ()
    video_filters: tuple[str, ...] = ()
    audio_filters: tuple[str, ...] = ()


def read_from(position: Position) -> Reading:
    """How to read the range that starts at ``position``."""
    options = ["-noaccurate_seek", "-ss", f"{position.seek:.6f}"] if position.seek else []
    if position.frame_time is None:
        begin = first = position.time
    else:
        # -copyts keeps the timestamps of the file. Without it, ffmpeg sets time 0 to the start of
        # the earliest stream that it reads.
        options.append("-copyts")
        begin = position.origin + position.time
        first = position.origin + position.frame_time
    # Select frames from slightly before the range on. Otherwise rounded times could drop its first
    # frame.
    select = f"select='gte(t,{first - _ROUNDING_MARGIN_SECONDS:.6f})'"
    video = [select, f"setpts='max(PTS-{begin:.6f}/TB,0)'"]
    audio = [f"atrim=start={begin:.6f}", f"asetpts=PTS-{begin:.6f}/TB"]
    return Reading(tuple(options), tuple(video), tuple(audio))


def trimmed_duration(total: float | None, start: float, duration: float | None) -> float | None:
    """The duration of the output for an input of ``total`` seconds. None if ``total`` is None."""
    if total is None:
        return None
    remaining = max(0.0, total - start)
    return remaining if duration is None else min(remaining, duration)


def decode_step(
    limits: Limits,
    stream: str,
    start: float = 0.0,
    seconds: float | None = None,
    *,
    keys_only: bool = False,
) -> Step:
    """Build the step that only decodes a stream, such as ``v:0``, of the file INPUT."""
    options = ["-skip_frame", "nokey"] if keys_only else []
    if start:
        options += ["-noaccurate_seek"]
    argv = ffmpeg_command(limits, [*options, *trim_options(start, seconds)])
    return Step("check", (*argv, "-map", f"0:{stream}", *DECODE_ONLY))


DECODE_ONLY: Final = ("-fps_mode", "passthrough", "-f", "null", "-")
"""Options of an output that receives decoded frames and drops them."""


def level_step(
    limits: Limits, stream_index: int, start: float, *, from_start: bool = False
) -> Step:
    """Build the step that measures the level of two seconds of audio.

    ``from_start``: read the file from its start. Seeking would find another place with this time.
    """
    options = [] if from_start else trim_options(start, 2.0)
    argv = ffmpeg_command(limits, options)
    trim = f"atrim=start={start:.6f}:duration=2," if from_start else ""
    argv += ["-map", f"0:{stream_index}", "-af", f"{trim}volumedetect", "-f", "null", "-"]
    return Step("level", tuple(argv))


def luma_step(
    limits: Limits,
    stream_index: int,
    start: float,
    kept: tuple[float, float] = WHOLE,
    *,
    from_start: bool = False,
) -> Step:
    """Build the step that prints the luma of one frame as 16 x 16 bytes.

    It reads only the centre of the frame: the fraction ``kept`` of the width and of the height.
    ``from_start`` is that of ``level_step``.
    """
    options = [] if from_start else ["-noaccurate_seek", *trim_options(start, None)]
    argv = ffmpeg_command(limits, options)
    first = start - _ROUNDING_MARGIN_SECONDS
    chain = [f"select='gte(t,{first:.6f})'"] if from_start else []
    chain += [f"crop=iw*{kept[0]:.4f}:ih*{kept[1]:.4f}"] if kept != WHOLE else []
    chain += ["scale=16:16:out_range=pc", "format=gray"]
    argv += ["-map", f"0:{stream_index}", "-vf", ",".join(chain)]
    return Step("luma", (*argv, "-frames:v", "1", "-f", "rawvideo", "pipe:1"))
