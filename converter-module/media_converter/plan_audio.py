"""audio_to_mp3: the sound of any file as an MP3 that every player takes."""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.media import AudioStream, MediaInfo
from media_converter.options import AudioOptions
from media_converter.plan import (
    Expected,
    Plan,
    ffmpeg_input,
    output_name,
    progress,
    promised,
    span,
)
from media_converter.process import COVER, Stdout, Step
from media_converter.sound import audio_filter, choose_audio, mp3_rate

# What a listener wants to see. Everything else may tell where and with what it was recorded.
KEPT_TAGS: Final = ("title", "artist", "album", "album_artist", "track", "disc", "date", "genre")
_TAG_LENGTH: Final = 500
_COVER_SIDE: Final = 1000
_COVER_OPTIONS: Final = (
    *("-c:v", "copy", "-disposition:v", "attached_pic"),
    *("-metadata:s:v", "comment=Cover (front)"),
)


def plan(info: MediaInfo, options: AudioOptions, limits: Limits, cover: bool) -> Plan:
    """The plan of a conversion; ``cover`` says whether there is a JPEG to attach at COVER.

    Raises ConversionError for what cannot be converted.
    """
    audio = choose_audio(info.audio)
    if audio is None:
        raise ConversionError(ExitReason.NO_AUDIO_STREAM, _why_silent(info))
    # The sound of a film may be shorter than the film.
    own, whole = audio.duration, info.duration
    length = (own or whole) if info.video else (whole or own)
    if length and options.start >= length:
        raise ConversionError(
            ExitReason.NOTHING_IN_RANGE,
            f"start is at {options.start:g} s, but the sound is {length:g} s long",
        )
    copies = _fits(audio, options)
    argv = (
        *ffmpeg_input(limits, *span(options.start, options.duration)),
        *(("-f", "mjpeg", "-i", f"file:{COVER}", "-map", "1:0", *_COVER_OPTIONS) if cover else ()),
        *("-map", f"0:{audio.number}"),
        *(("-c:a", "copy") if copies else _encode(audio, options)),
        *("-map_metadata", "-1", "-map_chapters", "-1"),
        *_tags(info),
        *progress(),
        *("-id3v2_version", "3", "-f", "mp3", output_name()),
    )
    expected = promised(length, options.start, options.duration)
    return Plan(
        step=Step("remux" if copies else "encode", argv, Stdout.PROGRESS),
        expected=Expected(
            container="mp3", audio_codec="mp3", duration=expected if info.firm else None
        ),
        note=f"{audio.codec} {audio.channels} channels {audio.sample_rate} Hz to mp3"
        + (", taken over as it is" if copies else f" {options.bitrate} kbit/s"),
        length=expected,
    )


def _why_silent(info: MediaInfo) -> str:
    lost = [name for name in info.undecodable if name.startswith("audio")]
    if lost:
        return f"no audio stream that can be decoded (no decoder for its {', '.join(lost)})"
    return "the file has no audio stream"


def _fits(audio: AudioStream, options: AudioOptions) -> bool:
    return (
        audio.codec == "mp3"
        and audio.channels <= 2
        and mp3_rate(audio.sample_rate) == audio.sample_rate
        and audio.bit_rate == options.bitrate * 1000
        and not options.start
        and options.duration is None
    )


def _encode(audio: AudioStream, options: AudioOptions) -> tuple[str, ...]:
    return (
        *("-af", audio_filter(audio, mp3_rate(audio.sample_rate), with_picture=False)),
        *("-c:a", "libmp3lame", "-b:a", f"{options.bitrate}k"),
    )


def cover_step(info: MediaInfo, limits: Limits) -> Step | None:
    """The step that makes a JPEG of the first attached picture, None if there is none.

    Made anew, so that nothing a camera wrote into it goes along, and apart from the sound, so that
    a picture that is damaged does not cost the song.
    """
    if not info.pictures:
        return None
    box = f"'min(iw,{_COVER_SIDE})':'min(ih,{_COVER_SIDE})'"
    return Step(
        "cover",
        (
            *ffmpeg_input(limits),
            *("-map", f"0:{info.pictures[0].number}", "-frames:v", "1", "-map_metadata", "-1"),
            *("-vf", f"scale={box}:force_original_aspect_ratio=decrease,format=yuvj420p"),
            *("-c:v", "mjpeg", "-q:v", "3", "-update", "1", "-f", "image2", output_name()),
        ),
    )


def _tags(info: MediaInfo) -> tuple[str, ...]:
    tags = dict(info.tags)
    return tuple(
        word
        for name in KEPT_TAGS
        if tags.get(name)
        for word in ("-metadata", f"{name}={tags[name][:_TAG_LENGTH]}")
    )
