"""The admission policy: what starts now.

Slots are counted from the Jobs and pods that exist, never from statuses, with one exception, pods
that are lost with their node: see ``lost_with_node`` and ``without_lost_pod`` in
:mod:`conversion_operator.core.standing`. A status may be late, lost, or written by somebody else.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.candidates import Candidates, Line
from conversion_operator.core.capacity import Capacity
from conversion_operator.core.fair_sharing import FairSharing, VirtualTimes
from conversion_operator.core.model import EPOCH, Policy
from conversion_operator.core.namespace_queue import NamespaceBlocks, NamespaceQueue
from conversion_operator.core.plan import Block
from conversion_operator.core.queue import Queue
from conversion_operator.core.refusals import REFUSED, Refusal
from conversion_operator.core.standing import NO_KEY, QueueKey
from conversion_operator.core.start_limits import StartLimits
from conversion_operator.core.suspended import hold_back
from conversion_operator.core.sweep import SWEEP_WITHIN
from conversion_operator.core.work_class import UNKNOWN, WorkClass

_AFTER_ALL: Final = "\U0010ffff"
"""Sorts after every uid."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Obstacles in the cluster that prevent conversions from starting.

    ``rejected`` has, by uid, the conversions whose Job the API server recently rejected.
    ``outdated_crd`` says what the CRD in the cluster lacks, "" if nothing. ``policy_changed_at`` is
    when a setting last changed. Pods for which no node had room may fit since then. ``failing`` has
    the namespaces whose last create request failed without a clear answer.
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
    many conversions wait for a slot, ``blocked`` how many for something else. ``times`` are the
    virtual times after these starts.
    """

    start: tuple[str, ...]
    sweeps: tuple[str, ...]
    yielding: frozenset[str]
    retry_at: datetime | None
    queued: int
    blocked: int
    times: VirtualTimes


def unseen_slots(recorded: Mapping[str, int], observed: Mapping[str, int]) -> int:
    """How many slots to count in addition to those that were observed.

    ``recorded`` are the slots that a former leader recorded, for each namespace whose Jobs and pods
    are not known.
    """
    return sum(max(0, slots - observed.get(name, 0)) for name, slots in recorded.items())


class AdmissionPass:
    """One pass over the namespaces, and over the first conversions of their queues.

    ``startable`` are the namespaces in which conversions may start: their lists are current, and
    they are not leaving. Call :meth:`Queue.update` first.
    """

    def __init__(
        self,
        queue: Queue,
        now: datetime,
        obstacles: Obstacles,
        startable: Collection[str],
        times: VirtualTimes | None = None,
    ) -> None:
        self._queue, self._now, self._obstacles = queue, now, obstacles
        self._policy: Policy = queue.policy
        self._namespaces = {
            name: each for name, each in queue.namespaces.items() if name in startable
        }
        suspended_jobs = queue.suspended_jobs()
        self._held_back = hold_back(suspended_jobs, self._policy)
        self._limits = StartLimits(
            obstacles.failing,
            suspended_jobs,
            queue.reserved.values(),
            self._policy,
            (name for name, slots in queue.slots_by_namespace().items() if slots),
        )
        self._nodes_may_have_room_since = max(queue.last_pod_end, obstacles.policy_changed_at)
        self._refusals: dict[str, Refusal] = {}
        self._blocks: dict[str, NamespaceBlocks] = {}
        self._times = VirtualTimes() if times is None else times.copy()

    def select(self, slots_in_use: int) -> Selection:
        """Decide what starts now. ``slots_in_use`` counts those of all namespaces."""
        by_class = self._queue.slots_by_class()
        self._capacity = Capacity(self._policy, slots_in_use, by_class)
        self._update_namespaces()
        tiers = self._tiers()
        by_namespace: Counter[str] = Counter()
        for (name, _), slots in by_class.items():
            by_namespace[name] += slots
        sharing = FairSharing(by_namespace, self._policy.queues.weights, self._times)
        start = [uid for tier in tiers for uid in self._take(tier, sharing)]
        sweeps = self._take_sweeps()
        yielding = self._find_yielding(tiers)
        if self._obstacles.outdated_crd:
            start, sweeps = [], []
        return Selection(
            tuple(start),
            tuple(sweeps),
            frozenset(yielding),
            self._retry_at(),
            *self._count(),
            sharing.times,
        )

    def _update_namespaces(self) -> None:
        rejected: dict[str, dict[str, Block]] = defaultdict(dict)
        for uid, block in self._obstacles.rejected.items():
            rejected[self._queue.namespace_of(uid)][uid] = block
        for name, queue in self._queue.namespaces.items():
            if name not in self._namespaces:
                queue.use_blocks(None)
                continue
            queue.use_rejections(rejected[name])
            queue.advance(self._now)
            blocks = self._blocks[name] = self._find_blocks(name, queue)
            queue.use_blocks(blocks)

    def _find_blocks(self, name: str, queue: NamespaceQueue) -> NamespaceBlocks:
        refusal = queue.refusal()
        block, held_back = self._find_namespace_block(name), self._held_back.get(name)
        if refusal is None:
            return NamespaceBlocks(block, None, None, held_back)
        self._refusals[name] = refusal
        due = refusal.retry_at is not None and refusal.retry_at <= self._now
        probe = self._find_probe(name, queue) if due else None
        return NamespaceBlocks(block, refusal.block, probe, held_back)

    def _find_namespace_block(self, namespace: str) -> Block | None:
        if self._obstacles.outdated_crd:
            return Block(Reason.CRD_OUTDATED, self._obstacles.outdated_crd)
        if not self._policy.enabled:
            message = (
                "conversions are paused: CONVERTER_ENABLED is false for this operator, or a "
                "protective setting was invalid when it started"
            )
            return Block(Reason.PAUSED, message)
        if namespace in self._obstacles.namespaces_without_claim:
            claim = self._policy.claim_name
            message = f"namespace {namespace} has no PersistentVolumeClaim {claim}"
            return Block(Reason.CLAIM_MISSING, message)
        return None

    def _find_probe(self, name: str, queue: NamespaceQueue) -> QueueKey | None:
        """The probe: one whose last pod was not refused, or else the one refused longest ago.

        Conversions that ``Capacity`` allows to start now come first. Conversions take turns as the
        probe. Otherwise a large conversion that exceeds the quota would block a small one that
        fits. Visits conversions until it finds one whose last pod was not refused.
        """
        allowed = self._refused_longest_ago(name, queue, self._capacity.allows)
        return allowed or self._refused_longest_ago(name, queue, lambda *_: True)

    def _refused_longest_ago(
        self, name: str, queue: NamespaceQueue, allows: Callable[[str, WorkClass], bool]
    ) -> QueueKey | None:
        best: tuple[datetime, QueueKey] | None = None
        for lists in (queue.ready, queue.given_up, queue.early):
            allowed = (keys for work, keys in lists.lists.items() if allows(name, work))
            for key in heapq.merge(*allowed):
                too_early = queue.given_up_at(key) > self._nodes_may_have_room_since
                if lists is queue.early and too_early:
                    continue
                time = queue.refused_at(key)
                if time == EPOCH:
                    return key
                if best is None or time < best[0]:
                    best = time, key
        return best[1] if best else None

    def _tiers(self) -> tuple[Candidates, Candidates, Candidates]:
        """The conversions that may start, in three tiers.

        A conversion of a later tier starts only if none of an earlier tier can.

        1. The conversions that are ready. Also one of those that gave up their slot because no node
           had room: the one that has waited longest, unless another of them has an attempt in
           progress.
        2. The others that gave up their slot. So all of these together take at most one slot that
           others could use. Otherwise, many of them would take turns in all slots.
        3. Those that gave up their slot and are still in back-off, if a node may have room now.
        """
        ready, behind, early = Candidates(), Candidates(), Candidates()
        first = self._longest_given_up()
        for name, queue in self._namespaces.items():
            if self._blocks[name].block:
                continue
            for work, keys in queue.ready.lists.items():
                ready.add(name, work, self._may_start(name, keys))
            for work, keys in queue.given_up.lists.items():
                behind.add(name, work, _without(first, self._may_start(name, keys)))
                if first is not None and first in keys:
                    ready.add(name, work, (first,))
            for work, keys in queue.early.lists.items():
                early.add(name, work, self._may_try_early(queue, self._may_start(name, keys)))
        return ready, behind, early

    def _may_start(self, name: str, keys: Collection[QueueKey]) -> Iterator[QueueKey]:
        """Those of a namespace that may start. While its pods are refused, this is one of them."""
        if name not in self._refusals:
            return iter(keys)
        probe = self._blocks[name].probe
        return iter((probe,) if probe is not None and probe in keys else ())

    def _may_try_early(self, queue: NamespaceQueue, keys: Iterable[QueueKey]) -> Iterator[QueueKey]:
        """Those whose pod was given up before a node may have got room."""
        since = self._nodes_may_have_room_since
        return (key for key in keys if queue.given_up_at(key) <= since)

    def _allows(self, name: str, work: WorkClass) -> bool:
        return self._limits.allows(name) and self._capacity.allows(name, work)

    def _take(self, tier: Candidates, sharing: FairSharing) -> Iterator[str]:
        """Those of a tier that start now.

        Visits the heads of all namespaces that have any, and then one namespace for each start.
        """
        turns = [
            (sharing.turn(name, self._creation_key(name, line)), name)
            for name in tier.lines
            if self._capacity.free > 0 and (line := tier.best(name, self._allows))
        ]
        heapq.heapify(turns)
        while turns and self._capacity.free > 0:
            _, name = heapq.heappop(turns)
            line = tier.best(name, self._allows)
            if line is None or line.head is None:
                continue
            uid = line.head.uid
            self._start(name, line)
            sharing.admit(name)
            yield uid
            if following := tier.best(name, self._allows):
                key = self._creation_key(name, following)
                heapq.heappush(turns, (sharing.turn(name, key), name))

    def _start(self, name: str, line: Line) -> None:
        self._capacity.take(name, line.work)
        self._limits.take(name)
        line.take()

    def _creation_key(self, name: str, line: Line) -> QueueKey:
        """That of the head of a line. Priorities do not count between namespaces."""
        uid = line.head.uid if line.head else ""
        standing = self._namespaces[name].standing(uid)
        return standing.creation_key if standing else NO_KEY

    def _find_yielding(self, tiers: Iterable[Candidates]) -> Iterator[str]:
        """The pods without a node whose slots others could use, the last ones of the queue first.

        Each frees a slot for one conversion. Visits the heads of the namespaces, and the pods
        without a node.
        """
        without_node = sorted(
            ((key, name) for name, queue in self._namespaces.items() for key in queue.without_node),
            reverse=True,
        )
        if not without_node or not self._policy.max_parallel:
            return
        # If a limit was lowered below the slots in use, a pod still yields for each conversion that
        # waits. Otherwise, none would yield until the slots in use are below the limit.
        self._capacity.forgive_excess()
        lines = ((tier, name) for tier in tiers for name in tier.lines)
        for candidates, name in lines:
            while (chosen := self._find_pod_to_replace(candidates, name, without_node)) is not None:
                without_node.remove(chosen)
                yield chosen[0].uid

    def _find_pod_to_replace(
        self, tier: Candidates, name: str, without_node: Iterable[tuple[QueueKey, str]]
    ) -> tuple[QueueKey, str] | None:
        """The pod without a node in whose place a conversion of the namespace could start.

        The slot then counts as taken by that conversion.
        """
        for each in without_node:
            work = self._slot_work(each)
            self._capacity.release(each[1], work)
            if line := tier.best(name, self._allows):
                self._start(name, line)
                return each
            self._capacity.take(each[1], work)
        return None

    def _slot_work(self, each: tuple[QueueKey, str]) -> WorkClass:
        standing = self._namespaces[each[1]].standing(each[0].uid)
        return standing.slot_work if standing else UNKNOWN

    def _longest_given_up(self) -> QueueKey | None:
        """Of the conversions that gave up their slot and that the limits allow to start, the one
        that has waited longest.

        None while one of them has an attempt in progress.
        """
        if any(queue.retrying_after_giving_up for queue in self._namespaces.values()):
            return None
        open_queues = (each for each in self._namespaces.items() if not self._blocks[each[0]].block)
        given_up = [
            first for name, queue in open_queues if (first := self._first_given_up(name, queue))
        ]
        if not given_up:
            return None
        _, key = min(given_up)
        name = self._queue.namespace_of(key.uid)
        return key if name not in self._refusals or self._blocks[name].probe == key else None

    def _first_given_up(self, name: str, queue: NamespaceQueue) -> tuple[datetime, QueueKey] | None:
        """Of those of a namespace whose class the limits allow, the one that has waited longest."""
        allowed = {work for work in queue.given_up.lists if self._allows(name, work)}
        return queue.first_given_up(allowed) if allowed else None

    def _take_sweeps(self) -> list[str]:
        """The sweeps to start: they get only slots that no conversion waits for.

        They start in the order in which their conversions ended, and not in a namespace in which
        pods are refused or Jobs rejected.
        """
        if self._capacity.free <= 0 or not self._policy.enabled:
            return []
        rejected = self._obstacles.rejected
        refused = {
            self._queue.namespace_of(uid)
            for uid, block in rejected.items()
            if block.reason in REFUSED and self._queue.is_unfinished(uid)
        }
        wanted = sorted(
            (ended, uid, name)
            for name, queue in self._namespaces.items()
            if name not in refused and name not in self._refusals
            for ended, uid in queue.sweeps.from_key((self._now - SWEEP_WITHIN, _AFTER_ALL))
            if uid not in self._queue.reserved and uid not in rejected
        )
        selected: list[str] = []
        for _, uid, name in wanted:
            standing = self._namespaces[name].standing(uid)
            if standing is not None and self._allows(name, standing.work):
                self._limits.take(name)
                self._capacity.take(name, standing.work)
                selected.append(uid)
        return selected

    def _retry_at(self) -> datetime | None:
        times = [queue.next_retry_at() for queue in self._namespaces.values()]
        times += [refusal.retry_at for refusal in self._refusals.values()]
        return min((time for time in times if time and time > self._now), default=None)

    def _count(self) -> tuple[int, int]:
        """How many conversions wait for a slot, and how many for something else."""
        queued = blocked = 0
        for name, queue in self._namespaces.items():
            blocks, free = self._blocks[name], queue.waits_for_slot()
            may_start = min(free, int(bool(blocks.probe))) if blocks.refusal else free
            may_start = 0 if blocks.block else may_start
            queued += may_start
            blocked += queue.blocked() + free - may_start
        return queued, blocked


def _without(left_out: QueueKey | None, keys: Iterable[QueueKey]) -> Iterator[QueueKey]:
    return (key for key in keys if key != left_out)
