"""Decides which conversions start, pass by pass.

As in Kueue, admission means that a conversion gets a slot. It is not the admission control of the
API server.

Passes run one after the other. Each reserves free slots. Before a pass creates Jobs, it records the
admitted attempts on the Lease. The next leader reads them and reserves a slot for each. So if this
process is suspended, loses leadership and then sends a create request late, the next leader already
holds a slot for that conversion.

Nothing starts in a namespace until the API server has answered its lists in this term. While lists
of one namespace are missing, nothing starts in the others either, for a limited time. After that,
the namespace without lists counts with the slots that a leader last recorded for it on the Lease.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from conversion_operator.cluster.admissions import Admission, admissions_that_still_fit
from conversion_operator.cluster.errors import (
    ClusterError,
)
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.job_creator import JobCreator
from conversion_operator.controller.leadership import Leadership
from conversion_operator.controller.slots import SlotCounter
from conversion_operator.core.admission import (
    Obstacles,
    Queue,
    admit,
    build_queue,
    find_yielding,
    limit_failing_namespaces,
)
from conversion_operator.core.attempts import latest_attempt_number
from conversion_operator.core.model import EPOCH, Conversion, Policy
from conversion_operator.core.refusals import REFUSED
from conversion_operator.core.suspended import count_suspended, hold_back, limit_suspended
from conversion_operator.core.sweep import (
    SWEEP_ATTEMPT,
    free_for_sweeps,
    wanted_sweeps,
)

_PASS_INTERVAL: Final = 15.0
"""The longest time between two passes."""
_NOT_READY_DELAY: Final = 1.0
_CLAIM_CACHE_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Admitter:
    """Runs the admission passes.

    A pass runs after each wake-up and at least every 15 seconds. It walks all conversions and all
    children. The admitter calls ``enqueue`` with the uid of each conversion whose queue position,
    block or Job changed, and ``on_inherited`` with the namespaces that the former leader has
    recorded on the Lease.
    """

    def __init__(
        self,
        context: ControllerContext,
        leadership: Leadership,
        enqueue: Callable[[str], None],
        on_inherited: Callable[[Collection[str]], None] = lambda _: None,
    ) -> None:
        self._on_inherited = on_inherited
        self._leadership = leadership
        # The term in which this operator last took over the admissions of the former leader.
        self._prepared_term = 0
        self.queue = Queue((), {})
        self._context, self._enqueue = context, enqueue
        self._cluster, self._store, self._sync = context.cluster, context.store, context.sync
        self._slots = SlotCounter(context.store, context.sync)
        # Whether a claim exists, each answer with its expiry by the monotonic clock.
        self._claim_cache: dict[str, tuple[bool, float]] = {}
        self._wake = asyncio.Event()
        self._policy: Policy | None = None
        self._changed_at = EPOCH
        self._creator = JobCreator(context, leadership, enqueue, self.wake)

    def wake(self) -> None:
        """Ask for another pass, because a conversion may now be able to start."""
        self._wake.set()

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                delay = await self._run_pass()
                try:
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
        finally:
            self._creator.cancel()

    async def _run_pass(self) -> float:
        """Run one pass. Returns the longest wait before the next pass, in seconds."""
        if not self._context.leads():
            return _NOT_READY_DELAY
        policy = self._context.settings.current.policy()
        if self._prepared_term != self._leadership.term:
            self._take_over(policy)
        if self._sync.must_wait() or self._context.schema.must_wait:
            return _NOT_READY_DELAY
        obstacles = await self._find_obstacles(policy)
        if self._prepared_term != self._leadership.term:
            return 0.05  # this operator lost leadership and became leader again meanwhile
        # Do not await between here and `reserve`: no watch event and no task that creates a Job may
        # run between counting and reserving the slots.
        now = self._cluster.now()
        conversions, children = self._conversions(), self._store.all_children()
        queue = build_queue(conversions, children, obstacles, now, policy, self._store.writers)
        suspended = count_suspended(children.values())
        queue = replace(
            _without(queue, self._creator.reserved), held_back=hold_back(suspended, policy)
        )
        held = self._slots.held(self._creator.reserved)
        batch, more = self._select(queue, conversions, suspended, held, policy)
        if obstacles.outdated_crd:
            batch = {}  # no sweep either
        queue = replace(queue, yielding=find_yielding(conversions, children, more))
        namespaces = {c.key.uid: c.key.namespace for c in conversions if c.key.uid in batch}
        self._creator.reserve(namespaces)
        admissions = {uid: Admission(attempt, namespaces[uid]) for uid, attempt in batch.items()}
        if batch and not await self._leadership.record_admissions(admissions, self._prepared_term):
            self._creator.release(batch)
            return _NOT_READY_DELAY
        for uid, attempt in batch.items():
            self._creator.start(uid, attempt, policy)
        self._publish_queue(queue, held, policy)
        retry_at = queue.next_retry_at
        delay = (retry_at - now).total_seconds() if retry_at else _PASS_INTERVAL
        # While there is an obstacle, check every few seconds whether it still exists.
        has_obstacles = obstacles.namespaces_without_claim or obstacles.rejected
        return min(max(delay, 0.05), _CLAIM_CACHE_SECONDS if has_obstacles else _PASS_INTERVAL)

    def _policy_changed_at(self, policy: Policy) -> datetime:
        """When the settings last changed while this operator ran."""
        if self._policy is not None and policy != self._policy:
            self._changed_at = self._cluster.now()
        self._policy = policy
        return self._changed_at

    def _conversions(self) -> list[Conversion]:
        """The conversions that may start something.

        The API server has answered the lists of their namespaces in this term, and their namespaces
        are not leaving.
        """
        known = {
            name
            for name in self._sync.namespaces
            if self._sync.admissible(name) and not self._sync.is_leaving(name)
        }
        return [c for c in self._store.conversions() if c.key.namespace in known]

    def is_starting_in(self, namespace: str) -> bool:
        """True while the outcome of a create request for a Job in this namespace is not known."""
        return namespace in self._creator.reserved.values()

    def slots_to_record(self) -> Mapping[str, int]:
        """The slots in use by namespace, for the next write of the Lease."""
        if self._prepared_term != self._leadership.term:
            return self._leadership.inherited_slots
        return self._slots.to_record(self._creator.reserved)

    def _select(
        self,
        queue: Queue,
        conversions: Sequence[Conversion],
        suspended: Mapping[str, int],
        held: int,
        policy: Policy,
    ) -> tuple[dict[str, int], int]:
        """The attempt number to start now, by uid, and how many more slots could be used.

        SWEEP_ATTEMPT stands for a sweep, the Job that removes what a killed attempt left behind.
        Sweeps get only slots that no conversion waits for.
        """
        reserved = self._creator.reserved
        namespaces = {c.key.uid: c.key.namespace for c in conversions}

        def startable(uids: Iterable[str], selected: Iterable[str] = ()) -> tuple[str, ...]:
            taken = [*reserved.values(), *(namespaces[uid] for uid in selected)]
            uids = limit_failing_namespaces(uids, namespaces, self._creator.failing, taken, policy)
            return limit_suspended(uids, namespaces, suspended, taken, policy)

        order = startable(queue.order)
        selected = {
            uid: latest_attempt_number(conversion, self._store.children(uid)) + 1
            for uid in admit(order, held, policy)
            if (conversion := self._store.conversion(uid))
        }
        spare = free_for_sweeps(len(order), held, policy)
        if spare:
            wanted = wanted_sweeps(conversions, self._store.all_children(), self._cluster.now())
            # The queue holds back a conversion whose Job was rejected. Sweeps are not in the
            # queue, so hold back rejected sweeps here. Otherwise each pass would request them.
            unavailable = reserved.keys() | self._creator.rejections().keys()
            # Nor may sweeps hold slots in a namespace whose pods or Jobs are refused.
            blocked = {namespaces.get(u) for u, b in queue.blocks.items() if b.reason in REFUSED}
            available = (u for u in wanted if u not in unavailable and namespaces[u] not in blocked)
            sweeps = startable(available, selected)
            selected |= dict.fromkeys(sweeps[:spare], SWEEP_ATTEMPT)
        # The Lease has room for a limited number of admissions.
        limit = admissions_that_still_fit(len(reserved))
        more = len(order) - max(0, policy.max_parallel - held) if policy.max_parallel else 0
        return dict(itertools.islice(selected.items(), limit)), more

    def _publish_queue(self, queue: Queue, held: int, policy: Policy) -> None:
        before, self.queue = self.queue, _without(queue, self._creator.reserved)
        ranks = {uid: rank for rank, uid in enumerate(before.order)}
        for rank, uid in enumerate(self.queue.order):
            if ranks.get(uid) != rank:
                self._enqueue(uid)
        for uid, block in self.queue.blocks.items():
            if before.blocks.get(uid) != block:
                self._enqueue(uid)
        metrics = self._context.metrics
        metrics.queued.set(len(self.queue.order))
        metrics.blocked.set(len(self.queue.blocks))
        metrics.running.set(held)
        metrics.foreign_children.set(self._store.foreign_count())
        metrics.limit.set(policy.max_parallel)
        metrics.enabled.set(policy.enabled)

    async def _find_obstacles(self, policy: Policy) -> Obstacles:
        """The namespaces without a claim, and the rejections that have not expired.

        Walks all conversions on every pass. Sends one request for each
        namespace if the cached response about its claim has expired.
        """
        namespaces = sorted({c.key.namespace for c in self._conversions() if not c.finished})
        # At the same time: a request that gets no response must not delay the others.
        exist = await asyncio.gather(
            *(self._claim_exists(n, policy.claim_name) for n in namespaces)
        )
        missing = {name for name, found in zip(namespaces, exist, strict=True) if not found}
        # Read the rejections after the last await, to include those that arrive during the checks
        # of claims.
        rejected = self._creator.rejections()
        return Obstacles(
            frozenset(missing),
            rejected,
            self._context.schema.problem,
            self._policy_changed_at(policy),
            frozenset(self._creator.reserved),
        )

    async def _claim_exists(self, namespace: str, claim: str) -> bool:
        key, now = f"{namespace}/{claim}", time.monotonic()
        exists, expiry = self._claim_cache.get(key, (True, 0.0))
        if expiry > now:
            return exists
        try:
            exists = await self._cluster.claim_exists(namespace, claim)
        except ClusterError as error:
            # Keep the last known value, or True if there is none. If True is wrong, the
            # conversion starts, its pod stays Pending, and the pod's Events say why.
            logger.warning("Cannot check the claim %s: %s", key, error)
        self._claim_cache[key] = exists, now + _CLAIM_CACHE_SECONDS
        return exists

    def _take_over(self, policy: Policy) -> None:
        """Begin a term: take over the admissions and the record of slots of the former leader.

        Jobs and pods are listed again, because the watches may not have shown the last Jobs that
        the former leader created.
        """
        self._prepared_term = self._leadership.term
        slots = self._leadership.inherited_slots
        self._slots.begin_term(slots)
        admitted = {
            admission.namespace for admission in self._leadership.inherited_admissions.values()
        }
        self._on_inherited((admitted | {name for name in slots if slots[name]}) - {""})
        self._sync.begin_term()
        # Only callbacks may be owed in the others. The namespaces in the settings do not wait for
        # their lists.
        self._on_inherited([name for name in slots if not slots[name]])
        for uid, (attempt, namespace) in self._leadership.inherited_admissions.items():
            if uid not in self._creator.reserved:
                self._creator.reserve({uid: namespace})
                # The former leader may have sent the create request for this attempt, or may send
                # it when its process resumes.
                self._creator.start(uid, attempt, policy, last_unknown_result_at=time.monotonic())


def _without(queue: Queue, reserved: Container[str]) -> Queue:
    return replace(queue, order=tuple(uid for uid in queue.order if uid not in reserved))
