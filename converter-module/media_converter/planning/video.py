"""Plans video_to_mp4 and video_to_webm, which make a video that browsers and phones play.

An encoded video has the codec of the options, or the default of the container. It is 8-bit yuv420p
in limited range, with square pixels, progressive, at most 60 frames per second. Encoded audio is
AAC or Opus, in stereo or mono. A stream that already meets the requirements is copied if the output
is not trimmed and the timestamps of the input's container can be copied. Only H.264 and AAC are
copied into an MP4, and only VP8, VP9, Opus and Vorbis into a WebM. The output has none of the
metadata of the input. An MP4 uses faststart.
"""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning import memory
from media_converter.planning.audio_filters import audio_decoder_options
from media_converter.planning.filters import (
    MATRICES,
    decoder_options,
    hold_frames,
    is_slide_show,
    is_wide_gamut,
    may_have_short_gif_frames,
    video_filter,
)
from media_converter.planning.joined_tracks import audio_input, audio_map
from media_converter.planning.plan import (
    NO_EVIDENCE,
    ConversionPlan,
    Evidence,
    Expected,
    OutputParts,
    Position,
    ffmpeg_command,
    trimmed_duration,
)
from media_converter.planning.quality import DEFAULT_QUALITY, bit_rate_limit
from media_converter.planning.together import output_command
from media_converter.planning.video_audio import plan_encoded_audio, reading_of, wanted_audio
from media_converter.planning.video_choice import choose_video, refuse_if_needs_dolby_vision
from media_converter.planning.video_codecs import CODECS, CONTAINERS
from media_converter.planning.video_fit import fit_video
from media_converter.probing.media import AudioStream, MediaInfo, VideoStream
from media_converter.probing.rates import Rates
from media_converter.step import Feed, Stdout, Step
from media_converter.typed_options import VideoOptions

MAX_FRAME_RATE: Final = 60

# Containers whose timestamps can be copied unchanged, as ffprobe's format_name.
_COPYABLE_CONTAINERS: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv")
# Limits for stream copy. Level 52 is 5.2.
_COPYABLE_H264_PROFILES: Final = frozenset({"Constrained Baseline", "Baseline", "Main", "High"})
_MAX_COPIED_H264_LEVEL: Final = 52
_MAX_COPIED_SAMPLE_RATE: Final = 48_000
_MAX_COPIED_AUDIO_BIT_RATE: Final = 400_000

# AVI and Ogg have a time base of one frame. In a slide show, a frame can last seconds, and a range
# could start only where a frame starts. For these containers, the fps filter of hold_frames comes
# first: its time base is usually finer.
_CONTAINERS_WITH_COARSE_TIME_BASE: Final = ("avi", "ogg")

# The last frame counts as at least this long. Its packet may state no duration, or a shorter one.
_MIN_LAST_FRAME_SECONDS: Final = 0.05

# A measured frame rate up to this factor above the one that ffprobe reports counts as equal:
# rounded timestamps can make it look higher.
_MAX_RATE_RATIO: Final = 1.1


