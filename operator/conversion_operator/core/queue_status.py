"""Counts the conversions of each ConversionQueue, and builds its status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from conversion_operator.api import names
from conversion_operator.api.queues import (
    MAX_NAMESPACES,
    ConversionQueueSpec,
    ConversionQueueStatus,
    NamespaceCounts,
    QueueCondition,
    StopPolicy,
)
from conversion_operator.core.capacity import Capacity
from conversion_operator.core.conversion_queues import QueueLimits, limits_of
from conversion_operator.core.model import Key, Policy
from conversion_operator.core.queue import Queue

ACTIVE: Final = "Active"
ACCEPTED: Final = "Accepted"
MISSING: Final = "(missing)"
"""Stands for all queues that do not exist. No ConversionQueue can have this name."""
_MESSAGE_MAX: Final = 512

Counts = Mapping[str, NamespaceCounts]
"""Numbers of conversions by namespace."""


@dataclass(frozen=True, slots=True)
class QueueObject:
    """A ConversionQueue. ``spec`` is None if it cannot be read, and ``unreadable`` says why."""

    key: Key
    version: str
    generation: int
    created: datetime
    spec: ConversionQueueSpec | None
    unreadable: str
    status: ConversionQueueStatus


def count(queue: Queue, known: Collection[str]) -> dict[str, dict[str, NamespaceCounts]]:
    """The conversions by queue and namespace. ``known`` are the names of the ConversionQueues.

    Those of all other names, which users choose, are counted together as MISSING. Visits the
    namespaces, and in each the queues that exist: the number of other names costs nothing. The
    operator calls it every two seconds.
    """
    known = {names.DEFAULT_QUEUE, *known}
    found: dict[str, dict[str, NamespaceCounts]] = defaultdict(dict)
    running: dict[tuple[str, str], int] = defaultdict(int)
    for (namespace, work), slots in queue.slots_by_class().items():
        name = work.conversion_queue
        running[name if name in known else MISSING, namespace] += slots
    waiting: dict[tuple[str, str], int] = {}
    for namespace, each in queue.namespaces.items():
        found_here = {name: len(each.waiting[name]) for name in known if name in each.waiting}
        waiting |= {(name, namespace): number for name, number in found_here.items()}
        if others := each.waiting_in_all - sum(found_here.values()):
            waiting[MISSING, namespace] = others
    for name, namespace in waiting.keys() | running.keys():
        its = queue.namespaces.get(namespace)
        queued = its.count_startable(name) if its else 0
        found[name][namespace] = NamespaceCounts(
            name=namespace,
            queued=queued,
            running=running.get((name, namespace), 0),
            blocked=waiting.get((name, namespace), 0) - queued,
        )
    return found


def queues_with_room(queue: Queue, policy: Policy, slots_in_use: int) -> frozenset[str]:
    """The queues with a waiting conversion that could start now, if it were its turn.

    A slot is free for it, and all limits allow it. ``slots_in_use`` counts those of all namespaces.
    Visits the namespaces and their classes, every two seconds.
    """
    capacity = Capacity(policy, slots_in_use, queue.slots_by_class())
    return frozenset(
        work.conversion_queue
        for namespace, each in queue.namespaces.items()
        for work in each.startable_classes()
        if capacity.allows(namespace, work)
    )


def next_status(
    found: QueueObject, counts: Counts, problems: Iterable[str], policy: Policy, now: datetime
) -> ConversionQueueStatus:
    """The status of a ConversionQueue."""
    limits = limits_of(found.spec, found.unreadable)
    listed = [each for each in counts.values() if each.queued or each.running or each.blocked]
    most = sorted(listed, key=lambda c: (-(c.queued + c.running + c.blocked), c.name))
    return ConversionQueueStatus(
        observed_generation=found.generation,
        conditions=[
            _condition(found, ACTIVE, *_activity(limits, paused=not policy.enabled), now),
            _condition(found, ACCEPTED, *_acceptance(limits, problems, policy.max_parallel), now),
        ],
        queued=sum(each.queued for each in listed),
        running=sum(each.running for each in listed),
        blocked=sum(each.blocked for each in listed),
        namespaces=sorted(most[:MAX_NAMESPACES], key=lambda c: c.name) or None,
    )


def has_stopped(
    before: ConversionQueueStatus, after: ConversionQueueStatus
) -> QueueCondition | None:
    """The condition Active of a queue that no longer lets conversions start. None: no change."""
    (active,) = (each for each in after.conditions or () if each.type == ACTIVE)
    known = next((each for each in before.conditions or () if each.type == ACTIVE), None)
    changed = known is None or (known.status, known.reason) != (active.status, active.reason)
    return active if active.status == "False" and changed else None


def _activity(limits: QueueLimits, *, paused: bool) -> tuple[bool, str, str]:
    if limits.unreadable:
        return False, "Unreadable", f"no conversion starts: {limits.unreadable}"
    if limits.stop is StopPolicy.HOLD:
        return False, "Held", "spec.stopPolicy is Hold: no conversion starts"
    if limits.stop is StopPolicy.HOLD_AND_DRAIN:
        message = "spec.stopPolicy is HoldAndDrain: no conversion starts, and none goes on"
        return False, "Drained", message
    if limits.max_parallel == 0:
        return False, "NoSlots", "spec.maxParallel is 0: no conversion starts"
    if paused:
        return False, "Paused", "CONVERTER_ENABLED is false: no conversion starts"
    return True, "Active", "conversions of this queue may start"


def _acceptance(limits: QueueLimits, problems: Iterable[str], total: int) -> tuple[bool, str, str]:
    found = list(problems)
    if limits.reserved and limits.reserved >= total:
        found.append(
            f"spec.light.reserved is {limits.reserved}, and CONVERTER_MAX_PARALLEL is {total}: one "
            "video runs at a time all the same"
        )
    if found:
        return False, "NoEffect", ". ".join(found)
    return True, "Accepted", "everything in the spec has an effect"


def _condition(
    found: QueueObject, kind: str, holds: bool, reason: str, message: str, now: datetime
) -> QueueCondition:
    status: Literal["True", "False"] = "True" if holds else "False"
    before = next((c for c in found.status.conditions or () if c.type == kind), None)
    unchanged = before is not None and before.status == status
    return QueueCondition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:_MESSAGE_MAX],
        last_transition_time=before.last_transition_time if before and unchanged else now,
    )
