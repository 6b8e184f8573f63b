"""From ffmpeg's ``-progress`` lines to how far a run is."""

from __future__ import annotations

from collections.abc import Callable

from media_converter.contract import Progress


class Meter:
    """Collects ``key=value`` lines; each block of them ends with ``progress=``.

    ``state`` changes as long as the tool gets on, which is what the stall limit looks at.
    """

    def __init__(self, length: float | None, show: Callable[[Progress], None]) -> None:
        self._length = length
        self._show = show
        self._block: dict[str, str] = {}
        self._percent = 0
        self.state: tuple[str, ...] = ()

    def line(self, text: str) -> None:
        """Take one line."""
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
