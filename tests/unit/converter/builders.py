"""Values the tests start from: a plain video, a plain audio stream, ample limits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from media_converter.limits import Limits
from media_converter.planning.plan import Evidence
from media_converter.probing.media import AudioStream, MediaInfo, VideoStream
from media_converter.probing.rates import Rates
from media_converter.running.confinement import Confinement
from media_converter.running.process import Runner, Signals, TimeLimits

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

STEADY = Rates(tuple(number / 25 for number in range(250)), 2_000_000, 25.0)
"""The rates of ``VIDEO``."""
LISTED = Evidence(rates=STEADY)
"""What is known of ``VIDEO`` if its packets were listed."""


def with_video(**changes: Any) -> MediaInfo:
    return INFO._replace(video=(VIDEO._replace(**changes),))


def value_of(argv: tuple[str, ...], option: str) -> str:
    """What follows an option in an argv list."""
    return argv[argv.index(option) + 1]


class FakeSignals(Signals):
    """Signals that a test raises. Installs no handlers."""

    def __init__(self) -> None:
        self.wakeup, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.terminated = False

    def terminate(self) -> None:
        self.terminated = True
        os.write(self._write_end, b"x")


def runner(signals: Signals, seconds: float, on_tick: Callable[[], None]) -> Runner:
    limits = TimeLimits(time.monotonic() + seconds, seconds, 60)
    return Runner(signals, limits, Confinement(0), {}, on_tick)
