"""Parses ffmpeg's ``-progress`` lines into how far a run is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from media_converter.contract import ExitReason, Progress
from media_converter.errors import ConversionError

# The lowest plausible bytes per second. If the duration is unknown, the file may also be a video
# that hardly moves.
_MIN_BYTE_RATE: Final = 100
_MIN_BYTE_RATE_OF_UNKNOWN_DURATION: Final = 5


def max_duration(duration: float | None, size: int) -> float:
    """The most seconds that ``size`` bytes can hold if they promise ``duration`` seconds.

    This is generous: the promise is often wrong, and that alone is no fault of the file.
    """
    if duration is None:
        return 60 + size / _MIN_BYTE_RATE_OF_UNKNOWN_DURATION
    return 60 + 2 * duration + size / _MIN_BYTE_RATE


class Meter:
    """Collects ``key=value`` lines. A line ``progress=`` ends each block of them.

    ``state`` changes while the tool makes progress; the stall limit checks it. On some damaged
    files ffmpeg makes progress forever and would fill the disk. ``limit`` prevents that.
    """

    def __init__(
        self,
        duration: float | None,
        on_progress: Callable[[Progress], None],
        limit: float = float("inf"),
    ) -> None:
        self._duration = duration
        self._on_progress = on_progress
        self._limit = limit
        self._block: dict[str, str] = {}
        self._percent = 0
        self.state: tuple[str, ...] = ()

    def line(self, text: str) -> None:
        """Add one line. Raises InputDamaged once there is more media than the file can hold."""
        key, _, value = text.partition("=")
        self._block[key.strip()] = value.strip()
        if key.strip() == "progress":
            self.state = tuple(
                self._block.get(name, "") for name in ("frame", "out_time_us", "total_size")
            )
            self._on_progress(self._progress())
            self._block = {}

    def _progress(self) -> Progress:
        done = _microseconds(self._block.get("out_time_us", ""))
        if done is not None and done / 1e6 > self._limit:
            raise ConversionError(
                ExitReason.INPUT_DAMAGED,
                f"the file never ends: {done / 1e6:.0f} s were read so far, but a file of its size "
                f"holds at most {self._limit:.0f} s",
            )
        speed = _speed(self._block.get("speed", ""))
        if self._duration is None or done is None:
            return Progress(speed=speed)
        share = int(100 * done / 1e6 / self._duration)
        # Never goes back, and is 100 only after the output is verified and in place.
        self._percent = max(self._percent, min(99, max(0, share)))
        left = max(0.0, self._duration - done / 1e6)
        return Progress(
            percent=self._percent,
            speed=speed,
            eta_seconds=round(left / speed) if speed else None,
        )


def _microseconds(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdigit() else None


def _speed(text: str) -> float | None:
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        return None
    return round(speed, 2) if 0 < speed < 1e6 else None