def plan_video(
    info: MediaInfo,
    options: VideoOptions,
    limits: Limits,
    background: str,
    evidence: Evidence = NO_EVIDENCE,
    encoder: memory.Encoder | None = None,
) -> ConversionPlan:
    """Plan a conversion to MP4 or WebM. Raises ConversionError if the input cannot be converted.

    ``background`` is the colour, as RRGGBB, that transparent frames are laid on. ``evidence`` is
    what the packets and earlier tries of this run have shown. ``encoder`` has the settings of the
    encoder and its threads. If it is None, they are chosen here; the caller chooses them if several
    outputs are encoded at the same time.
    """
    container = CONTAINERS[options.container]
    may_copy, position = evidence.may_copy, evidence.position
    video = choose_video(info)
    refuse_if_needs_dolby_vision(video)
    _refuse_start_after_end(options, position)
    audio = wanted_audio(info, video, options)
    fit = fit_video(video.displayed_size, options)
    size = fit.size
    source_duration = _source_duration(info, video, audio, evidence.rates)
    encodes_video = not (
        may_copy.video
        and evidence.shapes is None
        and can_copy_video(info, video, options, evidence.rates)
    )
    encodes_audio = audio is not None and not (
        may_copy.audio and can_copy_audio(info, audio, options)
    )
    reading = reading_of(options, position)
    input_options = [*decoder_options(video), *audio_decoder_options(audio)]
    input_options += reading.input_options
    if encodes_video and evidence.shapes is not None and evidence.shapes.keeps_filters:
        # This keeps ffmpeg from rebuilding the filter graph when the properties of the frames
        # change. A rebuild restarts the frame number n at 0, and the filters of fit_shapes need n
        # to go on counting.
        input_options += ["-reinit_filter:v", "0"]
    command_start = ffmpeg_command(limits, input_options, demuxer_options=info.demuxer_options)
    audio_options: tuple[str, ...] = ()
    feed: Feed | None = None
    if audio is not None and encodes_audio:
        encoded = plan_encoded_audio(info, audio, options, evidence, limits)
        audio_options, feed = tuple(encoded.options(evidence.gain)), encoded.feed
    video_options = ["-c:v", "copy"]
    if encodes_video:
        rate_limit = _frame_rate_limit(video, options, evidence.rates)
        filters = video_filter(
            video,
            fit.scaled,
            rate_limit,
            background,
            evidence,
            crop_to=size if fit.is_cropped else None,
        )
        is_trimmed = position is not None or options.duration is not None
        first_held_seconds = position.seconds_left() if position else 0.0
        hold = hold_frames(
            video,
            first_held_seconds,
            evidence.last_held_seconds,
            is_trimmed=is_trimmed,
            allowed_frame_rate=allowed_frame_rate(options),
        )
        chain = [*reading.video_filters, filters, *hold]
        if (
            is_trimmed
            and is_slide_show(video)
            and info.container in _CONTAINERS_WITH_COARSE_TIME_BASE
        ):
            chain = [*hold, *reading.video_filters, filters]
        video_options = ["-vf", ",".join(chain)]
        _refuse_too_small(size, options.codec)
        encoder = encoder or memory.choose_encoder_settings(video, size, limits, options.codec)
        video_options += _encoder_options(video, options, size, encoder, evidence.rates)
    output_parts = OutputParts(
        command_start=(*command_start, *audio_input(audio)),
        video_index=video.stream_index,
        audio_map=audio_map(audio) if audio else None,
        video_options=tuple(video_options),
        audio_options=audio_options,
        duration=options.duration,
        muxer=container.muxer,
    )
    argv = output_command([output_parts])

    return ConversionPlan(
        step=Step(
            "encode" if encodes_video or encodes_audio else "remux",
            argv,
            Stdout.LINES,
            feed=feed,
        ),
        expected=Expected(
            container=options.container,
            video_codec=options.codec if encodes_video else video.codec,
            audio_codec=_audio_codec(audio, container.audio_codec, encodes_audio),
            size=size,
            duration=_expected_duration(info, source_duration, options),
            video_duration=_expected_duration(info, video.duration, options),
            audio_duration=_expected_duration(info, audio.duration, options) if audio else None,
        ),
        summary=f"{_video_summary(video, size, options.codec if encodes_video else '')}; "
        f"{_audio_summary(audio, container.audio_codec if encodes_audio else '')}",
        duration=trimmed_duration(source_duration, options.start, options.duration),
        video_index=video.stream_index,
        audio_index=audio.stream_index if audio else None,
        copies_video=not encodes_video,
        copies_audio=audio is not None and not encodes_audio,
        start=options.start,
        joined=audio.joined if audio else (),
        kept=fit.kept,
        output_parts=output_parts,
    )


def _refuse_start_after_end(options: VideoOptions, position: Position | None) -> None:
    """Raise ConversionError if the range starts at the end of the video's last frame, or later.

    ``position`` describes the frame at the start of the range, or the last one before it. A frame
    ends when the next one appears. So a frame that ends before the range is the last of the video.
    """
    if position is None or position.frame_time is None:
        return
    end = position.frame_time + max(position.frame_duration, _MIN_LAST_FRAME_SECONDS)
    if options.start >= end:
        raise ConversionError(
            ExitReason.NOTHING_IN_RANGE,
            f"start is at {options.start:g} s, but the last frame ends at {end:g} s; "
            "choose an earlier start",
        )


