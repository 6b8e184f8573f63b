"""Decides which conversions start, pass by pass.

As in Kueue, admission means that a conversion gets a slot. It is not the admission control of the
API server.

Each change that a watch or a list shows updates the queue. A pass runs when the queue changes, when
a back-off ends, and at least every 15 s, but never more often than every 50 ms. A pass looks at
the conversions that have changed and at the heads of the queues. After a change of the policy, it
looks at all conversions. If a namespace becomes blocked or unblocked, or its block gets another
reason, a pass looks at all conversions that wait there.

Passes run one after the other. Each reserves free slots. Before a pass creates Jobs, it records the
admitted attempts on the Lease. The next leader reads them and reserves a slot for each. So if this
process freezes, loses leadership and then sends a create request late, the next leader already
holds a slot for that conversion.

Nothing starts in a namespace until the operator has listed its Jobs and pods in this term of
leadership. At the start of a term, nothing starts anywhere until those of all watched namespaces
are listed, or GRACE_SECONDS (in controller.sync) have passed. After that, if the Jobs and pods of a
namespace are still not listed, it counts as using the larger of two numbers of slots: the number
that a leader recorded on the Lease, and the number that its known Jobs and pods use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from conversion_operator.cluster.admissions import Admission
from conversion_operator.controller.backlog import Backlog
from conversion_operator.controller.claims import CACHE_SECONDS, Claims
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.job_creator import JobCreator
from conversion_operator.controller.leadership import Leadership
from conversion_operator.controller.slots import SlotCounter
from conversion_operator.core.admission import AdmissionPass, Obstacles, Selection
from conversion_operator.core.attempts import latest_attempt_number
from conversion_operator.core.capacity import Capacity
from conversion_operator.core.children import Children
from conversion_operator.core.fair_sharing import VirtualTimes
from conversion_operator.core.model import EPOCH, Conversion, Policy
from conversion_operator.core.queue import Queue
from conversion_operator.core.sweep import SWEEP_ATTEMPT

_LONGEST_INTERVAL: Final = 15.0
"""The longest time between two passes."""
_SHORTEST_INTERVAL: Final = 0.05
"""The shortest time between two passes. What changes meanwhile is handled by one pass."""
_RETRY_DELAY: Final = 1.0
"""How long to wait while no pass can run, or after a pass could not be recorded, in seconds."""
_FOREIGN_COUNT_INTERVAL: Final = 1.0
"""The shortest time between two passes that count foreign Jobs and pods, in seconds.

