"""Values the tests start from: a plain video, a plain audio stream, ample limits."""

from __future__ import annotations

from typing import Any

from media_converter.limits import Limits
from media_converter.probing.media import AudioStream, MediaInfo, VideoStream

GIB = 1 << 30
LIMITS = Limits(threads=1, memory=GIB)
WHITE = "FFFFFF"

VIDEO = VideoStream(
    stream_index=0,
    codec="h264",
    width=1280,
    height=720,
    pixel_format="yuv420p",
    profile="High",
    level=31,
    r_frame_rate=(25, 1),
    avg_frame_rate=(25, 1),
    duration=10.0,
    bit_rate=2_000_000,
)
AUDIO = AudioStream(
    stream_index=1,
    codec="aac",
    sample_rate=48000,
    channels=2,
    layout="stereo",
    profile="LC",
    duration=10.0,
    bit_rate=128_000,
    default=True,
)
INFO = MediaInfo(
    container="mov,mp4,m4a,3gp,3g2,mj2",
    size_bytes=2_700_000,
    duration=10.0,
    video=(VIDEO,),
    audio=(AUDIO,),
)


def with_video(**changes: Any) -> MediaInfo:
    return INFO._replace(video=(VIDEO._replace(**changes),))


def value_of(argv: tuple[str, ...], option: str) -> str:
    """What follows an option in an argv list."""
    return argv[argv.index(option) + 1]
