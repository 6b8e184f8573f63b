"""What one namespace teaches about run times, and what follows for its conversions. No I/O.

The store tells each change. So an estimate costs no visit of all conversions, and after a restart
the run times come from the conversions that still exist.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from converter_gateway.estimates import (
    FRESH_SECONDS,
    KEPT,
    PLANNED,
    UNKNOWN,
    Estimate,
    Held,
    Pace,
    Plan,
    RunTimes,
    plan_starts,
)
from converter_gateway.records import Place, Record

_STARTS_BY_ITSELF: Final = frozenset(
    {Reason.WAITING_FOR_SLOT, Reason.RETRY_BACKOFF, Reason.PENDING, ""}
)
"""The reasons of a conversion that starts when a slot is free and its back-off is over. All others
wait for somebody or something else, also during their back-off. Until an operator has seen it, a
conversion has none.
"""
_HOLDS_A_SLOT: Final = (Phase.STARTING, Phase.RUNNING)


class Outlook:
    """The run times of one namespace, and who holds its slots, by ConversionQueue."""

    def __init__(self) -> None:
        self._times = RunTimes()
        self._paces: dict[str, Pace] = {}
        self._learned_until = 0.0
        self._running: dict[str, dict[str, Record]] = {}
        self._plans: dict[str, Plan] = {}

    def clear(self) -> None:
        """A list follows. What has ended before stays known."""
        self._running.clear()
        self._plans.clear()

    def count(self, record: Record, change: int) -> None:
        """The store has one more or one less record."""
        if record.phase not in _HOLDS_A_SLOT:
            return
        queue = self._running.setdefault(record.work.queue, {})
        if change > 0:
            queue[record.name] = record
        else:
            queue.pop(record.name, None)
        if not queue:
            del self._running[record.work.queue]

    def learn(self, before: Record | None, record: Record) -> None:
        """A record has changed: it may have ended now."""
        held = record.work.held
        if held is not None and not (before and before.uid == record.uid and before.finished):
            self._add(record.work.queue, held)

    def learn_all(self, records: Iterable[Record]) -> None:
        """Learn from a list what has ended after all that is known. Visits all, once for a list."""
        ended: dict[str, list[tuple[float, str, Held]]] = {}
        for record in records:
            held = record.work.held
            if held is not None and held.ended > self._learned_until:
                ended.setdefault(held.kind, []).append((held.ended, record.work.queue, held))
        latest = (heapq.nlargest(KEPT, found) for found in ended.values())
        for _, queue, held in sorted(each for found in latest for each in found):
            self._add(queue, held)

    def _add(self, queue: str, held: Held) -> None:
        self._learned_until = max(self._learned_until, held.ended)
        self._times.add(held.kind, held.seconds)
        self._paces.setdefault(queue, Pace()).add(held)

    def estimate(
        self, record: Record, position: int | None, waiting: Iterable[Record], now: float
    ) -> Estimate:
        """The estimate for a conversion. ``position`` is that in its queue, None if it has none.

        ``waiting`` has all that wait in its queue. At most PLANNED of them are visited, once in
        FRESH_SECONDS for each queue. An end that has passed is not known.
        """
        if record.place is not None and position is not None:
            return self._of_waiting(record, record.place, position, waiting, now)
        if record.phase is not Phase.RUNNING:
            return UNKNOWN
        end = self._end(record)
        return Estimate(end=end) if end is not None and end > now else UNKNOWN

    def _end(self, record: Record) -> float | None:
        if record.work.end is not None:
            return record.work.end
        median = self._times.median(record.work.kind)
        return None if median is None else record.started + median

    def _of_waiting(
        self,
        record: Record,
        place: Place,
        position: int,
        waiting: Iterable[Record],
        now: float,
    ) -> Estimate:
        later = place.not_before.timestamp() if place.not_before else 0.0
        median = self._times.median(record.work.kind)
        if median is None or place.reason not in _STARTS_BY_ITSELF:
            return UNKNOWN
        plan = self._plans.get(place.queue)
        if plan is None or not 0 <= now - plan.made_at < FRESH_SECONDS:
            plan = self._plans[place.queue] = self._plan(place.queue, waiting, now)
        start = plan.start(position)
        if start is None:
            return UNKNOWN
        start = max(start, later, now)
        return Estimate(start, start + median)

    def _plan(self, queue: str, waiting: Iterable[Record], now: float) -> Plan:
        running = self._running.get(queue, {}).values()
        pace = self._paces.get(queue)
        slots = max(len(running), pace.slots(now) if pace else 0)
        typical = self._times.typical()
        if typical is None:
            return Plan(now)
        needs = [self._needs(record, typical) for record in islice(waiting, PLANNED)]
        return plan_starts(now, needs, self._ends(running, typical), slots)

    def _needs(self, record: Record, typical: float) -> float | None:
        """How long a waiting conversion will hold a slot. None if it cannot take one yet."""
        if record.place is None or record.place.reason not in _STARTS_BY_ITSELF:
            return None
        return self._times.median(record.work.kind) or typical

    def _ends(self, running: Iterable[Record], typical: float) -> Sequence[float]:
        ends = ((record, self._end(record)) for record in running)
        return [record.started + typical if end is None else end for record, end in ends]
