"""Estimates how long a run still takes, from what it has done until now. Pure."""

from __future__ import annotations

from typing import Final

_LEAST_SECONDS: Final = 1.0
"""A speed that was measured for a shorter time says little."""
_CHECK_SECONDS: Final = 0.4
"""To probe an output and to look at a few places of it."""
_SYNCED_BYTES_PER_SECOND: Final = 150_000_000
"""To hash an output and to write it to the disk."""


class Forecast:
    """The time that a tool needs for the rest of its media. All values are in seconds.

    The first sample starts the clock. Before it, a tool opens its files and an encoder fills its
    queue, which ffmpeg's own speed includes. From then on, the mean speed counts: the speed of the
    moment depends on the scene.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, done: float, total: float, now: float) -> float | None:
        """How long the rest takes. None if too little has been done to say.

        ``done`` of ``total`` seconds of media were written at ``now``.
        """
        if self._first is None:
            if done > 0:
                self._first = (now, done)
            return None
        elapsed, written = now - self._first[0], done - self._first[1]
        if elapsed < _LEAST_SECONDS or written <= 0:
            return None
        return max(0.0, total - done) * elapsed / written


def checks(outputs: int, written: int, share: float) -> float:
    """How long it takes to verify and publish outputs after they were made, in seconds.

    ``written`` bytes are there when ``share`` of the media is done, from 0 to 1.
    """
    size = written / share if share > 0 else 0.0
    return outputs * _CHECK_SECONDS + size / _SYNCED_BYTES_PER_SECOND
