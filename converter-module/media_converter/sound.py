"""Sound: which track, how many channels, which sample rate, and the encoders' options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from media_converter.media import AudioStream

_AAC_RATES: Final = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
# swresample knows how to mix these counts when the file names no layout.
_GUESSABLE: Final = range(1, 9)


def choose_audio(streams: Iterable[AudioStream]) -> AudioStream | None:
    """The track a player would choose: the default one, else the first; commentary last."""
    ranked = sorted(streams, key=lambda s: (s.secondary, not s.default, s.number))
    return ranked[0] if ranked else None


def mp3_rate(sample_rate: int) -> int:
    """The sample rate of the MP3: 32, 44.1 or 48 kHz, which every player and bit rate has.

    Kept where possible, else from the same family, so that resampling is by a whole number.
    """
    if sample_rate in (32000, 44100, 48000):
        return sample_rate
    return 44100 if sample_rate % 11025 == 0 else 48000


def output_channels(audio: AudioStream) -> int:
    """Mono stays mono, everything else becomes stereo; unknown layouts of many channels mono."""
    if audio.channels == 1 or (not audio.layout and audio.channels not in _GUESSABLE):
        return 1
    return 2


def audio_filter(audio: AudioStream, rate: int, *, with_picture: bool) -> str:
    """The filter that mixes and resamples, and fills gaps with silence.

    With a picture, sound that begins later begins with silence, so that the two stay together.
    Mixing is in floating point: in whole numbers the resampler turns everything down by 8 dB so
    that the loudest sum cannot clip, and speech becomes too quiet.
    """
    channels = output_channels(audio)
    mix = ""
    if channels == 1 and audio.channels > 1:
        # No layout is known for so many channels: all of them, equally.
        gain = 1 / audio.channels
        mix = "pan=mono|c0=" + "+".join(f"{gain:.6f}*c{i}" for i in range(audio.channels)) + ","
    layout = "mono" if channels == 1 else "stereo"
    return (
        f"aformat=sample_fmts=fltp,{mix}"
        f"aresample={rate}:async=1:min_hard_comp=0.1{':first_pts=0' if with_picture else ''},"
        f"aformat=channel_layouts={layout}"
    )


def aac(audio: AudioStream) -> tuple[str, ...]:
    """Output options that encode to AAC."""
    rate = audio.sample_rate if audio.sample_rate in _AAC_RATES else 48000
    bits = "96k" if output_channels(audio) == 1 else "128k"
    return ("-af", audio_filter(audio, rate, with_picture=True), "-c:a", "aac", "-b:a", bits)
