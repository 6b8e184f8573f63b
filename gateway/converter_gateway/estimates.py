"""Estimates when conversions start and end, from those that have ended. Pure, without a clock.

Nobody knows how long the input of a waiting conversion is. So a waiting conversion counts as long
as half of the last conversions of its kind took. Times are Unix times, durations are in seconds.
"""

from __future__ import annotations

import heapq
import statistics
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from conversion_operator.api.status import format_time

KEPT: Final = 101
"""How many ended conversions of each kind count: the latest ones."""
LEAST: Final = 5
"""Until this many conversions of a kind have ended, there is no estimate for it."""
PLANNED: Final = 1000
"""How many waiting conversions of a queue are planned one by one. Those behind get the mean."""
FRESH_SECONDS: Final = 1.0
"""How long a plan is used. It is made when somebody asks for it, whatever has changed since."""
_MAX_KINDS: Final = 256
_PACE_SECONDS: Final = 60.0
"""Conversions that have ended within this time show how many slots a queue uses."""


class Estimate(NamedTuple):
    """When a conversion starts and ends, about. None: it is not known."""

    start: float | None = None
    end: float | None = None

    @property
    def fields(self) -> dict[str, str | None]:
        """The fields of a response."""
        return {"estimated_start_at": _text(self.start), "estimated_end_at": _text(self.end)}


UNKNOWN: Final = Estimate()


def _text(moment: float | None) -> str | None:
    return None if moment is None else format_time(datetime.fromtimestamp(round(moment), UTC))


class Held(NamedTuple):
    """A slot that a conversion of ``kind`` has held until ``ended``."""

    kind: str
    ended: float
    seconds: float


class RunTimes:
    """How long the last conversions of each kind held their slots."""

    def __init__(self) -> None:
        self._latest: dict[str, deque[float]] = {}
        self._sorted: dict[str, list[float]] = {}

    def add(self, kind: str, seconds: float) -> None:
        """Take note of one that has ended. If there are too many kinds, the oldest is dropped."""
        latest = self._latest.pop(kind, None) or deque()
        self._latest[kind] = latest
        ordered = self._sorted.setdefault(kind, [])
        if len(latest) == KEPT:
            del ordered[bisect_left(ordered, latest.popleft())]
        latest.append(seconds)
        insort(ordered, seconds)
        if len(self._latest) > _MAX_KINDS:
            oldest = next(iter(self._latest))
            del self._latest[oldest], self._sorted[oldest]

    def median(self, kind: str) -> float | None:
        """The median of a kind. None before LEAST of it have ended."""
        ordered = self._sorted.get(kind, ())
        return ordered[len(ordered) // 2] if len(ordered) >= LEAST else None

    def typical(self) -> float | None:
        """The median of the medians, for a conversion of an unknown kind. Visits the kinds."""
        known = [median for kind in self._sorted if (median := self.median(kind)) is not None]
        return statistics.median(known) if known else None


class Pace:
    """How many slots the conversions of one queue have held lately."""

    def __init__(self) -> None:
        self._held: deque[Held] = deque(maxlen=KEPT)

    def add(self, held: Held) -> None:
        """Take note of one that has ended."""
        self._held.append(held)

    def slots(self, now: float) -> int:
        """The mean number of slots. 0 if nothing has ended lately. Visits at most KEPT."""
        lately = [held for held in self._held if now - held.ended <= _PACE_SECONDS]
        if not lately:
            return 0
        since = min(held.ended - held.seconds for held in lately)
        return round(sum(held.seconds for held in lately) / max(1.0, now - since))


@dataclass(frozen=True, slots=True)
class Plan:
    """When the conversions of a queue start, by their position. Made at ``made_at``.

    ``step`` is the mean time between two starts, for those behind the planned ones.
    """

    made_at: float
    starts: tuple[float, ...] = ()
    step: float = 0.0

    def start(self, position: int) -> float | None:
        """When the conversion at a position starts, from 1. None if that is not known."""
        if not self.starts:
            return None
        behind = position - len(self.starts)
        return self.starts[-1] + behind * self.step if behind > 0 else self.starts[position - 1]


def plan_starts(
    now: float, waiting: Sequence[float | None], running: Iterable[float], slots: int
) -> Plan:
    """Give each waiting conversion the slot that is free first, in their order.

    ``waiting`` has how long each will hold its slot, None if something else keeps it from starting:
    then it takes no slot from those behind it. ``running`` has when each slot in use becomes free,
    at most ``slots`` times. Without slots, nothing is known.
    """
    if slots < 1:
        return Plan(now)
    free = [max(now, end) for end in running][:slots]
    free += [now] * (slots - len(free))
    heapq.heapify(free)
    starts = []
    for seconds in waiting:
        starts.append(free[0])
        if seconds is not None:
            heapq.heapreplace(free, free[0] + seconds)
    known = [seconds for seconds in waiting if seconds is not None]
    return Plan(now, tuple(starts), statistics.fmean(known) / slots if known else 0.0)
