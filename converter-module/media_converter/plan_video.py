"""video_to_mp4: what to do with a video so that every browser and phone plays it.

H.264 (High or below, yuv420p, limited range, square pixels, progressive, at most 60 frames a
second) and AAC in stereo or mono, index first, no metadata.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter import memory
from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.media import MAX_PIXELS, AudioStream, MediaInfo, VideoStream
from media_converter.options import VideoOptions
from media_converter.pictures import (
    decoder_options,
    fit_short_side,
    is_hasty_gif,
    video_filter,
    wide_colours,
)
from media_converter.plan import (
    Expected,
    Plan,
    ffmpeg_input,
    no_metadata,
    output_name,
    progress,
    promised,
    span,
)
from media_converter.process import Stdout, Step
from media_converter.sound import aac, choose_audio

MAX_RATE: Final = 60

# Containers whose time stamps can be taken over as they are.
_COPYABLE: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv")
_PROFILES: Final = frozenset({"Constrained Baseline", "Baseline", "Main", "High"})
_MAX_LEVEL: Final = 52
_MAX_AAC_RATE: Final = 48_000
_MAX_AAC_BITS: Final = 400_000


class Quality(NamedTuple):
    """What a quality word stands for.

    ``crf`` of libx264; a file is taken over as it is while its bit rate is at most ``bits`` per
    pixel, or ``floor`` bits per second where that is more.
    """

    crf: int
    bits: float
    floor: int


QUALITIES: Final = {
    "low": Quality(crf=27, bits=0.12, floor=500_000),
    "medium": Quality(crf=21, bits=0.25, floor=2_000_000),
    "high": Quality(crf=17, bits=0.5, floor=4_000_000),
}


def plan(info: MediaInfo, options: VideoOptions, limits: Limits, background: str) -> Plan:
    """The plan of a conversion. Raises ConversionError for what cannot be converted.

    ``background``, RRGGBB, is what a see-through video is laid on.
    """
    video = choose_video(info)
    audio = choose_audio(info.audio)
    refuse_undisplayable(video)
    if not info.duration or options.start < info.duration:
        copies_video = fits(info, video, options)
    else:
        raise ConversionError(
            ExitReason.NOTHING_IN_RANGE,
            f"start is at {options.start:g} s, but the video is {info.duration:g} s long",
        )
    trims = bool(options.start) or options.duration is not None
    copies_audio = audio is not None and not trims and _fits_audio(info, audio)
    size = output_size(video, options)
    picture = (
        ("-c:v", "copy") if copies_video else _encode(video, size, options, limits, background)
    )
    sound: tuple[str, ...] = ()
    if audio:
        sound = ("-map", f"0:{audio.number}")
        sound += ("-c:a", "copy") if copies_audio else aac(audio)
    length = promised(info.duration, options.start, options.duration)
    argv = (
        *ffmpeg_input(limits, *decoder_options(video), *span(options.start, options.duration)),
        *("-map", f"0:{video.number}"),
        *sound,
        *no_metadata(),
        *picture,
        *progress(),
        *("-write_tmcd", "0", "-movflags", "+faststart", "-f", "mp4", output_name()),
    )
    return Plan(
        step=Step("remux" if copies_video else "encode", argv, Stdout.PROGRESS),
        expected=Expected(
            container="mp4",
            video_codec="h264",
            audio_codec="aac" if audio else None,
            size=size,
            duration=_checked(info, info.duration, options),
            video_duration=_checked(info, video.duration, options),
            audio_duration=_checked(info, audio.duration, options) if audio else None,
        ),
        note=_note(video, size, copies_video, copies_audio),
        length=length,
    )


def choose_video(info: MediaInfo) -> VideoStream:
    """The first real video. Raises NoVideoStream, or UnsupportedFormat where none is decodable."""
    if info.video:
        refuse_too_large(info.video[0])
        return info.video[0]
    lost = [name for name in info.undecodable if name.startswith("video")]
    if lost:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"no decoder for its {', '.join(lost)}"
        )
    raise ConversionError(ExitReason.NO_VIDEO_STREAM, "the file has no video stream")


def refuse_too_large(video: VideoStream) -> None:
    """Raise InputTooLarge by the header alone, before a frame is decoded."""
    if video.width * video.height > MAX_PIXELS:
        raise ConversionError(
            ExitReason.INPUT_TOO_LARGE,
            f"{video.width}x{video.height} is {video.width * video.height / 1e6:.0f} megapixels, "
            f"over the limit of {MAX_PIXELS / 1e6:.0f} for a video",
        )


def refuse_undisplayable(video: VideoStream) -> None:
    """Raise for Dolby Vision that has no picture a common decoder can show."""
    if video.dolby_profile == 5 or not video.dolby_compatible:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            f"Dolby Vision profile {video.dolby_profile} has no base layer that can be shown "
            "without it; export the video as HDR10, HLG or SDR",
        )


def output_size(video: VideoStream, options: VideoOptions) -> tuple[int, int]:
    """Width and height of the output."""
    return fit_short_side(*video.displayed, options.resolution)


def fits(info: MediaInfo, video: VideoStream, options: VideoOptions) -> bool:
    """Whether the video already is what an encode would make, so that it can be taken over."""
    quality = QUALITIES[options.quality or "medium"]
    rate = _rate(video)
    bits = video.bit_rate or (info.size * 8 / info.duration if info.duration else float("inf"))
    budget = max(quality.floor, quality.bits * video.width * video.height * rate)
    return (
        not options.start
        and options.duration is None
        and info.container in _COPYABLE
        and video.codec == "h264"
        and video.profile in _PROFILES
        and video.level <= _MAX_LEVEL
        and video.pixel_format == "yuv420p"
        and not video.full_range
        and not video.hdr
        and video.primaries != "bt2020"
        and video.order == "progressive"
        and rate <= MAX_RATE
        and output_size(video, options) == (video.width, video.height)
        and not video.rotation
        and not video.mirrored
        and bits <= budget
    )


def _fits_audio(info: MediaInfo, audio: AudioStream) -> bool:
    return (
        info.container in _COPYABLE
        and audio.codec == "aac"
        and audio.profile in ("LC", "HE-AAC", "HE-AACv2")
        and audio.channels <= 2
        and audio.sample_rate <= _MAX_AAC_RATE
        and (audio.bit_rate or 0) <= _MAX_AAC_BITS
    )


def _rate(video: VideoStream) -> float:
    """Frames a second at the most. The peak rate alone may be a mere time base."""
    peak, mean = video.peak_rate, video.mean_rate
    rates = [ratio[0] / ratio[1] for ratio in (peak, mean) if ratio]
    return max(rates) if rates else float(MAX_RATE)


def _encode(
    video: VideoStream,
    size: tuple[int, int],
    options: VideoOptions,
    limits: Limits,
    background: str,
) -> tuple[str, ...]:
    quality = QUALITIES[options.quality or "medium"]
    most = MAX_RATE if _rate(video) > MAX_RATE else None
    effort, threads = memory.choose(video, size, limits, wide_colours(video))
    return (
        *("-vf", video_filter(video, size, most, background)),
        # setpts leaves the last frame without a duration; a constant rate gives it one.
        *(("-fps_mode", "cfr", "-r", "10") if is_hasty_gif(video) else ("-fps_mode", "vfr")),
        *("-c:v", "libx264", "-preset", effort.preset, "-crf", str(quality.crf)),
        *("-x264-params", effort.parameters, "-profile:v", "high", "-threads:v", str(threads)),
    )


def _checked(info: MediaInfo, length: float | None, options: VideoOptions) -> float | None:
    """What the output is held to: not to an estimate, which may be far off for a good file."""
    return promised(length, options.start, options.duration) if info.firm else None


def _note(video: VideoStream, size: tuple[int, int], copies_video: bool, copies_audio: bool) -> str:
    if copies_video:
        how = "the video already fits and is taken over as it is"
    else:
        how = f"{video.codec} {video.width}x{video.height} to h264 {size[0]}x{size[1]}"
    return how + ("; so is the sound" if copies_audio else "")
