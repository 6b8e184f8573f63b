"""The admission policy: what starts now.

Slots are counted from the Jobs and pods that exist, never from statuses, with one exception:
:func:`conversion_operator.core.standing.lost_with_node`. A status may be late, lost, or written by
somebody else.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.model import EPOCH, Policy
from conversion_operator.core.namespace_queue import NamespaceQueue, Verdict
from conversion_operator.core.plan import Block
from conversion_operator.core.queue import Queue
from conversion_operator.core.refusals import REFUSED, Refusal
from conversion_operator.core.standing import QueueKey
from conversion_operator.core.start_limits import StartLimits
from conversion_operator.core.suspended import hold_back
from conversion_operator.core.sweep import SWEEP_WITHIN

_AFTER_ALL: Final = "\U0010ffff"
"""Sorts after every uid."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Obstacles in the cluster that prevent conversions from starting.

    ``rejected`` has, by uid, the conversions whose Job the API server recently rejected.
    ``outdated_crd`` says what the CRD in the cluster lacks, "" if nothing. ``policy_changed_at`` is
    when a setting last changed, which may have removed an obstacle. ``failing`` has the namespaces
    whose last create request failed without a clear answer.
    """

    namespaces_without_claim: frozenset[str] = frozenset()
    rejected: Mapping[str, Block] = field(default_factory=dict)
    outdated_crd: str = ""
    policy_changed_at: datetime = EPOCH
    failing: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Selection:
    """The result of a pass: what starts, and when the next pass is due.

    ``start`` are the uids whose next attempt starts, and ``sweeps`` those whose sweep does.
    ``yielding`` are the uids whose pods have no node, and give up their slots to others.
    ``retry_at`` is when the first of the back-offs ends, None if there is none. ``queued`` is how
    many conversions wait for a slot, ``blocked`` how many for something else.
    """

    start: tuple[str, ...]
    sweeps: tuple[str, ...]
    yielding: frozenset[str]
    retry_at: datetime | None
    queued: int
    blocked: int


def unseen_slots(recorded: Mapping[str, int], observed: Mapping[str, int]) -> int:
    """How many slots to count in addition to those that were observed.

    ``recorded`` are the slots that a former leader recorded, for each namespace whose Jobs and pods
    are not known.
    """
    return sum(max(0, slots - observed.get(name, 0)) for name, slots in recorded.items())


class AdmissionPass:
    """One pass over the namespaces, and over the first conversions of their queues.

    ``known`` are the namespaces whose lists are known. Nothing starts in others. Call
    :meth:`Queue.update` first.
    """

    def __init__(
        self, queue: Queue, now: datetime, obstacles: Obstacles, known: Collection[str]
    ) -> None:
        self._queue, self._now, self._obstacles = queue, now, obstacles
        self._policy: Policy = queue.policy
        self._queues = {name: q for name, q in queue.namespaces.items() if name in known}
        suspended = queue.suspended()
        self._held_back = hold_back(suspended, self._policy)
        self._limits = StartLimits(
            obstacles.failing, suspended, queue.reserved.values(), self._policy
        )
        self._room_at = max(queue.last_pod_end, obstacles.policy_changed_at)
        self._refusals: dict[str, Refusal] = {}
        self._verdicts: dict[str, Verdict] = {}

    def select(self, held: int) -> Selection:
        """Decide what starts now. ``held`` are the slots in use."""
        self._judge_namespaces()
        free = max(0, self._policy.max_parallel - held)
        without_node = sorted(key for q in self._queues.values() for key in q.without_node)
        start, more = self._take(free, len(without_node))
        sweeps = self._take_sweeps(free - len(start))
        if self._obstacles.outdated_crd:
            start = sweeps = []
        yielding = frozenset(key[3] for key in without_node[len(without_node) - more :])
        return Selection(tuple(start), tuple(sweeps), yielding, self._retry_at(), *self._count())

    def _judge_namespaces(self) -> None:
        rejected: dict[str, dict[str, Block]] = defaultdict(dict)
        for uid, block in self._obstacles.rejected.items():
            rejected[self._queue.namespace_of(uid)][uid] = block
        for name, queue in self._queue.namespaces.items():
            if name not in self._queues:
                queue.judge(None)
                continue
            queue.use_rejections(rejected[name])
            queue.advance(self._now)
            verdict = self._verdicts[name] = self._judge(name, queue)
            queue.judge(verdict)

    def _judge(self, name: str, queue: NamespaceQueue) -> Verdict:
        refusal = queue.refusal()
        if refusal is None:
            return Verdict(self._find_block(name), None, None, self._held_back.get(name))
        self._refusals[name] = refusal
        due = refusal.retry_at is not None and refusal.retry_at <= self._now
        trying = self._find_try(queue) if due else None
        return Verdict(self._find_block(name), refusal.block, trying, self._held_back.get(name))

    def _find_block(self, namespace: str) -> Block | None:
        if self._obstacles.outdated_crd:
            return Block(Reason.CRD_OUTDATED, self._obstacles.outdated_crd)
        if not self._policy.enabled:
            message = (
                "conversions are paused: CONVERTER_ENABLED is false for this operator, or a "
                "setting that protects was invalid when it started"
            )
            return Block(Reason.PAUSED, message)
        if namespace in self._obstacles.namespaces_without_claim:
            claim = self._policy.claim_name
            message = f"namespace {namespace} has no PersistentVolumeClaim {claim}"
            return Block(Reason.CLAIM_MISSING, message)
        return None

    def _find_try(self, queue: NamespaceQueue) -> QueueKey | None:
        """Which conversion tries whether pods are still refused: the one refused longest ago.

        They take turns. Otherwise a large conversion that exceeds the quota would block a small one
        that fits. Visits those that were refused, and the first other one.
        """
        early = (key for key in queue.early if queue.given_up_at(key) <= self._room_at)
        best: tuple[datetime, QueueKey] | None = None
        for keys in (queue.ready, queue.given_up, early):
            for key in keys:
                time = queue.refused_at(key)
                if time == EPOCH:
                    return key
                if best is None or time < best[0]:
                    best = time, key
        return best[1] if best else None

    def _take(self, free: int, without_node: int) -> tuple[list[str], int]:
        """What starts now, and how many more could start if the pods without a node gave way."""
        start: list[str] = []
        more = 0
        for key in self._candidates():
            namespace = self._queue.namespace_of(key[3])
            if not self._limits.allows(namespace):
                continue
            if len(start) < free:
                self._limits.take(namespace)
                start.append(key[3])
            elif more < without_node and self._policy.max_parallel:
                more += 1
            else:
                break
        return start, more

    def _candidates(self) -> Iterator[QueueKey]:
        """Those that may start, the next one first.

        Those whose pod found no node are behind the others, except the one that waits longest. All
        of them together so take one slot from others. Without this, many of them would take turns
        in all slots. While one of them tries again, all are behind the others.

        Such a conversion starts before its back-off ends if there may be more room now. It is then
        the last one, so it takes no slot that others could use.
        """
        ready: list[Iterator[QueueKey]] = []
        behind: list[Iterator[QueueKey]] = []
        early: list[Iterator[QueueKey]] = []
        for name, queue in self._queues.items():
            if not self._verdicts[name].block:
                ready.append(self._may_start(name, queue.ready))
                behind.append(self._may_start(name, queue.given_up))
                early.append(self._may_start(name, queue.early))
        first = self._longest_without_node()
        if first is not None:
            ready.append(iter((first,)))
        yield from heapq.merge(*ready)
        yield from (key for key in heapq.merge(*behind) if key != first)
        for key in heapq.merge(*early):
            queue = self._queues[self._queue.namespace_of(key[3])]
            if queue.given_up_at(key) <= self._room_at:
                yield key

    def _may_start(self, name: str, keys: Collection[QueueKey]) -> Iterator[QueueKey]:
        """Those of a namespace that may start, until its limit is reached."""
        if name not in self._refusals:
            return takewhile(lambda _: self._limits.allows(name), keys)
        trying = self._verdicts[name].trying
        return iter((trying,) if trying is not None and trying in keys else ())

    def _longest_without_node(self) -> QueueKey | None:
        """Of those whose pod found no node, the one that waits longest. None if one tries again."""
        if any(queue.trying_again for queue in self._queues.values()):
            return None
        open_queues = (q for n, q in self._queues.items() if not self._verdicts[n].block)
        ends = [end for queue in open_queues if (end := queue.first_given_up())]
        if not ends:
            return None
        _, key = min(ends)
        name = self._queue.namespace_of(key[3])
        return key if name not in self._refusals or self._verdicts[name].trying == key else None

    def _take_sweeps(self, spare: int) -> list[str]:
        """The sweeps to start: they get only slots that no conversion waits for.

        They start in the order in which their conversions ended, and not in a namespace whose pods
        or Jobs are refused.
        """
        if spare <= 0 or not self._policy.enabled:
            return []
        rejected = self._obstacles.rejected
        refused = {
            self._queue.namespace_of(uid)
            for uid, block in rejected.items()
            if block.reason in REFUSED and self._queue.is_unfinished(uid)
        }
        wanted = sorted(
            (ended, uid, name)
            for name, queue in self._queues.items()
            if name not in refused and name not in self._refusals
            for ended, uid in queue.sweeps.after((self._now - SWEEP_WITHIN, _AFTER_ALL))
            if uid not in self._queue.reserved and uid not in rejected
        )
        selected: list[str] = []
        for _, uid, name in wanted:
            if len(selected) < spare and self._limits.allows(name):
                self._limits.take(name)
                selected.append(uid)
        return selected

    def _retry_at(self) -> datetime | None:
        times = [queue.next_retry_at() for queue in self._queues.values()]
        times += [refusal.retry_at for refusal in self._refusals.values()]
        return min((time for time in times if time and time > self._now), default=None)

    def _count(self) -> tuple[int, int]:
        """How many conversions wait for a slot, and how many for something else."""
        queued = blocked = 0
        for name, queue in self._queues.items():
            verdict, free = self._verdicts[name], queue.waits_for_slot()
            may_start = min(free, int(bool(verdict.trying))) if verdict.refusal else free
            may_start = 0 if verdict.block else may_start
            queued += may_start
            blocked += queue.blocked() + free - may_start
        return queued, blocked
