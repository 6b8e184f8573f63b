"""Estimates how long a run still takes, from what it has done until now. Pure."""

from typing import Final, NamedTuple

_LEAST_SECONDS: Final = 0.4
"""A speed that was measured for a shorter time says little. ffmpeg tells its progress twice a
second, so this needs two samples."""
_LEAST_SECONDS_OF_ENCODER: Final = 1.0
"""An encoder with a queue writes in bursts."""
_CHECK_SECONDS: Final = 0.4
"""To probe an output and to look at a few places of it."""
_SYNCED_BYTES_PER_SECOND: Final = 150_000_000
"""To hash an output and to write it to the disk."""


_LEAST_READ: Final = 0.05
"""An encoder has a queue that counts if it has taken this share of the input before it writes."""


class _First(NamedTuple):
    """The first sample with an output."""

    now: float
    done: float
    read: float


class Forecast:
    """The time that a tool needs for the rest of its media, since ``began``. All are in seconds.

    The first sample with an output starts the clock. Before it, a tool opens its files. ffmpeg's
    own speed includes this, so it says nothing about a run of a few seconds, or about an encoder.
    From then on, the mean speed counts: the speed of the moment depends on the scene.

    An encoder also fills a queue before it writes: it decodes and analyses frames. It never does
    this again for them. So if the queue is a large part of a short video, reading and writing are
    two kinds of work. The time before the first output says how long reading takes, and the rest
    of the time says how long writing takes.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._first: _First | None = None

    def left(self, done: float, total: float, now: float, read: float = 0.0) -> float | None:
        """How long the rest takes. None if too little has been done to say.

        ``done`` of ``total`` seconds of media were written at ``now``. ``read`` is the share of the
        input that was read, from 0 to 1. 0: it is not known.
        """
        first = self._first
        if first is None:
            if done > 0:
                self._first = _First(now, done, read)
            return None
        elapsed, written = now - first.now, done - first.done
        has_queue = first.read >= _LEAST_READ and read >= first.read
        least = _LEAST_SECONDS_OF_ENCODER if has_queue else _LEAST_SECONDS
        if elapsed < least or written <= 0:
            return None
        if not has_queue:
            return max(0.0, total - done) * elapsed / written
        reading = (first.now - self._began) / first.read
        writing = max(0.0, elapsed - reading * (read - first.read)) / written
        return reading * max(0.0, 1 - read) + writing * max(0.0, total - done)


def checks(outputs: int, written: int, share: float) -> float:
    """How long it takes to verify and publish outputs after they were made, in seconds.

    ``written`` bytes are there when ``share`` of the media is done, from 0 to 1.
    """
    size = written / share if share > 0 else 0.0
    return outputs * _CHECK_SECONDS + size / _SYNCED_BYTES_PER_SECOND
