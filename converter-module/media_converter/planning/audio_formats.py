"""The audio formats that the converter writes, and how ffmpeg encodes to each."""

from types import MappingProxyType
from typing import Final, NamedTuple

from media_converter.planning.audio_filters import common_sample_rate
from media_converter.probing.media import AudioStream

_MAX_LOSSLESS_RATE: Final = 192_000
_MAX_COPIED_BIT_RATE: Final = 320_000
# Containers whose timestamps can be copied unchanged. Others, such as ADTS, have none.
_TIMED: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg")


class AudioFormat(NamedTuple):
    """How ffmpeg encodes to a format.

    ``codec`` is ffprobe's name. ``bitrates`` are the defaults in kbit/s for mono and stereo; None
    if the format is lossless. ``min_bitrate`` and ``max_bitrate`` are those of one channel, in
    kbit/s. ``profiles`` are those of the codec that players support.
    """

    codec: str
    encoder: str
    muxer: tuple[str, ...]
    bitrates: tuple[int, int] | None = None
    min_bitrate: int = 0
    max_bitrate: int = 320
    keeps_cover: bool = False
    profiles: tuple[str, ...] = ()

    def bitrate(self, wanted: int | None, channels: int) -> int:
        """The bit rate of the output in kbit/s. 0 if the format is lossless."""
        if self.bitrates is None:
            return 0
        min_bitrate, max_bitrate = self.min_bitrate * channels, self.max_bitrate * channels
        return max(min_bitrate, min(max_bitrate, wanted or self.bitrates[channels - 1]))

    def encoder_options(self, audio: AudioStream, bitrate: int) -> list[str]:
        """Output options that encode ``audio``."""
        if self.bitrates is not None:
            return ["-c:a", self.encoder, "-b:a", f"{bitrate}k"]
        has_24_bits = audio.sample_bits > 16
        if self.codec == "pcm":
            return ["-c:a", "pcm_s24le" if has_24_bits else "pcm_s16le"]
        depth = ["s32", "-bits_per_raw_sample:a", "24"] if has_24_bits else ["s16"]
        return ["-c:a", self.encoder, "-sample_fmt:a", *depth]

    def output_codec(self, audio: AudioStream) -> str:
        """ffprobe's name of the codec of the output."""
        if self.codec != "pcm":
            return self.codec
        return "pcm_s24le" if audio.sample_bits > 16 else "pcm_s16le"

    def sample_rate(self, sample_rate: int) -> int:
        """The sample rate of the output for an input of ``sample_rate``.

        A lossless format keeps it, up to 192 kHz.
        """
        if self.codec == "opus":
            return 48000
        if self.bitrates is None and sample_rate <= _MAX_LOSSLESS_RATE:
            return sample_rate
        return common_sample_rate(sample_rate)

    def can_copy(self, audio: AudioStream, container: str) -> bool:
        """Whether a stream of an input in ``container`` can be the output as it is."""
        return (
            self.bitrates is not None
            and audio.codec == self.codec
            and (not self.profiles or audio.profile in self.profiles)
            and container in _TIMED
            and audio.channels <= 2
            and audio.sample_rate <= 48000
            and (audio.bit_rate or 0) <= _MAX_COPIED_BIT_RATE
        )


MP3: Final = AudioFormat(
    "mp3",
    "libmp3lame",
    ("-id3v2_version", "3", "-f", "mp3"),
    (192, 192),
    keeps_cover=True,
)
AUDIO_FORMATS: Final = MappingProxyType(
    {
        "mp3": MP3,
        "m4a": AudioFormat(
            "aac",
            "aac",
            ("-movflags", "+faststart", "-f", "ipod"),
            (96, 128),
            max_bitrate=160,
            keeps_cover=True,
            profiles=("LC", "HE-AAC", "HE-AACv2"),
        ),
        "opus": AudioFormat("opus", "libopus", ("-f", "opus"), (64, 96), max_bitrate=160),
        "ogg": AudioFormat(
            "vorbis", "libvorbis", ("-f", "ogg"), (80, 128), min_bitrate=24, max_bitrate=160
        ),
        "flac": AudioFormat("flac", "flac", ("-f", "flac"), keeps_cover=True),
        "wav": AudioFormat("pcm", "", ("-rf64", "auto", "-f", "wav")),
    }
)
"""By the values of options.FORMATS."""
