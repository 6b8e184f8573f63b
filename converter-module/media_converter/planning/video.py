"""Plans video_to_mp4: a video that every browser and phone plays.

H.264 (High or below, yuv420p, limited range, square pixels, progressive, at most 60 frames per
second) and AAC in stereo or mono, with faststart and without metadata.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.options import VideoOptions
from media_converter.planning import memory
from media_converter.planning.audio_filters import aac_options, choose_audio
from media_converter.planning.filters import (
    decoder_options,
    fit_short_side,
    has_10ms_frames,
    is_wide_gamut,
    video_filter,
)
from media_converter.planning.plan import (
    NO_METADATA,
    OUTPUT_URL,
    PROGRESS,
    ConversionPlan,
    Expected,
    ffmpeg_input,
    trim_options,
    trimmed_duration,
)
from media_converter.probing.media import MAX_PIXELS, AudioStream, MediaInfo, VideoStream
from media_converter.step import Stdout, Step

MAX_FRAME_RATE: Final = 60

# Containers whose timestamps can be copied unchanged.
_COPYABLE: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv")
_PROFILES: Final = frozenset({"Constrained Baseline", "Baseline", "Main", "High"})
_MAX_LEVEL: Final = 52
_MAX_AAC_RATE: Final = 48_000
_MAX_AAC_BIT_RATE: Final = 400_000


class Quality(NamedTuple):
    """What one of the quality words means.

    ``crf`` is for libx264. A video is stream-copied if its bit rate is at most ``bits_per_pixel``,
    or at most ``bit_rate`` bits per second if that is more.
    """

    crf: int
    bits_per_pixel: float
    bit_rate: int


QUALITIES: Final = {
    "low": Quality(crf=27, bits_per_pixel=0.12, bit_rate=500_000),
    "medium": Quality(crf=21, bits_per_pixel=0.25, bit_rate=2_000_000),
    "high": Quality(crf=17, bits_per_pixel=0.5, bit_rate=4_000_000),
}


def plan_video(
    info: MediaInfo, options: VideoOptions, limits: Limits, background: str
) -> ConversionPlan:
    """Plan a conversion to MP4. Raises ConversionError if the input cannot be converted.

    ``background`` is the colour, as RRGGBB, that transparent frames are laid on.
    """
    video = choose_video(info)
    refuse_undisplayable(video)
    if info.duration and options.start >= info.duration:
        raise ConversionError(
            ExitReason.NOTHING_IN_RANGE,
            f"start is at {options.start:g} s, but the video is {info.duration:g} s long",
        )

    audio = choose_audio(info.audio)
    size = output_size(video, options)
    copies_video = fits(info, video, options)
    copies_audio = audio is not None and _audio_fits(info, audio, options)
    summaries = (_video_summary(video, size, copies_video), _audio_summary(audio, copies_audio))

    input_options = decoder_options(video) + trim_options(options.start, options.duration)
    argv = ffmpeg_input(limits, input_options)
    argv += ["-map", f"0:{video.stream_index}"]
    if audio:
        argv += ["-map", f"0:{audio.stream_index}"]
        argv += ["-c:a", "copy"] if copies_audio else aac_options(audio)
    argv += NO_METADATA
    argv += ["-sn", "-dn"]  # no subtitles, no data
    if copies_video:
        argv += ["-c:v", "copy"]
    else:
        argv += _encoder_options(video, size, options, limits, background)
    argv += PROGRESS
    argv += ["-write_tmcd", "0", "-movflags", "+faststart", "-f", "mp4", OUTPUT_URL]

    return ConversionPlan(
        step=Step("remux" if copies_video else "encode", tuple(argv), Stdout.PROGRESS),
        expected=Expected(
            container="mp4",
            video_codec="h264",
            audio_codec="aac" if audio else None,
            size=size,
            duration=_exact_duration(info, info.duration, options),
            video_duration=_exact_duration(info, video.duration, options),
            audio_duration=_exact_duration(info, audio.duration, options) if audio else None,
        ),
        summary="; ".join(summaries),
        duration=trimmed_duration(info.duration, options.start, options.duration),
    )


def choose_video(info: MediaInfo) -> VideoStream:
    """The first video stream. Raises NoVideoStream, or UnsupportedFormat if none is decodable."""
    if info.video:
        refuse_too_large(info.video[0])
        return info.video[0]
    undecodable = [name for name in info.undecodable if name.startswith("video")]
    if undecodable:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"there is no decoder for {', '.join(undecodable)}"
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
    """Raise UnsupportedFormat for Dolby Vision that a common decoder cannot show."""
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
    """Whether the video already meets everything that an encode ensures, and can be copied."""
    quality = QUALITIES[options.quality or "medium"]
    frame_rate = _max_frame_rate(video)
    average_bit_rate = info.size * 8 / info.duration if info.duration else float("inf")
    pixel_rate = video.width * video.height * frame_rate
    return (
        not _trims(options)
        and info.container in _COPYABLE
        and video.codec == "h264"
        and video.profile in _PROFILES
        and video.level <= _MAX_LEVEL
        and video.pixel_format == "yuv420p"
        and not video.full_range
        and not video.hdr
        and video.color_primaries != "bt2020"
        and video.field_order == "progressive"
        and frame_rate <= MAX_FRAME_RATE
        and output_size(video, options) == (video.width, video.height)
        and not video.rotation
        and not video.mirrored
        and (video.bit_rate or average_bit_rate)
        <= max(quality.bit_rate, quality.bits_per_pixel * pixel_rate)
    )


def _audio_fits(info: MediaInfo, audio: AudioStream, options: VideoOptions) -> bool:
    return (
        not _trims(options)
        and info.container in _COPYABLE
        and audio.codec == "aac"
        and audio.profile in ("LC", "HE-AAC", "HE-AACv2")
        and audio.channels <= 2
        and audio.sample_rate <= _MAX_AAC_RATE
        and (audio.bit_rate or 0) <= _MAX_AAC_BIT_RATE
    )


def _trims(options: VideoOptions) -> bool:
    return bool(options.start) or options.duration is not None


def _max_frame_rate(video: VideoStream) -> float:
    """Frames per second. r_frame_rate alone can be a mere time base, so look at both rates."""
    known = [rate for rate in (video.r_frame_rate, video.avg_frame_rate) if rate]
    return max((rate[0] / rate[1] for rate in known), default=float(MAX_FRAME_RATE))


def _encoder_options(
    video: VideoStream,
    size: tuple[int, int],
    options: VideoOptions,
    limits: Limits,
    background: str,
) -> list[str]:
    quality = QUALITIES[options.quality or "medium"]
    max_rate = MAX_FRAME_RATE if _max_frame_rate(video) > MAX_FRAME_RATE else None
    effort, threads = memory.choose(video, size, limits, is_wide_gamut(video))
    argv = ["-vf", video_filter(video, size, max_rate, background)]
    # setpts leaves the last frame of a GIF without a duration. A constant rate gives it one.
    argv += ["-fps_mode", "cfr", "-r", "10"] if has_10ms_frames(video) else ["-fps_mode", "vfr"]
    argv += ["-c:v", "libx264", "-preset", effort.preset, "-crf", str(quality.crf)]
    argv += ["-x264-params", effort.parameters, "-profile:v", "high", "-threads:v", str(threads)]
    return argv


def _exact_duration(info: MediaInfo, duration: float | None, options: VideoOptions) -> float | None:
    """The duration to verify. None for an estimate, which can be far off for a good file."""
    if not info.duration_is_exact:
        return None
    return trimmed_duration(duration, options.start, options.duration)


def _video_summary(video: VideoStream, size: tuple[int, int], copied: bool) -> str:
    how = ", copied unchanged" if copied else f" -> h264 {size[0]}x{size[1]}"
    return f"video: {video.codec} {video.width}x{video.height}{how}"


def _audio_summary(audio: AudioStream | None, copied: bool) -> str:
    if audio is None:
        return "no audio"
    return f"audio: {audio.codec}" + (", copied unchanged" if copied else " -> aac")
