"""The slots that are free in one admission pass: in all, in each ConversionQueue, and for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from conversion_operator.core.conversion_queues import QueueLimits
from conversion_operator.core.model import Policy
from conversion_operator.core.work_class import WorkClass

SlotsByClass = Mapping[tuple[str, WorkClass], int]
"""Numbers of slots by namespace and class."""


class Capacity:
    """Free slots. ``slots_in_use`` counts all, and ``by_class`` those whose class is known.

    The others are in namespaces whose lists are not known. They count in each queue with a limit.

    A queue may reserve slots for light conversions. If its light conversions use fewer than that,
    the rest stay free for them. If no heavy conversion runs, one may start in any case.
    """

    def __init__(self, policy: Policy, slots_in_use: int, by_class: SlotsByClass) -> None:
        self._conversion_queues = policy.queues
        self._free = policy.max_parallel - slots_in_use
        self._unseen = max(0, slots_in_use - sum(by_class.values()))
        self._in_queue: Counter[str] = Counter()
        self._in_namespace: Counter[tuple[str, str]] = Counter()
        self._light: Counter[str] = Counter()
        self._heavy = 0
        for (namespace, work), slots in by_class.items():
            self._count(namespace, work, slots)

    @property
    def free(self) -> int:
        """How many slots are free. Negative if the limit was lowered below the slots in use."""
        return self._free

    def allows(self, namespace: str, work: WorkClass) -> bool:
        """True if one more conversion of this namespace and class may start."""
        limits = self._conversion_queues.find(work.conversion_queue) or QueueLimits()
        rooms = [self._free]
        if limits.max_parallel is not None:
            rooms.append(self._room(work.conversion_queue, limits.max_parallel))
        if (most := limits.namespaces.get(namespace)) is not None:
            rooms.append(most - self._in_namespace[work.conversion_queue, namespace])
        if min(rooms) <= 0 or limits.starts_nothing:
            return False
        return (
            work.light or not self._heavy or self._has_room_for_heavy(work.conversion_queue, limits)
        )

    def take(self, namespace: str, work: WorkClass) -> None:
        """Count the start of a conversion."""
        self._free -= 1
        self._count(namespace, work, 1)

    def release(self, namespace: str, work: WorkClass) -> None:
        """Count a slot as free."""
        self._free += 1
        self._count(namespace, work, -1)

    def forgive_excess(self) -> None:
        """Treat each limit that was lowered below the slots in use as if it were just reached."""
        self._free = max(0, self._free)
        for name, limits in self._conversion_queues.limits.items():
            if limits.max_parallel is not None:
                self._in_queue[name] = min(self._in_queue[name], limits.max_parallel)
            for namespace, most in limits.namespaces.items():
                place = name, namespace
                self._in_namespace[place] = min(self._in_namespace[place], most)

    def _count(self, namespace: str, work: WorkClass, slots: int) -> None:
        self._in_queue[work.conversion_queue] += slots
        self._in_namespace[work.conversion_queue, namespace] += slots
        if work.light:
            self._light[work.conversion_queue] += slots
        else:
            self._heavy += slots

    def _has_room_for_heavy(self, queue: str, limits: QueueLimits) -> bool:
        kept = sum(
            self._kept(name, each)
            for name, each in self._conversion_queues.limits.items()
            if not each.starts_nothing
        )
        if self._free <= kept:
            return False
        if limits.max_parallel is None:
            return True
        return self._room(queue, limits.max_parallel) > self._kept(queue, limits)

    def _room(self, queue: str, most: int) -> int:
        return most - self._in_queue[queue] - self._unseen

    def _kept(self, name: str, limits: QueueLimits) -> int:
        """How many free slots only light conversions of this queue may take."""
        kept = limits.reserved - self._light[name]
        if limits.max_parallel is not None:
            # If the limit was lowered, the queue may have fewer free slots than it reserves.
            kept = min(kept, self._room(name, limits.max_parallel))
        return max(0, kept)