def output_size(video: VideoStream, options: VideoOptions) -> tuple[int, int]:
    """Width and height of the output."""
    return fit_video(video.displayed_size, options).size


def can_copy_video(
    info: MediaInfo, video: VideoStream, options: VideoOptions, rates: Rates | None
) -> bool:
    """Whether the packets of the video can be copied, and the stream meets all requirements.

    The caller checks whether the shape of the pixels changes. The bit rate in the header may be
    wrong, so it is measured from the packets. If ``rates`` is None, it was not measured, and the
    video is not copied.
    """
    if rates is None:
        return False
    frame_rate = highest_frame_rate(video, rates)
    return (
        _can_copy_packets(info, options)
        and _can_copy_codec(video, options)
        and not video.has_alpha
        and video.pixel_format == "yuv420p"
        and not video.full_range
        and not is_wide_gamut(video)
        and video.color_space in ("", *MATRICES)
        and video.field_order == "progressive"
        and _frame_rate_limit(video, options, rates) is None
        and output_size(video, options) == (video.width, video.height)
        and not video.rotation
        and not video.mirrored
        and not any(video.cropped)
        and rates.bit_rate <= bit_rate_limit(options, (video.width, video.height), frame_rate)
    )


def _can_copy_codec(video: VideoStream, options: VideoOptions) -> bool:
    """Whether this codec may be copied into the container, and the options request no other."""
    if video.codec == "h264" and not (
        video.profile in _COPYABLE_H264_PROFILES and video.level <= _MAX_COPIED_H264_LEVEL
    ):
        return False
    copyable_codecs = CONTAINERS[options.container].copyable_video_codecs
    return video.codec in copyable_codecs and options.video_codec in (None, video.codec)


def can_copy_audio(info: MediaInfo, audio: AudioStream, options: VideoOptions) -> bool:
    """Whether the packets of the audio can be copied, and the stream meets all requirements."""
    return (
        _can_copy_packets(info, options)
        and options.loudness is None
        and not audio.joined
        and audio.codec in CONTAINERS[options.container].copyable_audio_codecs
        and (audio.codec != "aac" or audio.profile in ("LC", "HE-AAC", "HE-AACv2"))
        and audio.channels <= 2
        and audio.sample_rate <= _MAX_COPIED_SAMPLE_RATE
        and (audio.bit_rate or 0) <= _MAX_COPIED_AUDIO_BIT_RATE
    )


def _can_copy_packets(info: MediaInfo, options: VideoOptions) -> bool:
    """Whether packets can be copied with their timestamps.

    They cannot if the output is trimmed, or if the timestamps of the input's container cannot be
    copied unchanged.
    """
    trims = options.start or options.duration is not None
    return not trims and info.container in _COPYABLE_CONTAINERS


def probed_frame_rate(video: VideoStream) -> float:
    """The higher of ffprobe's r_frame_rate and avg_frame_rate. MAX_FRAME_RATE if none is known."""
    return highest_frame_rate(video, None)


def highest_frame_rate(video: VideoStream, rates: Rates | None) -> float:
    """The highest of r_frame_rate, avg_frame_rate and the frame rate measured from the packets.

    The first two can be averages, or estimates from the start of the file. MAX_FRAME_RATE if no
    frame rate is known.
    """
    known = [rate[0] / rate[1] for rate in (video.r_frame_rate, video.avg_frame_rate) if rate]
    known += [rates.frame_rate] if rates and rates.times else []
    return max(known, default=float(MAX_FRAME_RATE))


def allowed_frame_rate(options: VideoOptions) -> int:
    """The frame rate that the output may not exceed: maxFrameRate, or MAX_FRAME_RATE."""
    return options.max_frame_rate or MAX_FRAME_RATE


