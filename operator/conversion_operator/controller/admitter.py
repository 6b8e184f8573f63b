"""Starts conversions. This is the only place that creates Jobs.

As in Kueue, admission means that a conversion gets a slot. It is not the admission control of the
API server.

Passes run one after the other. Each reserves free slots. Before a pass creates Jobs, it records the
admitted attempts on the Lease. The next leader reads them and reserves a slot for each. So if this
process is suspended, loses leadership and then sends a create request late, the next leader already
holds a slot for that conversion.

If the response to a create request is lost, the operator does not know whether the Job exists. So
a reservation ends in one of two cases only:

- The Job is in the store.
- The API server rejected the last request, or the attempt may no longer start, or the requests
  failed for 30 s. In addition, each earlier request has a response, or it is too old to create the
  Job.

Nothing starts in a namespace before its lists were answered in this term. The other namespaces wait
for these lists for a limited time. After that, such a namespace counts with the slots that a leader
last recorded for it on the Lease.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conversion_operator.api.reasons import Reason
from conversion_operator.cluster.admissions import Admission, admissions_that_still_fit
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    NotFound,
    NotLeader,
    Rejected,
    TooLarge,
)
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.leadership import Leadership
from conversion_operator.controller.slots import SlotCounter
from conversion_operator.core.admission import Obstacles, Queue, admit, build_queue
from conversion_operator.core.attempts import awaits_attempt, latest_attempt_number
from conversion_operator.core.manifest import build_job, build_sweep
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.sweep import (
    SWEEP_ATTEMPT,
    free_for_sweeps,
    wanted_sweeps,
    wants_sweep,
)

_PASS_INTERVAL: Final = 15.0
"""The longest time between two passes."""
_NOT_READY_DELAY: Final = 1.0
_CLAIM_CACHE_SECONDS: Final = 5.0
_REJECTION_CACHE_SECONDS: Final = 20.0
_CREATE_RETRY_FIRST_DELAY: Final = 0.5
_CREATE_RETRY_LONGEST_DELAY: Final = 10.0
_LATE_CREATE_SECONDS: Final = 75.0
"""If a create request got no response, the API server may still create the Job within this time. It
gives up on a request after 60 s; the rest is a margin."""

_GIVE_UP_SECONDS: Final = 30.0
"""If all create requests for a Job fail for this long, no more are sent, and the conversion waits
for its next turn. So a namespace whose webhook fails does not hold slots for ever."""

logger = logging.getLogger(__name__)


class _NotResolved(Exception):
    """The create request got 409, and it is not known whose Job has the name.

    No request is without a result: the server did not carry this one out.
    """


@dataclass(slots=True)
class _CreateRequests:
    """What became of the create requests for one attempt. The times are monotonic.

    ``result_unknown_since`` is the time of the last create request whose result is unknown, None if
    there is none. ``failing_since`` is the time of the first failure since the operator may create
    the Job. ``given_up`` is why no more requests are sent.
    """

    result_unknown_since: float | None
    failing_since: float | None = None
    given_up: Block | None = None

    def give_up(self, problem: str) -> bool:
        """Count a failure. True if no more requests are sent, because all failed for too long."""
        now = time.monotonic()
        self.failing_since = now if self.failing_since is None else self.failing_since
        if now - self.failing_since >= _GIVE_UP_SECONDS:
            self.given_up = Block(Reason.POD_REJECTED, problem)
        return self.given_up is not None


class Admitter:
    """Runs the admission passes.

    A pass runs after each wake-up and at least every 15 seconds. It walks all conversions and all
    children. The admitter calls ``enqueue`` with the uid of each conversion whose queue position,
    block or Job changed.
    """

    def __init__(
        self, context: ControllerContext, leadership: Leadership, enqueue: Callable[[str], None]
    ) -> None:
        self._leadership = leadership
        # The term in which this operator last took over the admissions of the former leader.
        self._prepared_term = 0
        self.queue = Queue((), {})
        self._context, self._enqueue = context, enqueue
        self._cluster, self._store, self._sync = context.cluster, context.store, context.sync
        # The namespace of each uid that has a reservation. "" if a leader of a former release
        # admitted it: that release did not record the namespace.
        self._reserved: dict[str, str] = {}
        self._slots = SlotCounter(context.store, context.sync)
        # Cached responses of the API server, each with its expiry by the monotonic clock.
        self._claim_cache: dict[str, tuple[bool, float]] = {}
        self._rejections: dict[str, tuple[Block, float]] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

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
            for task in self._tasks:
                task.cancel()

    async def _run_pass(self) -> float:
        """Run one pass. Returns the longest wait before the next pass, in seconds."""
        if not self._context.leads():
            return _NOT_READY_DELAY
        policy = self._context.settings.current.policy()
        if self._prepared_term != self._leadership.term:
            self._take_over(policy)
        if self._sync.awaited():
            return _NOT_READY_DELAY
        obstacles = await self._find_obstacles(policy)
        if self._prepared_term != self._leadership.term:
            return 0.05  # this operator lost leadership and became leader again meanwhile
        # Do not await between here and the update of `self._reserved`: no watch event and no task
        # that creates a Job may run between counting and reserving the slots.
        now = self._cluster.now()
        conversions, children = self._conversions(), self._store.all_children()
        queue = build_queue(conversions, children, obstacles, now, policy)
        queue = _without(queue, self._reserved)
        held = self._slots.held(self._reserved)
        batch = self._select(queue, conversions, held, policy)
        self._reserved |= {c.key.uid: c.key.namespace for c in conversions if c.key.uid in batch}
        admissions = {uid: Admission(n, self._reserved[uid]) for uid, n in batch.items()}
        if batch and not await self._leadership.record_admissions(admissions, self._prepared_term):
            for uid in batch:
                del self._reserved[uid]
            return _NOT_READY_DELAY
        for uid, attempt in batch.items():
            self._start(uid, attempt, policy)
        self._publish_queue(queue, held, policy)
        retry_at = queue.next_retry_at
        delay = (retry_at - now).total_seconds() if retry_at else _PASS_INTERVAL
        # While there is an obstacle, check every few seconds whether it still exists.
        has_obstacles = obstacles.namespaces_without_claim or obstacles.rejected
        return min(max(delay, 0.05), _CLAIM_CACHE_SECONDS if has_obstacles else _PASS_INTERVAL)

    def _conversions(self) -> list[Conversion]:
        """The conversions whose namespace is known well enough to start one there."""
        known = {name for name in self._sync.namespaces if self._sync.admissible(name)}
        return [c for c in self._store.conversions() if c.key.namespace in known]

    def slots_to_record(self) -> Mapping[str, int]:
        """The slots in use by namespace, for the next write of the Lease."""
        if self._prepared_term != self._leadership.term:
            return self._leadership.inherited_slots
        return self._slots.to_record(self._reserved)

    def _select(
        self, queue: Queue, conversions: Iterable[Conversion], held: int, policy: Policy
    ) -> dict[str, int]:
        """The attempt number to start now, by uid.

        SWEEP_ATTEMPT stands for a sweep, the Job that removes what a killed attempt left behind.
        Sweeps get only slots that no conversion waits for.
        """
        selected = {
            uid: latest_attempt_number(conversion, self._store.children(uid)) + 1
            for uid in admit(queue, held, policy)
            if (conversion := self._store.conversion(uid))
        }
        spare = free_for_sweeps(len(queue.order), held, policy)
        if spare:
            wanted = wanted_sweeps(conversions, self._store.all_children(), self._cluster.now())
            # The queue holds back a conversion whose Job was rejected. Sweeps are not in the
            # queue, so hold back rejected sweeps here. Otherwise each pass would request them.
            unavailable = self._reserved | self._rejections.keys()
            sweeps = [uid for uid in wanted if uid not in unavailable]
            selected |= dict.fromkeys(sweeps[:spare], SWEEP_ATTEMPT)
        # The Lease has room for a limited number of admissions.
        limit = admissions_that_still_fit(len(self._reserved))
        return dict(itertools.islice(selected.items(), limit))

    def _publish_queue(self, queue: Queue, held: int, policy: Policy) -> None:
        before, self.queue = self.queue, _without(queue, self._reserved)
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
        # This comes after the last await, so that a rejection that arrives during the claim checks
        # counts in this pass.
        now = time.monotonic()
        self._rejections = {uid: entry for uid, entry in self._rejections.items() if entry[1] > now}
        rejected = {uid: block for uid, (block, _) in self._rejections.items()}
        return Obstacles(frozenset(missing), rejected)

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
        self._slots.begin_term(self._leadership.inherited_slots)
        self._sync.begin_term()
        for uid, (attempt, namespace) in self._leadership.inherited_admissions.items():
            if uid not in self._reserved:
                self._reserved[uid] = namespace
                # The former leader may have sent the create request for this attempt, or may send
                # it when its process resumes.
                self._start(uid, attempt, policy, create_result_unknown_since=time.monotonic())

    def _start(
        self,
        uid: str,
        attempt: int,
        policy: Policy,
        create_result_unknown_since: float | None = None,
    ) -> None:
        """Create the Job of an attempt in the background."""
        coroutine = self._ensure_job(uid, attempt, policy, create_result_unknown_since)
        task = asyncio.create_task(coroutine, name=f"start {uid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ensure_job(
        self, uid: str, attempt: int, policy: Policy, create_result_unknown_since: float | None
    ) -> None:
        """Create the Job of an attempt. Retries until it is known whether the Job exists.

        For an admission of a former leader, ``create_result_unknown_since`` is the time when this
        operator took the admission over.
        """
        requests = _CreateRequests(create_result_unknown_since)
        backoff = Backoff(_CREATE_RETRY_FIRST_DELAY, _CREATE_RETRY_LONGEST_DELAY)
        while not self._is_observed(uid, attempt):
            delay = backoff.next()
            settled = await self._try_to_create(uid, attempt, policy, requests, delay)
            if settled and (
                self._is_observed(uid, attempt)
                or not _may_be_created_late(requests.result_unknown_since)
            ):
                break
            await asyncio.sleep(delay)
        # Not if this task is cancelled: then the next leader finishes what the Lease lists.
        self._reserved.pop(uid, None)
        self._leadership.remove_admission(uid)
        self._enqueue(uid)
        self.wake()

    async def _try_to_create(
        self, uid: str, attempt: int, policy: Policy, requests: _CreateRequests, delay: float
    ) -> bool:
        """Send a create request if one is needed. True: no other one is needed."""
        if requests.given_up:
            # The conversion stays blocked while its slot is held, and 20 s longer: others have
            # their turn first.
            self._block(uid, requests.given_up)
            return True
        try:
            if not self._can_judge(uid):
                requests.failing_since = None
                return False
            conversion = self._conversion_to_start(uid, attempt)
            if conversion is None:
                requests.failing_since = None
                return True
            await self._create_job(conversion, attempt, policy)
        except NotLeader:
            return False  # nothing was sent
        except _NotResolved as error:
            problem = str(error)
        except ClusterError as error:
            requests.result_unknown_since = time.monotonic()
            problem = str(error)
        except Exception:
            # The request may have been sent, so the slot is held as if it had been.
            requests.result_unknown_since = time.monotonic()
            self._context.metrics.errors.inc()
            logger.exception("Unexpected error while the Job of %s is created", uid)
            problem = (
                "the operator cannot create the Job because of an unexpected error, see its log"
            )
        else:
            return True
        if requests.give_up(problem):
            self._record_rejection(uid, Block(Reason.POD_REJECTED, problem))
            self.wake()
            return True
        logger.warning("Cannot create the Job of %s; retrying in %.1f s: %s", uid, delay, problem)
        return False

    def _is_observed(self, uid: str, attempt: int) -> bool:
        """True once the store has the attempt, even an attempt that has ended.

        From then on its Job and pod hold the slot for as long as they are live. So the
        reservation is not needed.
        """
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if attempt == SWEEP_ATTEMPT:
            return any(job.attempt == SWEEP_ATTEMPT for job in children.jobs)
        if conversion is None:
            return any(child.attempt >= attempt for child in (*children.jobs, *children.pods))
        return latest_attempt_number(conversion, children) >= attempt

    def _can_judge(self, uid: str) -> bool:
        """True if what the store does not have of this conversion does not exist.

        If the namespace of an admission is not known, it may be any namespace whose lists are not
        known. Nothing is known, counted or started in a namespace that is not watched.
        """
        conversion = self._store.conversion(uid)
        namespace = conversion.key.namespace if conversion else self._reserved.get(uid)
        if not self._context.leads():
            return True
        if not namespace:
            return self._sync.all_synced()
        return self._sync.admissible(namespace) or namespace not in self._sync.namespaces

    def _conversion_to_start(self, uid: str, attempt: int) -> Conversion | None:
        """The conversion if the attempt may still start, else None.

        It may not start, for example, after spec.cancel was set.
        """
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if conversion is None or not self._context.leads():
            return None
        if attempt == SWEEP_ATTEMPT:
            may_start = wants_sweep(conversion, children, self._cluster.now())
        else:
            over = conversion.finished or conversion.deleting or conversion.cancel_requested
            may_start = not over and awaits_attempt(conversion, children)
        return conversion if may_start else None

    async def _create_job(self, conversion: Conversion, attempt: int, policy: Policy) -> None:
        """Send one create request. Then the Job exists or was rejected. Raises _NotResolved."""
        uid = conversion.key.uid
        try:
            body = _build(conversion, attempt, policy, self._store.mark(conversion.key, attempt))
        except Exception:
            # Nothing was sent. Without the pause, the conversion would start again at once.
            self._context.metrics.errors.inc()
            logger.exception("Cannot build the Job of %s", uid)
            message = (
                "the operator cannot build the Job because of an unexpected error, see its log"
            )
            self._record_rejection(uid, Block(Reason.POD_REJECTED, message))
            return
        try:
            created = await self._cluster.create_job(body, self._context.permit())
        except Conflict:
            await self._resolve_conflict(conversion, body["metadata"]["name"])
        except (Rejected, NotFound) as error:
            self._record_rejection(uid, _block_for_rejection(str(error)))
        else:
            # From now on the Job holds the slot, even before the watch reports it.
            self._store.adopt(conversion.key, attempt, created)

    async def _resolve_conflict(self, conversion: Conversion, name: str) -> None:
        """Find out whose Job has this name.

        It may be our own Job, created by a request whose response was lost, or a foreign Job. Its
        name and its owner reference are no proof: whoever created it chose them. A Job that is too
        large to read is foreign: our own is in the list of our Jobs, and this list was read. Raises
        _NotResolved if it is not known whose Job it is.
        """
        key = conversion.key
        try:
            existing = await self._cluster.get_job(key.namespace, name)
            if self._store.adopt_if_own(key, existing):
                return
            message = (
                f"Job {name} exists, but the operator did not create it for this ConversionJob"
            )
        except NotFound:  # deleted between the two requests, or something else answers 409
            raise _NotResolved(f"the name {name} is taken, but there is no such Job") from None
        except (TooLarge, Rejected) as error:
            message = f"Job {name} exists, but the operator cannot read it: {error}"
        except ClusterError as error:
            raise _NotResolved(f"Job {name} exists, and cannot be read: {error}") from error
        self._record_rejection(key.uid, Block(Reason.JOB_NAME_TAKEN, message))

    def _record_rejection(self, uid: str, block: Block) -> None:
        logger.warning("The Job of %s was not created: %s", uid, block.message)
        self._block(uid, block)

    def _block(self, uid: str, block: Block) -> None:
        self._rejections[uid] = block, time.monotonic() + _REJECTION_CACHE_SECONDS


def _build(conversion: Conversion, attempt: int, policy: Policy, mark: str) -> dict[str, Any]:
    retries = conversion.status.retries if conversion.status else None
    memory_doubled = bool(retries and retries.out_of_memory)
    body: dict[str, Any] = (
        build_sweep(conversion, policy, mark)
        if attempt == SWEEP_ATTEMPT
        else build_job(conversion, attempt, policy, memory_doubled, mark)
    )
    return body


def _may_be_created_late(create_result_unknown_since: float | None) -> bool:
    """True while the API server may still carry out a create request with an unknown result."""
    return (
        create_result_unknown_since is not None
        and time.monotonic() - create_result_unknown_since < _LATE_CREATE_SECONDS
    )


def _without(queue: Queue, reserved: Container[str]) -> Queue:
    return Queue(
        tuple(uid for uid in queue.order if uid not in reserved), queue.blocks, queue.next_retry_at
    )


def _block_for_rejection(message: str) -> Block:
    quota = "exceeded quota" in message
    return Block(Reason.QUOTA_EXCEEDED if quota else Reason.POD_REJECTED, message)
