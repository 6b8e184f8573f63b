"""Plans audio_to_mp3 and audio_convert, which write the audio of any file in a common format."""

from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning.audio_filters import (
    FOLLOW_SAMPLES,
    audio_decoder_options,
    audio_filter,
    choose_audio,
    output_channels,
    reading_alone,
)
from media_converter.planning.audio_formats import AUDIO_FORMATS, MP3, AudioFormat
from media_converter.planning.gain import Gain
from media_converter.planning.joined_tracks import audio_input, audio_map, feed
from media_converter.planning.plan import (
    COPY_ALL,
    DECODE_ONLY,
    NO_METADATA,
    OUTPUT_URL,
    PROGRESS,
    ConversionPlan,
    Expected,
    MayCopy,
    Position,
    ffmpeg_command,
    read_from,
    trim_options,
    trimmed_duration,
)
from media_converter.planning.tags import kept_tags
from media_converter.probing.media import AudioStream, MediaInfo
from media_converter.step import COVER_PATH, Feed, Stdout, Step
from media_converter.typed_options import AudioOptions

_MAX_COVER_SIDE: Final = 1000


class AudioOutput(NamedTuple):
    """``format`` is one of AUDIO_FORMATS. ``gain`` is None if the loudness is not changed."""

    format: str
    gain: Gain | None = None


MP3_OUTPUT: Final = AudioOutput("mp3")


def plan_audio(
    info: MediaInfo,
    options: AudioOptions,
    limits: Limits,
    has_cover: bool,
    *,
    copying: MayCopy = COPY_ALL,
    output: AudioOutput = MP3_OUTPUT,
) -> ConversionPlan:
    """Plan a conversion to an audio format. Raises ConversionError if it cannot be converted.

    ``has_cover`` says whether the tool inherits a JPEG, at COVER_PATH, that becomes the cover of
    the output.
    """
    written = AUDIO_FORMATS[output.format]
    audio = require_audio(info)
    # The audio of a video can be shorter than the video.
    total = (audio.duration or info.duration) if info.video else (info.duration or audio.duration)
    copies = copying.audio and _can_copy(info, audio, options, written)
    channels = output_channels(audio, options.channels)
    bitrate = written.bitrate(options.bitrate, channels)

    argv = ffmpeg_command(
        limits, input_options(info, audio, options), demuxer_options=info.demuxer_options
    )
    argv += audio_input(audio)
    if has_cover:
        number = 2 if audio.joined else 1
        argv += ["-f", "mjpeg", "-i", f"file:{COVER_PATH}", "-map", f"{number}:0"]
        argv += ["-c:v", "copy", "-disposition:v", "attached_pic"]
        argv += ["-metadata:s:v", "comment=Cover (front)"]
    argv += ["-map", audio_map(audio)]
    if copies:
        argv += ["-c:a", "copy"]
    else:
        filters = audio_output_filters(info, audio, options, output)
        argv += ["-af", ",".join(filters), *written.encoder_options(audio, bitrate)]
    seconds = output_seconds(info, options)
    argv += [] if seconds is None else ["-t", f"{seconds:.6f}"]
    argv += NO_METADATA
    argv += _tag_options(info)
    argv += PROGRESS
    argv += [*written.muxer, OUTPUT_URL]
    if copies:
        argv += ["-map", f"0:{audio.stream_index}", *DECODE_ONLY]

    duration = trimmed_duration(total, options.start, options.duration)
    rate = f" {bitrate} kbit/s" if bitrate else ""
    source = f"audio: {audio.codec} {audio.channels} channels {audio.sample_rate} Hz"
    return ConversionPlan(
        step=Step(
            "remux" if copies else "encode",
            tuple(argv),
            Stdout.LINES,
            feed=audio_feed(info, audio, options, limits),
        ),
        expected=Expected(
            container=output.format,
            audio_codec=written.output_codec(audio),
            # If the start is after the duration in the header, the header is wrong, so no duration
            # is expected.
            duration=duration if info.duration_is_exact and duration else None,
        ),
        summary=source + (", copied unchanged" if copies else f" -> {output.format}{rate}"),
        duration=duration,
        audio_index=audio.stream_index,
        copies_audio=copies,
        start=options.start,
        joined=audio.joined,
    )


def require_audio(info: MediaInfo) -> AudioStream:
    """The track to convert. Raises ConversionError if there is none."""
    audio = choose_audio(info, next(iter(info.video), None))
    if audio is None and any(s.scrambled and s.kind == "audio" for s in info.unread):
        raise ConversionError(
            ExitReason.ENCRYPTED,
            "the audio is encrypted, and the converter has no key; use an unencrypted copy",
        )
    if audio is None:
        raise _no_audio(info)
    return audio