def _frame_rate_limit(video: VideoStream, options: VideoOptions, rates: Rates | None) -> int | None:
    """The frame rate to limit the output to: ``allowed_frame_rate``. None if no limit is needed.

    A limit is needed if the frame rate that ffprobe reports is higher, or if the timestamps of the
    packets show that frames must be dropped. An unknown frame rate counts as MAX_FRAME_RATE.
    Without timestamps, maxFrameRate is always the limit if it is set.
    """
    limit = allowed_frame_rate(options)
    if probed_frame_rate(video) > limit:
        return limit
    if rates is None or not rates.times:
        return options.max_frame_rate
    return limit if rates.exceeds(limit) else None


def _encoder_options(
    video: VideoStream,
    options: VideoOptions,
    size: tuple[int, int],
    encoder: memory.Encoder,
    rates: Rates | None,
) -> list[str]:
    # If a GIF frame lasts less than 20 ms, browsers show it for 100 ms, and video_filter does the
    # same with setpts. After setpts, the last frame has no duration. A constant frame rate of 10
    # gives it 100 ms. If maxFrameRate is below 10, it lasts longer.
    allowed_rate = allowed_frame_rate(options)
    is_slowed_gif = may_have_short_gif_frames(video)
    argv = (
        ["-fps_mode", "cfr", "-r", f"{min(10, allowed_rate)}"]
        if is_slowed_gif
        else ["-fps_mode", "vfr"]
    )
    highest = highest_frame_rate(video, rates)
    if not is_slowed_gif and highest > _MAX_RATE_RATIO * probed_frame_rate(video):
        # By default, ffmpeg rounds timestamps to multiples of one frame of the rate that ffprobe
        # reports, and drops frames that fall on the same timestamp.
        argv += ["-enc_time_base", "filter"]
    frame_rate = min(highest, allowed_rate)
    limit = bit_rate_limit(options, size, frame_rate)
    codec = CODECS[options.codec]
    quality = options.quality or DEFAULT_QUALITY
    return argv + codec.options(quality, encoder, limit, frame_rate)


def _refuse_too_small(size: tuple[int, int], codec: str) -> None:
    """Raise ConversionError if the encoder cannot write frames of this size."""
    min_side = CODECS[codec].min_side
    if min(size) < min_side:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            f"{codec} needs sides of at least {min_side} pixels, and the output has "
            f"{size[0]}x{size[1]}; choose another videoCodec",
        )


def _source_duration(
    info: MediaInfo, video: VideoStream, audio: AudioStream | None, rates: Rates | None
) -> float | None:
    """The duration of the part of the input that the output can use, in seconds.

    May be approximate. With audio: the duration of the file. Without audio: the duration of the
    video stream. If the stream states none, and the file has audio that the output leaves out: the
    time of the last frame in the range. In all other cases: the duration of the file.
    """
    if audio is not None:
        return info.duration
    if video.duration is not None:
        return video.duration
    leaves_out_audio = bool(info.audio)  # the output has no audio here
    if leaves_out_audio and rates and rates.times:
        return max(0.0, rates.times[-1] - info.start)
    return info.duration


def _expected_duration(
    info: MediaInfo, duration: float | None, options: VideoOptions
) -> float | None:
    """The duration that the output must have for an input of ``duration`` seconds.

    None if the input's duration is an estimate: the real duration can differ from it.
    """
    if not info.duration_is_exact:
        return None
    return trimmed_duration(duration, options.start, options.duration)


def _audio_codec(audio: AudioStream | None, codec: str, encoded: bool) -> str | None:
    if audio is None:
        return None
    return codec if encoded else audio.codec


def _video_summary(video: VideoStream, size: tuple[int, int], codec: str) -> str:
    change = f" -> {codec} {size[0]}x{size[1]}" if codec else ", copied unchanged"
    return f"video: {video.codec} {video.width}x{video.height}{change}"


def _audio_summary(audio: AudioStream | None, codec: str) -> str:
    if audio is None:
        return "no audio"
    return f"audio: {audio.codec}" + (f" -> {codec}" if codec else ", copied unchanged")
