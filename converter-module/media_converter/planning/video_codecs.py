"""The codecs and containers of encoded videos, and how ffmpeg writes them.

The settings at quality medium were compared on a video of 1280x720, 3 s, on one thread: with each
codec the SSIM is within 0.002 of that of H.264.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class EncoderSettings(NamedTuple):
    """The preset of an encoder, parameters that override it, and how many frames it holds.

    For VP9, ``preset`` is the value of -cpu-used, and ``parameters`` is that of -lag-in-frames.
    """

    preset: str
    parameters: str
    frames: int


class VideoCodec(NamedTuple):
    """How ffmpeg encodes to a codec.

    ``crf`` is the encoder's option for each quality. ``settings`` are in order, from the most
    memory to the least. Each thread after the first holds ``thread_frames`` more frames.
    ``fixed_bytes`` is memory that does not depend on the frame size. ``min_side`` is the shortest
    side that the encoder can write, in pixels. Some encoders exceed their limit, so the encoder is
    given the bit rate limit times ``limit_factor``.
    """

    name: str
    crf: Mapping[str, int]
    settings: tuple[EncoderSettings, ...]
    thread_frames: int
    fixed_bytes: int = 0
    min_side: int = 2
    limit_factor: float = 1.0

    def options(
        self,
        quality: str,
        encoder: tuple[EncoderSettings, int],
        bit_rate_limit: int,
        frame_rate: float,
    ) -> list[str]:
        """Output options. ``bit_rate_limit`` is in bit/s.

        ``frame_rate`` is the highest frame rate of the output. Only SVT-AV1 needs it.
        """
        settings, threads = encoder
        limit = int(bit_rate_limit * self.limit_factor)
        argv = _ENCODER_OPTIONS[self.name](settings, threads, limit, frame_rate)
        argv += ["-crf", str(self.crf[quality]), "-maxrate", str(limit)]
        # The VBV buffer holds one second at the limit. So 10 s of video have at most as many bits
        # as 11 s at the limit: 110 %.
        return [*argv, "-bufsize", str(limit), "-threads:v", str(threads)]


def _h264_options(settings: EncoderSettings, _threads: int, _limit: int, _rate: float) -> list[str]:
    # By default, the encoder writes the captions of the input.
    argv = ["-c:v", "libx264", "-preset", settings.preset, "-a53cc", "0"]
    return [*argv, "-x264-params", settings.parameters, "-profile:v", "high"]


def _hevc_options(settings: EncoderSettings, threads: int, _limit: int, _rate: float) -> list[str]:
    # Apple's players need hvc1: the parameter sets are in the header only.
    argv = ["-c:v", "libx265", "-preset", settings.preset, "-tag:v", "hvc1", "-a53cc", "0"]
    shared = f"pools={threads}:frame-threads=1:log-level=error"
    return [*argv, "-x265-params", ":".join(filter(None, (shared, settings.parameters)))]


def _av1_options(settings: EncoderSettings, threads: int, _limit: int, rate: float) -> list[str]:
    argv = ["-c:v", "libsvtav1", "-preset", settings.preset]
    parallel = f"lp={min(threads, _MAX_LP)}"
    # After the filter setpts, the frame rate is unknown. ffmpeg then passes the inverse of the time
    # base, often 1000 fps, and SVT-AV1 rejects more than 240 fps.
    fps = f"fps-num={max(1000, round(rate * 1000))}:fps-denom=1000"
    parameters = filter(None, (parallel, fps, settings.parameters))
    return [*argv, "-svtav1-params", ":".join(parameters)]


def _vp9_options(settings: EncoderSettings, _threads: int, limit: int, _rate: float) -> list[str]:
    argv = ["-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", settings.preset]
    argv += ["-row-mt", "1", "-tile-columns", "2", "-lag-in-frames", settings.parameters]
    argv += ["-auto-alt-ref", "0"] if settings.parameters == "0" else []
    # With -crf, the encoder takes the bit rate as a limit.
    return [*argv, "-b:v", str(limit)]


_MAX_LP: Final = 6
"""The highest level of parallelism of SVT-AV1."""
_ENCODER_OPTIONS: Final = MappingProxyType(
    {
        "h264": _h264_options,
        "hevc": _hevc_options,
        "av1": _av1_options,
        "vp9": _vp9_options,
    }
)

CODECS: Final[Mapping[str, VideoCodec]] = MappingProxyType(
    {
        "h264": VideoCodec(
            "h264",
            {"low": 27, "medium": 21, "high": 17},
            # The first settings at CRF 21 were measured against the preset medium at CRF 23 on real
            # video, 1080p to 720p on one CPU. They take 0.40 to 0.42 of the time, the SSIM is 0.000
            # to 0.002 lower and the file is 7 to 22 % larger.
            (
                EncoderSettings("veryfast", "subme=1", 52),
                EncoderSettings("veryfast", "subme=1:rc-lookahead=5", 42),
                EncoderSettings("veryfast", "subme=1:rc-lookahead=2:bframes=1", 27),
                EncoderSettings("superfast", "bframes=0", 18),
            ),
            thread_frames=22,
        ),
        "hevc": VideoCodec(
            "hevc",
            {"low": 29, "medium": 23, "high": 19},
            (
                EncoderSettings("veryfast", "", 102),
                EncoderSettings("veryfast", "rc-lookahead=5:bframes=2", 70),
                EncoderSettings("superfast", "rc-lookahead=0:bframes=0:ref=1:b-adapt=0", 30),
            ),
            thread_frames=4,
            fixed_bytes=36 << 20,
            min_side=16,
        ),
        "av1": VideoCodec(
            "av1",
            {"low": 40, "medium": 28, "high": 20},
            (
                EncoderSettings("10", "", 76),
                EncoderSettings("10", "lookahead=0", 56),
                EncoderSettings("10", "lookahead=0:hierarchical-levels=2", 31),
            ),
            thread_frames=47,
            fixed_bytes=82 << 20,
            min_side=64,
            limit_factor=0.75,
        ),
        "vp9": VideoCodec(
            "vp9",
            {"low": 36, "medium": 27, "high": 20},
            (
                EncoderSettings("5", "25", 92),
                EncoderSettings("5", "8", 66),
                EncoderSettings("5", "0", 56),
            ),
            thread_frames=2,
            fixed_bytes=20 << 20,
            limit_factor=0.8,
        ),
    }
)


class VideoContainer(NamedTuple):
    """How ffmpeg writes a container.

    Audio is encoded to ``audio_codec``. Streams of ``copyable_video_codecs`` and
    ``copyable_audio_codecs`` may be copied into it.
    """

    muxer: tuple[str, ...]
    audio_codec: str
    copyable_video_codecs: frozenset[str]
    copyable_audio_codecs: frozenset[str]


CONTAINERS: Final[Mapping[str, VideoContainer]] = MappingProxyType(
    {
        "mp4": VideoContainer(
            # No timecode track.
            ("-write_tmcd", "0", "-movflags", "+faststart", "-f", "mp4"),
            "aac",
            frozenset({"h264"}),
            frozenset({"aac"}),
        ),
        "webm": VideoContainer(
            ("-f", "webm"),
            "opus",
            frozenset({"vp8", "vp9"}),
            frozenset({"opus", "vorbis"}),
        ),
    }
)
