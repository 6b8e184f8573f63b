"""Measures the rates of a video from its packets. A header can state any rate."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from media_converter.probing.packets import PacketReader

_BIT_RATE_SECONDS: Final = 10.0
_FRAME_RATE_SECONDS: Final = 1.0
_BUFFER_SECONDS: Final = 1.0
"""The buffer of a player. An encoder with a limit may fill it in addition to the limit."""
_EPSILON: Final = 1e-6
_ROUNDING_SECONDS: Final = 0.005
"""Times may be rounded to milliseconds."""
MAX_EARLY: Final = 0.55
"""The share of a period by which a frame may come early. See filters.limit_frame_rate."""


class Rates(NamedTuple):
    """The rates of a video at its fastest.

    ``times`` are those of its frames in seconds, in the order in which they are shown. ``bit_rate``
    is the lowest -maxrate, in bit/s, that would allow these packets with a buffer of one second: no
    ten seconds have more than 110 % of it. ``frame_rate`` is the highest number of frames per
    second. Both are infinite if no packet has a time.
    """

    times: tuple[float, ...]
    bit_rate: float
    frame_rate: float

    def exceeds(self, frame_rate: float) -> bool:
        """Whether frames must be dropped so that at most ``frame_rate`` come per second.

        The rule is that of filters.limit_frame_rate, which drops them.
        """
        return not self.times or self.kept(frame_rate) < len(self.times)

    def kept(self, frame_rate: float) -> int:
        """How many frames remain if at most ``frame_rate`` may come per second."""
        if not self.times:
            return 0
        count, period, due = 0, 1 / frame_rate, self.times[0]
        for time in self.times:
            if time >= due - MAX_EARLY * period:
                count += 1
                due = max(time, due + period)
        return count


def measure(listing: PacketReader) -> Rates:
    """The rates of the frames that ``listing`` has. Needs a few passes over the list."""
    rows = sorted(zip(listing.times, listing.sizes, strict=True))
    times = tuple(time for time, _ in rows)
    if not times:
        return Rates((), float("inf"), float("inf"))
    sizes = [size for _, size in rows]
    return Rates(times, _bit_rate(times, sizes), _frame_rate(times))


def _bit_rate(times: Sequence[float], sizes: Sequence[int]) -> float:
    count = len(times)
    # The last frame counts as long as the others are on average. Its stated duration can be wrong.
    seconds = (times[-1] - times[0]) * count / max(1, count - 1)
    sums = [0, *accumulate(sizes)]
    highest = sums[-1] / (seconds + _BUFFER_SECONDS)
    first = 0
    for number, time in enumerate(times):
        while time - times[first] >= _BIT_RATE_SECONDS - _EPSILON:
            first += 1
        length = min(seconds, _BIT_RATE_SECONDS) + _BUFFER_SECONDS
        highest = max(highest, (sums[number + 1] - sums[first]) / length)
    return highest * 8


def _frame_rate(times: Sequence[float]) -> float:
    """The highest number of frames in any second. If the video is shorter, its average rate."""
    highest, last, least = 0.0, 0, _FRAME_RATE_SECONDS - _ROUNDING_SECONDS
    for number, time in enumerate(times):
        while last < len(times) - 1 and times[last] - time < least:
            last += 1
        seconds = times[last] - time
        if seconds and (seconds >= least or number == 0):
            highest = max(highest, (last - number) / min(seconds, _FRAME_RATE_SECONDS))
    return highest