def _no_audio(info: MediaInfo) -> ConversionError:
    undecodable = [name for name in info.undecodable if name.startswith("audio")]
    unread = [stream for stream in info.unread if stream.kind == "audio"]
    if undecodable:
        return ConversionError(
            ExitReason.NO_AUDIO_STREAM,
            f"no audio stream can be decoded: there is no decoder for {', '.join(undecodable)}; "
            "convert the audio to a common format first",
        )
    if any(stream.starts_late for stream in unread):
        return ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            "the audio starts after the part of the file that the converter searches for streams; "
            "cut off the beginning of the file",
        )
    if unread:
        return ConversionError(
            ExitReason.INPUT_DAMAGED,
            f"no packet of the {unread[0].codec} audio stream can be decoded; "
            "upload the file again",
        )
    return ConversionError(
        ExitReason.NO_AUDIO_STREAM,
        "the file has no audio stream; use video_to_mp4 or extract_thumbnail for its video",
    )


def _can_copy(
    info: MediaInfo, audio: AudioStream, options: AudioOptions, written: AudioFormat
) -> bool:
    """Whether the audio stream already meets every requirement, so that it can be stream-copied."""
    if options.start or options.duration is not None or options.loudness is not None:
        return False
    if audio.joined:
        return False
    if output_channels(audio, options.channels) != audio.channels:
        return False
    if written is MP3:
        return (
            audio.codec == "mp3"
            and MP3.sample_rate(audio.sample_rate) == audio.sample_rate
            and audio.bit_rate == (options.bitrate or 0) * 1000
        )
    return options.bitrate is None and written.can_copy(audio, info.container)


def input_options(info: MediaInfo, audio: AudioStream, options: AudioOptions) -> list[str]:
    """How ffmpeg reads the requested range of the audio.

    If a time may be in several places of the file, ffmpeg reads it from its start.
    """
    decoder = audio_decoder_options(audio)
    if _reads_from_start(info, options):
        return list(decoder)
    return [*decoder, *trim_options(options.start, options.duration)]


def output_seconds(info: MediaInfo, options: AudioOptions) -> float | None:
    """How much of what leaves the filters is wanted, in seconds. None for all of it."""
    return options.duration if _reads_from_start(info, options) else None


def _reads_from_start(info: MediaInfo, options: AudioOptions) -> bool:
    return info.clock_restarts and options.start > 0


def _range_filters(info: MediaInfo, audio: AudioStream, options: AudioOptions) -> tuple[str, ...]:
    """The filters that drop what comes before the range. Empty if ffmpeg seeks to it."""
    if not _reads_from_start(info, options):
        return ()
    # If ffmpeg reads only the audio, it sets time 0 to the start of the audio.
    begin = max(0.0, options.start - (audio.start - info.start))
    return read_from(Position(begin)).audio_filters


def audio_feed(
    info: MediaInfo, audio: AudioStream, options: AudioOptions, limits: Limits
) -> Feed | None:
    """What decodes the tracks of joined audio. None for a track of the file itself."""
    # A part begins at time 0. The whole begins with the first sample.
    start = 0.0 if options.start else audio.start - info.start
    reading = reading_alone(input_options(info, audio, options), start)
    first = _range_filters(info, audio, options)
    reading = reading._replace(audio_filters=(*first, *reading.audio_filters))
    return feed(limits, info, audio, reading, options.duration)


def audio_output_filters(
    info: MediaInfo, audio: AudioStream, options: AudioOptions, output: AudioOutput
) -> list[str]:
    """The filters from the decoded audio to that of the output."""
    sample_rate = AUDIO_FORMATS[output.format].sample_rate(audio.sample_rate)
    # Joined audio is read from the start of the requested range.
    first = () if audio.joined else _range_filters(info, audio, options)
    mixed = audio_filter(
        audio,
        sample_rate,
        fill_start=False,
        first=[*first, FOLLOW_SAMPLES],
        channels=output_channels(audio, options.channels),
    )
    return [mixed, *(output.gain.filters(sample_rate) if output.gain else [])]


def cover_step(info: MediaInfo, limits: Limits) -> Step | None:
    """Build the step that makes a JPEG of the first attached picture. None if there is none.

    Encoding the image again removes the metadata of the camera. This is a separate step, so that
    a damaged cover does not fail the conversion.
    """
    if not info.attached_pics:
        return None
    box = f"'min(iw,{_MAX_COVER_SIDE})':'min(ih,{_MAX_COVER_SIDE})'"
    argv = ffmpeg_command(limits)
    argv += ["-map", f"0:{info.attached_pics[0].stream_index}", "-map_metadata", "-1"]
    argv += ["-frames:v", "1"]
    argv += ["-vf", f"scale={box}:force_original_aspect_ratio=decrease,format=yuvj420p"]
    argv += ["-c:v", "mjpeg", "-q:v", "3", "-update", "1", "-f", "image2", OUTPUT_URL]
    return Step("cover", tuple(argv))


def _tag_options(info: MediaInfo) -> list[str]:
    return [
        word for name, value in kept_tags(info.tags) for word in ("-metadata", f"{name}={value}")
    ]
