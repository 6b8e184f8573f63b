"""Audio: which track, how many channels, which sample rate, and the options of the encoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from media_converter.probing.media import AudioStream

_AAC_RATES: Final = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
# swresample can mix these channel counts if the file names no layout.
_GUESSABLE: Final = range(1, 9)


def choose_audio(streams: Iterable[AudioStream]) -> AudioStream | None:
    """The track a player would choose: the default one, or else the first. Commentary is last."""
    ranked = sorted(streams, key=lambda s: (s.secondary, not s.default, s.stream_index))
    return ranked[0] if ranked else None


def mp3_rate(sample_rate: int) -> int:
    """The sample rate of the MP3: 32, 44.1 or 48 kHz, which every player and bit rate supports.

    Keeps the input's rate if possible. Otherwise stays in its family (44.1 or 48 kHz), so that the
    resampling ratio is a whole number.
    """
    if sample_rate in (32000, 44100, 48000):
        return sample_rate
    return 44100 if sample_rate % 11025 == 0 else 48000


def output_channels(audio: AudioStream) -> int:
    """Mono stays mono, and so does an unknown layout of many channels. All else becomes stereo."""
    if audio.channels == 1 or (not audio.layout and audio.channels not in _GUESSABLE):
        return 1
    return 2


def audio_filter(audio: AudioStream, rate: int, *, with_video: bool) -> str:
    """The filters that mix and resample, and fill gaps with silence.

    ``with_video``: audio that starts later than the video starts with silence, to stay in sync.
    Mixes in floating point: with integers, the resampler lowers everything by 8 dB so that the
    loudest sum cannot clip, and speech becomes too quiet.
    """
    channels = output_channels(audio)
    mix = ""
    if channels == 1 and audio.channels > 1:
        # No known layout has so many channels, so mix all of them equally.
        gain = 1 / audio.channels
        mix = "pan=mono|c0=" + "+".join(f"{gain:.6f}*c{i}" for i in range(audio.channels)) + ","
    layout = "mono" if channels == 1 else "stereo"
    return (
        f"aformat=sample_fmts=fltp,{mix}"
        f"aresample={rate}:async=1:min_hard_comp=0.1{':first_pts=0' if with_video else ''},"
        f"aformat=channel_layouts={layout}"
    )


def aac_options(audio: AudioStream) -> list[str]:
    """Output options that encode to AAC."""
    rate = audio.sample_rate if audio.sample_rate in _AAC_RATES else 48000
    bit_rate = "96k" if output_channels(audio) == 1 else "128k"
    return ["-af", audio_filter(audio, rate, with_video=True), "-c:a", "aac", "-b:a", bit_rate]
