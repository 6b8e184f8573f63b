"""Chooses the audio track, its channels and its sample rate, and builds the audio filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from media_converter.planning.joined_tracks import join, mix_filters
from media_converter.planning.plan import Reading
from media_converter.probing.media import AudioStream, MediaInfo, VideoStream

_AAC_SAMPLE_RATES: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# swresample assumes a layout for these channel counts if the file names none.
_GUESSABLE_CHANNELS: Final = range(1, 9)
FOLLOW_SAMPLES: Final = (
    # Register 0: the length of the previous block. Register 1: the gap between the end of that
    # block and this block. Register 2: the new timestamp of this block.
    # In floating point, 960/44100/(1/44100) is less than 960, and the filter drops the fraction. So
    # the length is rounded.
    "asetpts='st(1,if(isnan(PREV_INPTS),0,PTS-PREV_INPTS-ld(0)));"
    "st(2,if(isnan(PREV_OUTPTS),PTS,PREV_OUTPTS+ld(0)"
    "+if(between(ld(1)*TB,0.2,10),ld(1),0)));"
    "st(0,round(NB_SAMPLES/SR/TB));ld(2)'"
)
"""The filter for an output without video. It computes timestamps from the number of samples.

Timestamps that stand still, jump or run at another speed would drop audio or add silence. Only a
gap of 0.2 to 10 seconds is kept: it is a pause, which the recorder did not store.
"""


def choose_audio(info: MediaInfo, video: VideoStream | None) -> AudioStream | None:
    """The track to use. None if there is none.

    Tracks of the program of ``video`` come first. Among these, a track that is not secondary comes
    first, then the default track, then the lowest index. If the tracks are channels of one
    recording, it is all of them.
    """
    program = next((p for p in info.programs if video and video.stream_index in p), frozenset())
    ranked = sorted(
        info.audio,
        key=lambda s: (s.stream_index not in program, s.secondary, not s.default, s.stream_index),
    )
    return join(info, ranked[0]) if ranked else None


def common_sample_rate(sample_rate: int) -> int:
    """The sample rate of an audio file: 32, 44.1 or 48 kHz, which every player supports.

    Opus files, and lossless files up to 192 kHz, have another one: see AudioFormat.sample_rate. The
    audio of a video has that of video_audio_rate.

    Keeps the input's sample rate if possible. Otherwise multiples of 11.025 kHz become 44.1 kHz and
    all others become 48 kHz, so that the ratio is a whole number for every common sample rate.
    """
    if sample_rate in (32000, 44100, 48000):
        return sample_rate
    return 44100 if sample_rate % 11025 == 0 else 48000


def audio_decoder_options(audio: AudioStream | None) -> list[str]:
    """Options for the audio decoder. By default, the FLAC decoder ignores checksums."""
    return ["-err_detect:a", "crccheck"] if audio and audio.codec == "flac" else []


def output_channels(audio: AudioStream, wanted: str | None = None) -> int:
    """1 or 2. ``wanted`` is mono, stereo or None.

    If ``wanted`` is None: 2 for joined tracks; 1 for mono, for ambisonic audio, and for more than 8
    channels without a layout; otherwise 2.
    """
    if wanted:
        return 1 if wanted == "mono" else 2
    if audio.joined:
        return 2
    if audio.channels == 1 or _is_ambisonic(audio):
        return 1
    return 2 if audio.layout or audio.channels in _GUESSABLE_CHANNELS else 1


def _is_ambisonic(audio: AudioStream) -> bool:
    """Whether the audio is ambisonic, for example from a 360° camera."""
    return audio.layout.startswith("ambisonic")


def reading_alone(input_options: Iterable[str], start: float) -> Reading:
    """How each of several tracks is read if there is no video.

    ``start`` is the start of the earliest track, in seconds. All tracks are moved by it: the
    earliest starts at 0, and the differences between the tracks stay.
    """
    shift = [f"asetpts=PTS-{start:.6f}/TB"] if start > 0 else []
    return Reading(tuple(input_options), (), (FOLLOW_SAMPLES, *shift))


def audio_filter(
    audio: AudioStream,
    sample_rate: int,
    *,
    fill_start: bool,
    first: Iterable[str] = (),
    channels: int | None = None,
) -> str:
    """The filters that mix to ``channels`` channels and resample, and fill gaps with silence.

    If ``channels`` is None, the result of output_channels is used. ``fill_start`` says that the
    output starts with silence if the audio starts after time 0. It must be False if the channels or
    the sample rate change within the input: ffmpeg restarts the filters at each change, and each
    restart would add this silence again. ``first`` are filters that come before. The filters mix in
    floating point. With integers, the resampler would lower everything by 8 dB so that the loudest
    sum cannot clip, and speech would be too quiet.
    """
    default_channels = output_channels(audio)
    channels = channels or default_channels
    mix = mix_filters(audio)
    if _is_ambisonic(audio):
        # The first channel is the omnidirectional one (W).
        mix = ["pan=mono|c0=c0"]
    elif default_channels == 1 and audio.channels > 1:
        # The file names no layout, and ffmpeg guesses none for so many channels. Mix them equally.
        gain = 1 / audio.channels
        mix = ["pan=mono|c0=" + "+".join(f"{gain:.6f}*c{i}" for i in range(audio.channels))]
    times = "async=1:min_hard_comp=0.1" + (":first_pts=0" if fill_start else "")
    resample = f"aresample={sample_rate}:{times}"
    layout = "mono" if default_channels == 1 else "stereo"
    last = [f"aformat=channel_layouts={layout}"]
    if channels > default_channels:
        # Each output channel gets the whole signal. The resampler would lower both by 3 dB.
        last.append("pan=stereo|c0=c0|c1=c0")
    if channels < default_channels:
        # The mean of both channels. Their sum could clip.
        last.append("pan=mono|c0=0.5*c0+0.5*c1")
    return ",".join([*first, *mix, "aformat=sample_fmts=fltp", resample, *last])


def video_audio_options(
    audio: AudioStream, codec: str, filters: Iterable[str], gain_filters: Iterable[str] = ()
) -> list[str]:
    """Output options that encode the audio of a video to ``codec``, which is aac or opus.

    ``filters`` are those of :func:`video_audio_filters`. ``gain_filters`` come after ``filters``.
    """
    mono = output_channels(audio) == 1
    if codec == "opus":
        encoder, bit_rate = "libopus", "64k" if mono else "96k"
    else:
        encoder, bit_rate = "aac", "96k" if mono else "128k"
    return ["-af", ",".join([*filters, *gain_filters]), "-c:a", encoder, "-b:a", bit_rate]


def video_audio_rate(audio: AudioStream, codec: str) -> int:
    """The sample rate of the audio of a video."""
    return audio.sample_rate if codec == "aac" and audio.sample_rate in _AAC_SAMPLE_RATES else 48000


def video_audio_filters(
    audio: AudioStream, codec: str, first_filters: Iterable[str] = (), *, varies: bool = False
) -> list[str]:
    """The filters from decoded audio to the audio of a video."""
    rate = video_audio_rate(audio, codec)
    return [audio_filter(audio, rate, fill_start=not varies, first=first_filters)]