core.identity says what these are. The count is only for the metric.
"""
_SLICE: Final = 500
"""How many conversions to look at before other tasks may run. This takes about 10 ms."""


class Admitter:
    """Keeps the queue, and runs the admission passes.

    The admitter calls ``enqueue`` with the uid of each conversion that is new in the queue, whose
    reason for waiting has changed, or whose reservation has ended: its Job exists, or will
    certainly not be created. ``backlog`` returns how many urgent conversions wait to be reconciled,
    without those that fail or were added with low priority. The admitter calls
    ``watch_inherited`` with the namespaces that the former leader has recorded on the Lease, so
    that they are watched although WATCH_NAMESPACES may no longer have them. It calls
    ``refresh_position`` with the uid of each waiting conversion whose priority or ConversionQueue
    has changed, by an edit or by its ConversionProfile.
    """

    def __init__(
        self,
        context: ControllerContext,
        leadership: Leadership,
        enqueue: Callable[[str], None],
        watch_inherited: Callable[[Collection[str]], None] = lambda _: None,
        backlog: Callable[[], int] = lambda: 0,
        refresh_position: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._backlog, self._refresh_position = Backlog(backlog), refresh_position
        self._watch_inherited = watch_inherited
        self._leadership = leadership
        # The term in which this operator last took over the admissions of the former leader.
        self._taken_over_term = 0
        self._context, self._enqueue = context, enqueue
        self._cluster, self._store, self._sync = context.cluster, context.store, context.sync
        self._creator = JobCreator(
            context, leadership, self._on_reservation_end, self.wake, self._inherited_fits
        )
        self._policy = context.policy()
        self._policy_changed_at = EPOCH
        self.queue = Queue(self._find, context.store.writers, self._creator.reserved, self._policy)
        self.queue.reserved_conversion_queues = self._creator.conversion_queues
        self._slots = SlotCounter(self.queue, context.sync)
        self._virtual_times = VirtualTimes()
        self._yielding: frozenset[str] = frozenset()
        self._claims = Claims(context.cluster)
        self._wake = asyncio.Event()
        # Whether something has changed, so that a pass is needed.
        self._needs_pass = True
        # When the next pass is needed even without a change, by the monotonic clock.
        self._due = 0.0
        # When the oldest change that no pass has handled yet was noted, by the monotonic clock. It
        # is only for the metric of how long starts take.
        self._oldest_change_at: float | None = None
        self._foreign_counted_at = 0.0

    def wake(self) -> None:
        """Ask for another pass, because a conversion may now be able to start."""
        self._needs_pass = True
        self._wake_loop()

    def note_change(self, uid: str) -> None:
        """Note that a conversion, or its Jobs and pods, may have changed."""
        self.queue.note_change(uid)
        self._wake_loop()

    def _wake_loop(self) -> None:
        if self._oldest_change_at is None:
            self._oldest_change_at = time.monotonic()
        self._wake.set()

    def should_yield_slot(self, uid: str) -> bool:
        """True if the pod of this conversion has no node, and another could use its slot."""
        return uid in self._yielding

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                delay = await self._run_pass()
                await asyncio.sleep(_SHORTEST_INTERVAL)
                try:
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
        finally:
            self._creator.cancel()

    def _find(self, uid: str) -> tuple[Conversion | None, Children]:
        return self._store.conversion(uid), self._store.children(uid)

    def _on_reservation_end(self, uid: str) -> None:
        self.queue.note_change(uid)
        self._enqueue(uid)

    async def _run_pass(self) -> float:
        """Run a pass if one is needed. Returns the longest wait before the next, in seconds."""
        if not self._context.leads():
            self._oldest_change_at = None
            return _RETRY_DELAY
        self._use_policy(self._context.policy())
        if self._taken_over_term != self._leadership.term:
            self._needs_pass = True
            self._take_over(self._policy)
        must_wait_for_lists = self._sync.must_wait() or not self._context.queues.known
        if must_wait_for_lists or self._context.schema.must_wait:
            return _RETRY_DELAY
        await self._update_queue()
        if not self._needs_pass and (left := self._due - time.monotonic()) > 0:
            self._oldest_change_at = None
            return left
        return _SHORTEST_INTERVAL if self._backlog.delays_pass() else await self._admit()

    async def _admit(self) -> float:
        # A call of `wake` from here on causes another pass.
        self._needs_pass = False
        oldest_change_at, self._oldest_change_at = self._oldest_change_at or time.monotonic(), None
        namespaces_to_check = self._startable_namespaces()
        obstacles = await self._find_obstacles(namespaces_to_check)
        if self._taken_over_term != self._leadership.term:
            self._needs_pass = True
            return 0.05  # this operator lost leadership and became leader again meanwhile
        startable = self._startable_namespaces()
        if not startable <= namespaces_to_check:
            self._needs_pass = True  # the claims of the new ones are not checked yet
            startable &= namespaces_to_check
        # Do not await between here and `reserve`: no watch event and no task that creates a Job may
        # run between counting and reserving the slots.
        now = self._cluster.now()
        self.queue.update(now)
        slots_in_use = self._slots.held()
        admission = AdmissionPass(self.queue, now, obstacles, startable, self._virtual_times)
        selection = admission.select(slots_in_use)
        attempts = self._next_attempts(selection)
        changed_uids = self.queue.take_changed()
        namespace_by_uid = {uid: self.queue.namespace_of(uid) for uid in attempts}
        conversion_queues = ((uid, self.queue.conversion_queue_of(uid)) for uid in attempts)
        self._reserve(namespace_by_uid, {uid: name for uid, name in conversion_queues if name})
        is_recorded = await self._record(attempts, namespace_by_uid, selection.times)
        if is_recorded:
            self._virtual_times = selection.times
            for uid, attempt in attempts.items():
                self._creator.start(uid, attempt, self._policy, changed_at=oldest_change_at)
        self._publish(selection, changed_uids, slots_in_use)
        if not is_recorded:
            self._needs_pass, self._oldest_change_at = True, oldest_change_at
            return _RETRY_DELAY
        delay = self._delay(selection.retry_at, now, obstacles)
        self._due = time.monotonic() + delay
        return delay

    def _delay(self, retry_at: datetime | None, now: datetime, obstacles: Obstacles) -> float:
        delay = (retry_at - now).total_seconds() if retry_at else _LONGEST_INTERVAL
        # While a claim is missing or a Job was rejected, check every few seconds.
        check_soon = obstacles.namespaces_without_claim or obstacles.rejected
        return min(max(delay, 0.05), CACHE_SECONDS if check_soon else _LONGEST_INTERVAL)

    async def _update_queue(self) -> None:
        """Look at the conversions that have changed since the last pass, in slices.

        The number of slices is fixed at the start: a write of the Lease waits for this method, so
        it must end although more conversions change meanwhile.
        """
        for _ in range(self.queue.to_update // _SLICE):
            self._needs_pass |= self.queue.update(self._cluster.now(), _SLICE)
            await asyncio.sleep(0)
        self._needs_pass |= self.queue.update(self._cluster.now())

    def _use_policy(self, policy: Policy) -> None:
        """Apply a changed policy, and check all conversions again."""
        if policy != self._policy:
            self._policy, self._policy_changed_at = policy, self._cluster.now()
            self.queue.use_policy(policy, self._store.all_uids())
            self._needs_pass = True

    def _startable_namespaces(self) -> frozenset[str]:
        """The namespaces in which something may start.

        Their Jobs and pods were listed in this term, and they are still in WATCH_NAMESPACES. Cost:
        iterates over the namespaces that have conversions, twice a pass.
        """
        return frozenset(
            name
            for name in self.queue.namespaces
            if self._sync.admissible(name) and not self._sync.is_leaving(name)
        )

    def is_starting_in(self, matches: Callable[[str], bool]) -> bool:
        """True while a Job is being created in a namespace for which ``matches`` returns True."""
        return any(map(matches, self._creator.reserved.values()))

    async def slots_to_record(self) -> Mapping[str, int]:
        """The slots by namespace for the next write of the Lease, without those of admissions."""
        if self._taken_over_term == self._leadership.term:
            await self._update_queue()
        # Until the admissions are taken over, the record of the former leader is valid.
        if self._taken_over_term != self._leadership.term:
            return self._leadership.inherited_slots
        return self._slots.to_record()

    def slots_held(self) -> int:
        """How many slots are in use or reserved."""
        return self._slots.held()

    def _inherited_fits(self, conversion: Conversion) -> bool:
        """Whether a conversion that a former leader admitted still fits into the limits.

        The Lease does not record the ConversionQueue of an admission, and spec.queue may have
        changed since. So the present one counts. Cost: iterates over the namespaces, before each
        create request for such an admission.
        """
        self._needs_pass |= self.queue.update(self._cluster.now())
        standing = self.queue.standing(conversion.key.uid)
        if standing is None:
            return False
        capacity = Capacity(self._policy, self._slots.held(), self.queue.slots_by_class())
        # Its own reservation is counted already.
        capacity.release(standing.namespace, standing.work)
        return capacity.allows(standing.namespace, standing.work)

    def _next_attempts(self, selection: Selection) -> dict[str, int]:
        """The attempt number to start now, by uid.

        SWEEP_ATTEMPT stands for a sweep, the Job that removes what a killed attempt left behind.
        """
        attempts: dict[str, int] = {}
        for uid in selection.start:
            conversion, children = self._find(uid)
            if conversion is not None:
                attempts[uid] = latest_attempt_number(conversion, children) + 1
        attempts |= dict.fromkeys(selection.sweeps, SWEEP_ATTEMPT)
        return attempts

    def _reserve(
        self,
        namespace_by_uid: Mapping[str, str],
        conversion_queue_by_uid: Mapping[str, str] | None = None,
    ) -> None:
        """Reserve a slot for each conversion.

        ``conversion_queue_by_uid`` is None for conversions that a former leader admitted: their
        ConversionQueues are unknown.
        """
        self._creator.reserve(namespace_by_uid, conversion_queue_by_uid or {})
        for uid in namespace_by_uid:
            self.queue.note_change(uid)

    async def _record(
        self, attempts: Mapping[str, int], namespace_by_uid: Mapping[str, str], times: VirtualTimes
    ) -> bool:
        """Record admissions on the Lease. If this fails, remove their reservations."""
        admissions = {
            uid: Admission(attempt, namespace_by_uid[uid]) for uid, attempt in attempts.items()
        }
        term, to_record = self._taken_over_term, times.to_record()
        if not attempts or await self._leadership.record_admissions(admissions, term, to_record):
            return True
        self._creator.release(attempts)
        for uid in attempts:
            self.queue.note_change(uid)
        return False

    def _publish(self, selection: Selection, changed: Iterable[str], slots_in_use: int) -> None:
        """Enqueue the conversions whose status may need an update, and set the metrics."""
        self._yielding = selection.yielding
        rejected = self._creator.rejections()
        for uid in self.queue.take_reordered():
            self._refresh_position(uid)
        for uid in changed:
            # A conversion with a reservation is enqueued when its reservation ends. But a rejected
            # one is enqueued now, so that its status shows the rejection.
            if uid not in self._creator.reserved or uid in rejected:
                self._enqueue(uid)
        if not self._context.leads():
            return  # the next leader shows the numbers
        metrics = self._context.metrics
        metrics.queued.set(max(0, selection.queued - len(selection.start)))
        metrics.blocked.set(selection.blocked)
        metrics.running.set(slots_in_use)
        if time.monotonic() - self._foreign_counted_at > _FOREIGN_COUNT_INTERVAL:
            self._foreign_counted_at = time.monotonic()
            metrics.foreign_children.set(self._store.foreign_count())
        metrics.limit.set(self._policy.max_parallel)
        metrics.enabled.set(self._policy.enabled)

    async def _find_obstacles(self, startable: Collection[str]) -> Obstacles:
        """What keeps conversions from starting in this pass.

        Cost: iterates over the namespaces on every pass. Sends one request for each namespace if
        the cached response about its claim has expired.
        """
        namespaces = [name for name in self.queue.namespaces_with_unfinished() if name in startable]
        claim = self._policy.claim_name
        # All at the same time: the pass waits only as long as the slowest request takes.
        exist = await asyncio.gather(*(self._claims.exists(name, claim) for name in namespaces))
        missing = {name for name, found in zip(namespaces, exist, strict=True) if not found}
        # Many conversions may have changed during the requests. Ignore the result of `update`: this
        # pass already takes the changes into account, so they do not need another one.
        while self.queue.to_update > _SLICE:
            self.queue.update(self._cluster.now(), _SLICE)
            await asyncio.sleep(0)
        # Read the rejections after the last await, to include those that arrive meanwhile.
        return Obstacles(
            frozenset(missing),
            self._creator.rejections(),
            self._context.schema.problem,
            self._policy_changed_at,
            self._creator.failing,
        )

    def _take_over(self, policy: Policy) -> None:
        """Begin a term: take over the admissions and the record of slots of the former leader.

        Jobs and pods are listed again, because the watches may not have shown the last Jobs that
        the former leader created.
        """
        self._taken_over_term = self._leadership.term
        slots = self._leadership.inherited_slots
        self._slots.begin_term(slots)
        self._virtual_times = VirtualTimes(self._leadership.inherited_times)
        with_admissions = {
            admission.namespace for admission in self._leadership.inherited_admissions.values()
        }
        # After `_sync.begin_term`, nothing starts until all namespaces that are watched at that
        # moment have been listed, or GRACE_SECONDS have passed. So first
        # watch every namespace that may have running Jobs. Leave out "": an old release recorded
        # admissions without a namespace.
        self._watch_inherited((with_admissions | {name for name in slots if slots[name]}) - {""})
        self._sync.begin_term()
        # Namespaces with 0 slots have no running Jobs, but callbacks may be owed there. Watch them
        # after `_sync.begin_term`, so that no start waits for the lists of these namespaces.
        self._watch_inherited([name for name in slots if not slots[name]])
        for uid, (attempt, namespace) in self._leadership.inherited_admissions.items():
            if uid not in self._creator.reserved:
                self._reserve({uid: namespace})
                # Treat the admission as a create request that was sent just now, with an unknown
                # result: the former leader may have sent it, or may send it when its process
                # resumes.
                self._creator.start(uid, attempt, policy, unresolved_create_at=time.monotonic())
