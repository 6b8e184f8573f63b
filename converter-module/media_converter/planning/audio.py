"""Plans audio_to_mp3 and audio_convert, which write the sound of any file in a common format."""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning.audio_filters import (
    FOLLOW_SAMPLES,
    audio_filter,
    choose_audio,
    output_channels,
    sound_decoder_options,
)
from media_converter.planning.audio_formats import AUDIO_FORMATS, MP3, AudioFormat
from media_converter.planning.gain import Gain
from media_converter.planning.plan import (
    COPY_ALL,
    DECODE_ONLY,
    NO_METADATA,
    OUTPUT_URL,
    PROGRESS,
    ConversionPlan,
    Copying,
    Expected,
    ffmpeg_command,
    trim_options,
    trimmed_duration,
)
from media_converter.planning.tags import kept_tags
from media_converter.probing.media import AudioStream, MediaInfo
from media_converter.step import COVER, Stdout, Step
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
    copying: Copying = COPY_ALL,
    output: AudioOutput = MP3_OUTPUT,
) -> ConversionPlan:
    """Plan a conversion to a format of sound. Raises ConversionError if it cannot be converted.

    ``has_cover`` says whether the tool inherits a JPEG, as COVER, that becomes the cover of the
    output.
    """
    written = AUDIO_FORMATS[output.format]
    audio = choose_sound(info)
    # The audio of a video can be shorter than the video.
    total = (audio.duration or info.duration) if info.video else (info.duration or audio.duration)
    copies = copying.audio and _can_copy(info, audio, options, written)
    channels = output_channels(audio, options.channels)
    bitrate = written.bitrate(options.bitrate, channels)

    argv = ffmpeg_command(limits, input_options(audio, options), deep_probe=info.deep_probe)
    if has_cover:
        argv += ["-f", "mjpeg", "-i", f"file:{COVER}", "-map", "1:0"]
        argv += ["-c:v", "copy", "-disposition:v", "attached_pic"]
        argv += ["-metadata:s:v", "comment=Cover (front)"]
    argv += ["-map", f"0:{audio.stream_index}"]
    if copies:
        argv += ["-c:a", "copy"]
    else:
        filters = sound_filters(audio, options, output)
        argv += ["-af", ",".join(filters), *written.encoder_options(audio, bitrate)]
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
        step=Step("remux" if copies else "encode", tuple(argv), Stdout.PROGRESS),
        expected=Expected(
            container=output.format,
            audio_codec=written.output_codec(audio),
            # A start after the stated end shows that the statement is wrong.
            duration=duration if info.duration_is_exact and duration else None,
        ),
        summary=source + (", copied unchanged" if copies else f" -> {output.format}{rate}"),
        duration=duration,
        audio_index=audio.stream_index,
        copies_audio=copies,
        start=options.start,
    )


def choose_sound(info: MediaInfo) -> AudioStream:
    """The track to convert. Raises ConversionError if there is none."""
    audio = choose_audio(info, next(iter(info.video), None))
    if audio is None and any(s.scrambled and s.kind == "audio" for s in info.unread):
        raise ConversionError(
            ExitReason.ENCRYPTED,
            "the sound is encrypted, and the converter has no key; use an unencrypted copy",
        )
    if audio is None:
        raise ConversionError(ExitReason.NO_AUDIO_STREAM, _why_no_audio(info))
    return audio


def _why_no_audio(info: MediaInfo) -> str:
    undecodable = [name for name in info.undecodable if name.startswith("audio")]
    if undecodable:
        return f"no audio stream can be decoded: there is no decoder for {', '.join(undecodable)}"
    return "the file has no audio stream; use video_to_mp4 or extract_thumbnail for its video"


def _can_copy(
    info: MediaInfo, audio: AudioStream, options: AudioOptions, written: AudioFormat
) -> bool:
    """Whether the audio stream already meets every requirement, so that it can be stream-copied."""
    if options.start or options.duration is not None or options.loudness is not None:
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


def input_options(audio: AudioStream, options: AudioOptions) -> list[str]:
    """How ffmpeg reads the requested part of the sound."""
    return [*sound_decoder_options(audio), *trim_options(options.start, options.duration)]


def sound_filters(audio: AudioStream, options: AudioOptions, output: AudioOutput) -> list[str]:
    """The filters from the decoded sound to that of the output."""
    sample_rate = AUDIO_FORMATS[output.format].sample_rate(audio.sample_rate)
    mixed = audio_filter(
        audio,
        sample_rate,
        fill_start=False,
        first=[FOLLOW_SAMPLES],
        channels=output_channels(audio, options.channels),
    )
    return [mixed, *(output.gain.filters(sample_rate) if output.gain else [])]


def cover_step(info: MediaInfo, limits: Limits) -> Step | None:
    """Build the step that makes a JPEG of the first attached picture. None if there is none.

    Encoding the picture again removes the metadata of the camera. This is a separate step, so that
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
