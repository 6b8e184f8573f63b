"""From ffmpeg's ``-progress`` lines to how far a run is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from media_converter.contract import ExitReason, Progress
from media_converter.errors import ConversionError

# Bytes a second that the poorest of sounds have at least. Without a length to go by it may also be
# a picture that hardly moves.
_POOREST: Final = 100
_POOREST_OF_UNKNOWN_LENGTH: Final = 5


def longest(length: float | None, size: int) -> float:
    """Seconds that can come out of ``size`` bytes that promise ``length`` seconds.

    Generous: promises are often wrong, and that alone is no fault.
    """
    if length is None:
        return 60 + size / _POOREST_OF_UNKNOWN_LENGTH
    return 60 + 2 * length + size / _POOREST


class Meter:
    """Collects ``key=value`` lines; each block of them ends with ``progress=``.

    ``state`` changes as long as the tool gets on, which is what the stall limit looks at. There are
    damaged files on which ffmpeg gets on for ever, and would fill the disk: hence ``longest``.
    """

    def __init__(
        self,
        length: float | None,
        show: Callable[[Progress], None],
        longest: float = float("inf"),
    ) -> None:
        self._length = length
        self._show = show
        self._longest = longest
        self._block: dict[str, str] = {}
        self._percent = 0
        self.state: tuple[str, ...] = ()

    def line(self, text: str) -> None:
        """Take one line. Raises InputDamaged if the media does not come to an end."""
        key, _, value = text.partition("=")
        self._block[key.strip()] = value.strip()
        if key.strip() == "progress":
            self.state = tuple(
                self._block.get(name, "") for name in ("frame", "out_time_us", "total_size")
            )
            self._show(self._progress())
            self._block = {}

    def _progress(self) -> Progress:
        done = _microseconds(self._block.get("out_time_us", ""))
        if done is not None and done / 1e6 > self._longest:
            raise ConversionError(
                ExitReason.INPUT_DAMAGED,
                f"the file does not come to an end: {done / 1e6:.0f} s were read from it so far, "
                f"more than {self._longest:.0f} s cannot be in it",
            )
        speed = _speed(self._block.get("speed", ""))
        if self._length is None or done is None:
            return Progress(speed=speed)
        share = int(100 * done / 1e6 / self._length)
        # Never backwards, and 100 only once the output is verified and in place.
        self._percent = max(self._percent, min(99, max(0, share)))
        left = max(0.0, self._length - done / 1e6)
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
