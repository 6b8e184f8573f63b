"""Parses the lines that ffmpeg prints with ``-progress``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from media_converter.contract import ExitReason, Progress
from media_converter.errors import ConversionError

# The fewest plausible bytes per second of media. A file of unknown duration may be a video that
# hardly moves.
_MIN_BYTES_PER_SECOND: Final = 100
_MIN_BYTES_PER_SECOND_OF_UNKNOWN_DURATION: Final = 5
# A file of two pictures may rightly state an hour, and an hour of silence is a small output.
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
    """

    def __init__(
        self,
        duration: float | None,
        on_progress: Callable[[Progress], None],
        max_seconds: float = float("inf"),
    ) -> None:
        self._duration = duration
        self._on_progress = on_progress
        self._max_seconds = max_seconds
        self._block: dict[str, str] = {}
        self._percent = 0
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
        speed = _speed(self._block.get("speed", ""))
        if self._duration is None or done is None:
            return Progress(speed=speed)
        # The percentage never decreases. It is 100 only after the output is verified and in place.
        self._percent = max(self._percent, min(99, int(100 * done / self._duration)))
        remaining = max(0.0, self._duration - done)
        return Progress(
            percent=self._percent,
            speed=speed,
            eta_seconds=round(remaining / speed) if speed else None,
        )


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
