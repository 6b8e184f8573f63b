"""Who may start: order, position, path conflicts and the parallel limit, over all conversions.

Slots are counted on what exists, Jobs and pods, never on what a status says: a status may be
lost, late or written by another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.core.model import Children, Conversion, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.reconcile import awaits_attempt
from conversion_operator.core.retry import next_attempt_at
from conversion_operator.core.sweep import ATTEMPT as SWEEP

_PRIORITY_STEP = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Queue:
    """One look at all conversions.

    ``order`` has the uids that wait without being blocked, next first; ``blocks`` says of others
    why they may not start, by uid; ``wake`` is the earliest time at which a pause between attempts
    is over.
    """

    order: tuple[str, ...]
    blocks: Mapping[str, Block]
    wake: datetime | None = None

    def position(self, uid: str) -> int | None:
        """1 for the next; None for one that does not wait for a slot."""
        return self.order.index(uid) + 1 if uid in self.order else None


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What the cluster has against starting, learnt by asking it.

    ``refused`` are conversions, by uid, whose Job the API server refused a short while ago.
    """

    namespaces_without_claim: frozenset[str] = frozenset()
    refused: Mapping[str, Block] = field(default_factory=dict)


def queue_key(conversion: Conversion) -> tuple[datetime, str, str]:
    """The order of starting: age, with a minute's bonus a step of priority.

    It does not depend on the time of asking: everybody ages alike, so that the order stays the
    same over restarts and nothing waits for ever. Ages have whole seconds; of the same second the
    name decides, so that a numbered series applied at once is converted in its order.
    """
    priority = (conversion.spec.priority or 0) if conversion.spec else 0
    return (
        conversion.created - priority * _PRIORITY_STEP,
        conversion.key.name,
        conversion.key.uid,
    )


def slots_held(
    children: Mapping[str, Children], reserved: Iterable[str], written_off: Container[str] = ()
) -> int:
    """How many slots are taken, by Jobs that are not finished and by pods that may run.

    ``children`` is by conversion uid and includes what has no ConversionJob any more. A reserved
    uid takes one as long as nothing of it is seen. ``written_off`` are the uids given up as lost
    with their node: their slot was freed then, once; a sweep after them takes one.
    """
    counts = {
        uid: _slots(mine.of_attempt(SWEEP) if uid in written_off else mine)
        for uid, mine in children.items()
    }
    return sum(counts.values()) + sum(1 for uid in set(reserved) if not counts.get(uid))


def _slots(mine: Children) -> int:
    """A Job and its pod are one; a second pod of the same Job counts as one more."""
    pods = Counter(pod.job_name for pod in mine.pods if pod.live)
    jobs = {job.name for job in mine.jobs if job.live}
    return pods.total() + len(jobs - pods.keys())


def look(
    conversions: Iterable[Conversion],
    children: Mapping[str, Children],
    obstacles: Obstacles,
    now: datetime,
    policy: Policy,
) -> Queue:
    """Sort out who waits, in which order, and who may not start and why."""
    none = Children()
    unfinished = [c for c in conversions if not c.finished and not c.deleting and c.spec]
    waiting, wake = [], None
    busy = _BusyPaths()
    for conversion in sorted(unfinished, key=queue_key):
        mine = children.get(conversion.key.uid, none)
        if mine.live or not awaits_attempt(conversion, mine):
            busy.add(conversion)
        elif not conversion.cancelled:
            waiting.append(conversion)
    order: list[str] = []
    blocks: dict[str, Block] = {}
    for conversion in waiting:
        at = next_attempt_at(conversion.status)
        block = _block(conversion, obstacles, busy, policy)
        # Also one that pauses or is blocked comes before those behind it that use its paths:
        # otherwise the younger would overwrite what the older is about to write.
        busy.add(conversion)
        if at and at > now:
            wake = min(wake, at) if wake else at
        elif block:
            blocks[conversion.key.uid] = block
        else:
            order.append(conversion.key.uid)
    return Queue(tuple(order), blocks, wake)


def admit(queue: Queue, held: int, policy: Policy) -> tuple[str, ...]:
    """The uids to start now: the first in the queue, as many as there are free slots."""
    return queue.order[: max(0, policy.max_parallel - held)]


class _BusyPaths:
    """Paths that older unfinished conversions write or read, by namespace."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], str] = {}
        self._read: dict[tuple[str, str], str] = {}

    def add(self, conversion: Conversion) -> None:
        space, name = conversion.key.namespace, conversion.key.name
        self._written.setdefault((space, conversion.output_path), name)
        self._read.setdefault((space, conversion.input_path), name)

    def conflict(self, conversion: Conversion) -> str | None:
        space = conversion.key.namespace
        checks = (
            (self._written, conversion.output_path, "also writes"),
            (self._written, conversion.input_path, "still writes the input"),
            (self._read, conversion.output_path, "still reads"),
        )
        for paths, path, verb in checks:
            holder = paths.get((space, path))
            if holder:
                return f"conversion {holder} {verb} {path}"
        return None


def _block(
    conversion: Conversion, obstacles: Obstacles, busy: _BusyPaths, policy: Policy
) -> Block | None:
    if not policy.enabled:
        return Block(
            Reason.PAUSED, "conversions are paused: CONVERTER_ENABLED is false for this operator"
        )
    if conversion.key.namespace in obstacles.namespaces_without_claim:
        return Block(
            Reason.CLAIM_MISSING,
            f"namespace {conversion.key.namespace} has no PersistentVolumeClaim {policy.claim}",
        )
    conflict = busy.conflict(conversion)
    if conflict:
        return Block(Reason.PATH_BUSY, conflict)
    return obstacles.refused.get(conversion.key.uid)
