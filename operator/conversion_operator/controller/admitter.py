"""Starts conversions. This is the only place that creates Jobs.

One pass after the other reserves free slots. The admissions of a pass are recorded on the Lease
before the first of their Jobs is requested, and the next leader starts from that record. So if
an operator was paused and sends a request late, that request belongs to a conversion that already
holds its slot.

A reservation ends only when the Job is in the store or cannot exist any more. A create request
without an answer may have created a Job.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.cluster.admissions import free_entries
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, Refused
from conversion_operator.cluster.objects import Resource
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.leadership import Leadership
from conversion_operator.core.admission import Obstacles, Queue, admit, build_queue, slots_held
from conversion_operator.core.attempts import awaits_attempt, latest_attempt_number
from conversion_operator.core.manifest import build_job, build_sweep, job_name, sweep_name
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.sweep import (
    SWEEP_ATTEMPT,
    free_for_sweeps,
    wanted_sweeps,
    wants_sweep,
)

_PASS_SECONDS: Final = 15.0
"""The longest time between two passes."""
_NOT_READY_DELAY: Final = 1.0
_CLAIM_TTL: Final = 5.0
_REFUSAL_TTL: Final = 20.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 10.0
_LATE_CREATE_SECONDS: Final = 75.0
"""How long a create request without an answer may still be carried out. The API server itself
gives up on a request after a minute."""

logger = logging.getLogger(__name__)


class Admitter:
    """Runs the admission passes.

    A pass runs after each wake-up and at least every 15 seconds. It walks all conversions and all
    children. ``enqueue`` is called with each uid to reconcile because its queue position, its
    block or its Job changed.
    """

    def __init__(
        self, context: ControllerContext, leadership: Leadership, enqueue: Callable[[str], None]
    ) -> None:
        self._leadership, self._term = leadership, 0
        self.queue = Queue((), {})
        self._context, self._enqueue = context, enqueue
        self._cluster, self._store = context.cluster, context.store
        self._reserved: set[str] = set()
        # Answers of the cluster, each with the monotonic time until which they are valid.
        self._claims: dict[str, tuple[bool, float]] = {}
        self._refusals: dict[str, tuple[Block, float]] = {}
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
        """Run one pass. Returns the seconds until the next pass at the latest."""
        if not self._context.may_act():
            return _NOT_READY_DELAY
        policy = self._context.settings.current.policy()
        if self._term != self._leadership.term and not await self._begin_term(policy):
            return _NOT_READY_DELAY
        obstacles = await self._find_obstacles(policy)
        if self._term != self._leadership.term:
            return 0.05  # leadership was lost and regained meanwhile
        # Await nothing from here to the reservations: no other pass or event may come between
        # counting the slots and reserving them.
        now = self._cluster.now()
        children = self._store.all_children()
        queue = build_queue(self._store.conversions(), children, obstacles, now, policy)
        queue = _without(queue, self._reserved)
        held = slots_held(children, self._reserved, self._lost_with_node())
        batch = self._select(queue, held, policy)
        self._reserved.update(batch)
        if batch and not await self._leadership.record_admissions(batch, self._term):
            self._reserved.difference_update(batch)
            return _NOT_READY_DELAY
        for uid, attempt in batch.items():
            self._start(uid, attempt, policy)
        self._publish_queue(queue, held, policy)
        retry_at = queue.next_retry_at
        delay = (retry_at - now).total_seconds() if retry_at else _PASS_SECONDS
        # Check an obstacle again as soon as its answer expires.
        blocked = obstacles.namespaces_without_claim or obstacles.rejected
        return min(max(delay, 0.05), _CLAIM_TTL if blocked else _PASS_SECONDS)

    def _select(self, queue: Queue, held: int, policy: Policy) -> dict[str, int]:
        """The attempts to start now, by uid. A sweep gets only a slot that no conversion needs."""
        selected = {
            uid: latest_attempt_number(conversion, self._store.children(uid)) + 1
            for uid in admit(queue, held, policy)
            if (conversion := self._store.conversion(uid))
        }
        spare = free_for_sweeps(len(queue.order), held, policy)
        if spare:
            found = wanted_sweeps(
                self._store.conversions(), self._store.all_children(), self._cluster.now()
            )
            wanting = [uid for uid in found if uid not in self._reserved]
            selected |= dict.fromkeys(wanting[:spare], SWEEP_ATTEMPT)
        return dict(itertools.islice(selected.items(), free_entries(len(self._reserved))))

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
        metrics.limit.set(policy.max_parallel)
        metrics.enabled.set(policy.enabled)

    def _lost_with_node(self) -> frozenset[str]:
        return frozenset(
            c.key.uid
            for c in self._store.conversions()
            if c.status and c.status.phase is Phase.FAILED and c.status.reason == Reason.NODE_LOST
        )

    async def _find_obstacles(self, policy: Policy) -> Obstacles:
        now = time.monotonic()
        self._refusals = {uid: entry for uid, entry in self._refusals.items() if entry[1] > now}
        spaces = {c.key.namespace for c in self._store.conversions() if not c.finished}
        missing = {
            space for space in spaces if not await self._claim_exists(space, policy.claim_name)
        }
        return Obstacles(
            frozenset(missing), {uid: block for uid, (block, _) in self._refusals.items()}
        )

    async def _claim_exists(self, namespace: str, claim: str) -> bool:
        key, now = f"{namespace}/{claim}", time.monotonic()
        exists, until = self._claims.get(key, (True, 0.0))
        if until > now:
            return exists
        try:
            exists = await self._cluster.claim_exists(namespace, claim)
        except ClusterError as error:
            # Keep the last answer. If the claim is missing, the pod will not start and say so.
            logger.warning("Cannot check the claim %s: %s", key, error)
        self._claims[key] = exists, now + _CLAIM_TTL
        return exists

    async def _begin_term(self, policy: Policy) -> bool:
        """Take over the admissions of the former leader. False if that fails for now.

        Lists all Jobs and pods again, because the watches may not have shown the last Jobs that
        the former leader created. Runs once per term.
        """
        term = self._leadership.term
        try:
            for namespace in self._context.settings.current.namespaces:
                for resource in (Resource.JOBS, Resource.PODS):
                    try:
                        objects = await self._cluster.list_all(resource, namespace)
                    except Refused:
                        continue  # the reflector logs it; the operator has created nothing there
                    self._store.replace(resource, namespace, objects)
        except ClusterError as error:
            logger.warning("Cannot begin as leader yet; retrying: %s", error)
            return False
        for uid, attempt in self._leadership.inherited.items():
            if uid not in self._reserved:
                self._reserved.add(uid)
                # Its create request may be under way, or follow when that operator wakes up.
                self._start(uid, attempt, policy, unanswered_at=time.monotonic())
        self._term = term
        return True

    def _start(
        self, uid: str, attempt: int, policy: Policy, unanswered_at: float | None = None
    ) -> None:
        """Create the Job of an attempt in the background."""
        job = self._ensure_job(uid, attempt, policy, unanswered_at)
        task = asyncio.create_task(job, name=f"start {uid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ensure_job(
        self, uid: str, attempt: int, policy: Policy, unanswered_at: float | None
    ) -> None:
        """Create the Job of an attempt. Retries until it is known whether the Job exists.

        ``unanswered_at`` is when the last create request without an answer failed.
        """
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        try:
            while not self._is_observed(uid, attempt):
                conversion = self._startable(uid, attempt)
                if conversion is None and not _may_be_created_late(unanswered_at):
                    return
                delay = backoff.next()
                try:
                    if conversion and await self._create_job(conversion, attempt, policy):
                        return
                except ClusterError as error:
                    unanswered_at = time.monotonic()
                    logger.warning(
                        "Cannot create the Job of %s; retrying in %.1f s: %s", uid, delay, error
                    )
                await asyncio.sleep(delay)
        finally:
            self._reserved.discard(uid)
            self._leadership.remove_admission(uid)
            self._enqueue(uid)
            self.wake()

    def _is_observed(self, uid: str, attempt: int) -> bool:
        """True once the store has the attempt, even one that has ended.

        From then on its Job and pod count as the slot, and the reservation is not needed.
        """
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if attempt == SWEEP_ATTEMPT:
            return any(job.attempt == SWEEP_ATTEMPT for job in children.jobs)
        stored = latest_attempt_number(conversion, children) if conversion else 0
        return stored >= attempt or any(job.attempt >= attempt for job in children.jobs)

    def _startable(self, uid: str, attempt: int) -> Conversion | None:
        """The conversion, or None if this attempt must not start, for example once cancelled."""
        if not self._context.leads():
            return None
        conversion = self._store.conversion(uid)
        if conversion is not None and attempt == SWEEP_ATTEMPT:
            children, now = self._store.children(uid), self._cluster.now()
            return conversion if wants_sweep(conversion, children, now) else None
        if conversion is None or conversion.finished or conversion.deleting:
            return None
        startable = not conversion.cancel_requested and awaits_attempt(
            conversion, self._store.children(uid)
        )
        return conversion if startable else None

    async def _create_job(self, conversion: Conversion, attempt: int, policy: Policy) -> bool:
        """Try once. True if the outcome is known: the Job exists, or it was refused."""
        uid = conversion.key.uid
        retries = conversion.status.retries if conversion.status else None
        doubled = bool(retries and retries.out_of_memory)
        body = (
            build_sweep(conversion, policy)
            if attempt == SWEEP_ATTEMPT
            else build_job(conversion, attempt, policy, doubled)
        )
        try:
            created = await self._cluster.create_job(body)
        except Conflict:
            name = sweep_name(uid) if attempt == SWEEP_ATTEMPT else job_name(uid, attempt)
            return await self._resolve_conflict(conversion, name)
        except (Refused, NotFound) as error:
            self._record_refusal(uid, _explain_refusal(str(error)))
            return True
        # The Job counts from now on, before the watch shows it.
        self._store.update(created)
        return True

    async def _resolve_conflict(self, conversion: Conversion, name: str) -> bool:
        """Find out who has the name: our own Job, whose answer was lost, or a foreign one."""
        key = conversion.key
        try:
            existing = await self._cluster.get_job(key.namespace, name)
        except NotFound:
            return False  # deleted between the two requests
        if existing.owned and existing.conversion_uid == key.uid:
            self._store.update(existing)
            return True
        message = f"Job {name} exists and does not belong to this ConversionJob"
        self._record_refusal(key.uid, Block(Reason.JOB_NAME_TAKEN, message))
        return True

    def _record_refusal(self, uid: str, block: Block) -> None:
        logger.warning("The Job of %s was refused: %s", uid, block.message)
        self._refusals[uid] = block, time.monotonic() + _REFUSAL_TTL


def _may_be_created_late(unanswered_at: float | None) -> bool:
    """True while a create request without an answer may still be carried out."""
    return unanswered_at is not None and time.monotonic() - unanswered_at < _LATE_CREATE_SECONDS


def _without(queue: Queue, reserved: set[str]) -> Queue:
    return Queue(
        tuple(uid for uid in queue.order if uid not in reserved), queue.blocks, queue.next_retry_at
    )


def _explain_refusal(message: str) -> Block:
    quota = "exceeded quota" in message
    return Block(Reason.QUOTA_EXCEEDED if quota else Reason.POD_REJECTED, message)
