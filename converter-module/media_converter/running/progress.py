"""Parses the lines that ffmpeg prints with ``-progress``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from media_converter.contract import ExitReason, Progress
from media_converter.errors import ConversionError
from media_converter.running.forecast import Forecast, checks

# The fewest plausible bytes per second of media. A file of unknown duration may be a video that
# hardly moves.
_MIN_BYTES_PER_SECOND: Final = 100
_MIN_BYTES_PER_SECOND_OF_UNKNOWN_DURATION: Final = 5
# A file of two frames may rightly state an hour, and an hour of silence is a small output.
_ALWAYS_PLAUSIBLE_SECONDS: Final = 3600
# In microseconds. No file has a time like this.
_NO_TIME: Final = 1 << 62


def max_plausible_duration(duration: float | None, size_bytes: int) -> float:
    """The most seconds of media that a file of ``size_bytes`` can contain.

    ``duration`` is the duration that the file states or ffprobe estimates, in seconds. The result
    is much larger, because a wrong duration alone is not a fault of the file. But beyond an hour a
    stated duration never counts for more than the file can hold: a small file could state any.
    """
    holds = size_bytes / _MIN_BYTES_PER_SECOND_OF_UNKNOWN_DURATION
    if duration is None:
        return 60 + holds
    stated = 60 + 2 * duration + size_bytes / _MIN_BYTES_PER_SECOND
    return min(stated, max(_ALWAYS_PLAUSIBLE_SECONDS, holds))


class Meter:
    """Turns blocks of ``key=value`` lines into Progress. The last line of a block is ``progress=``.

    ``duration`` is the expected duration in seconds. ``state`` changes while the tool makes
    progress; the stall limit depends on it. With some damaged files, ffmpeg makes progress forever
    and would fill the disk, so more than ``max_seconds`` of media are an error.

    ``after`` is how many seconds the run takes after the tool, apart from the usual checks of the
    output. ``read`` returns the share of the input that was read, 0 if it is not known.
    """

    def __init__(
        self,
        duration: float | None,
        on_progress: Callable[[Progress], None],
        max_seconds: float = float("inf"),
        *,
        after: float = 0.0,
        read: Callable[[], float] = lambda: 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._duration = duration
        self._on_progress = on_progress
        self._max_seconds = max_seconds
        self._block: dict[str, str] = {}
        self._percent = 0
        self._after, self._read, self._now = after, read, now
        self._forecast = Forecast(now())
        # Seconds of media for a frame, until now.
        self._frame_seconds = 0.0
        self.state: tuple[str, ...] = ()

    def add_line(self, text: str) -> None:
        """Add one line.

        Raises ConversionError with the reason InputDamaged if ffmpeg read more than max_seconds.
        """
        key, _, value = text.partition("=")
        self._block[key.strip()] = value.strip()
        if key.strip() == "progress":
            self.state = tuple(
                self._block.get(name, "") for name in ("frame", "out_time_us", "total_size")
            )
            self._on_progress(self._progress())
            self._block = {}

    def _progress(self) -> Progress:
        done = _seconds(self._block.get("out_time_us", ""))
        if done is not None and done > self._max_seconds:
            raise ConversionError(
                ExitReason.INPUT_DAMAGED,
                f"the file never ends: {done:.0f} s were read so far, but a file of its size "
                f"holds at most {self._max_seconds:.0f} s; repair it or upload it again",
            )
        done = self._by_frames(done)
        speed = _speed(self._block.get("speed", ""))
        if self._duration is None or done is None:
            return Progress(speed=speed)
        # The percentage never decreases. It is 100 only after the output is verified and in place.
        self._percent = max(self._percent, min(99, int(100 * done / self._duration)))
        return Progress(self._percent, speed, self._left(done, self._duration))

    def _by_frames(self, done: float | None) -> float | None:
        """The time that was written. When one stream has ended, ffmpeg only counts the frames."""
        frame = self._block.get("frame", "")
        frames = int(frame) if frame.isdecimal() else 0
        if done is None:
            return frames * self._frame_seconds or None
        if done > 0 and frames:
            self._frame_seconds = done / frames
        return done

    def _left(self, done: float, duration: float) -> int | None:
        """How many seconds the run still takes. None if that is not known."""
        left = self._forecast.left(done, duration, self._now(), self._read())
        if left is None:
            return None
        written = self._block.get("total_size", "")
        size = int(written) if written.isdecimal() else 0
        return round(left + self._after + checks(1, size, min(1.0, done / duration)))


def _seconds(microseconds: str) -> float | None:
    """The time in seconds. None if there is none yet.

    With -copyts, ffmpeg then subtracts the first time from the smallest number that there is. The
    result wraps around to one of the largest.
    """
    if not microseconds.lstrip("-").isdigit() or abs(int(microseconds)) > _NO_TIME:
        return None
    return int(microseconds) / 1e6


def _speed(text: str) -> float | None:
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        return None
    return round(speed, 2) if 0 < speed < 1e6 else None
