"""Starts conversions: the one place that creates Jobs, one pass after the other.

What a pass admits is written on the Lease before the first of its Jobs is asked for, and whoever
leads next starts from that list. So a request that an operator makes late, because it was paused
just before, is for a conversion that holds its slot already.

A slot is reserved before the request goes out and given back only when it is known that no Job
came of it. An answer that was lost may belong to a Job that exists.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, Refused
from conversion_operator.cluster.objects import Body, Resource, WatchEvent
from conversion_operator.cluster.parsing import owned_by
from conversion_operator.controller.admissions import free_entries
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.leadership import Leadership
from conversion_operator.core.admission import Obstacles, Queue, admit, build_queue, slots_held
from conversion_operator.core.attempts import awaits_attempt, current_attempt
from conversion_operator.core.manifest import build_job, build_sweep
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.sweep import (
    SWEEP_ATTEMPT,
    free_for_sweeps,
    wanted_sweeps,
    wants_sweep,
)

_LONGEST_REST: Final = 15.0
_CLAIM_TTL: Final = 5.0
_REFUSAL_TTL: Final = 20.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
# The API server itself gives up on a request after a minute. Until then one whose answer was
# lost may still be carried out.
_LATE_CREATE: Final = 75.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """What asking the cluster brought, and until when it is believed."""

    claims: dict[str, tuple[bool, float]] = field(default_factory=dict)
    refused: dict[str, tuple[Block, float]] = field(default_factory=dict)


class Admitter:
    """Runs the admission passes. ``changed`` is told the uids whose place has changed."""

    def __init__(
        self, context: ControllerContext, leadership: Leadership, changed: Callable[[str], None]
    ) -> None:
        self._leadership, self._term = leadership, 0
        self.queue = Queue((), {})
        self._context, self._changed = context, changed
        self._cluster, self._store = context.cluster, context.store
        self._reserved: set[str] = set()
        self._known = _Known()
        self._wake = asyncio.Event()
        self._starting: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Something happened that may let a conversion start."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                rest = await self._pass()
                try:
                    async with asyncio.timeout(rest):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
        finally:
            for task in self._starting:
                task.cancel()

    async def _pass(self) -> float:
        """One look at everything. Returns the seconds until the next at the latest."""
        if not self._context.may_act():
            return 1.0
        policy = self._context.settings.current.policy()
        if self._term != self._leadership.term and not await self._take_over(policy):
            return 1.0
        obstacles = await self._ask_obstacles(policy)
        if self._term != self._leadership.term:
            return 0.05  # leadership was lost and won again meanwhile
        # From here to the reservations nothing is awaited: no other pass or event can come
        # between counting the slots and taking them.
        now = self._cluster.now()
        children = self._store.all_children()
        queue = build_queue(self._store.conversions(), children, obstacles, now, policy)
        queue = _without(queue, self._reserved)
        held = slots_held(children, self._reserved, self._lost_with_node())
        batch = self._choose(queue, held, policy)
        self._reserved.update(batch)
        if batch and not await self._leadership.commit(batch, self._term):
            self._reserved.difference_update(batch)
            return 1.0
        for uid, attempt in batch.items():
            self._begin(uid, attempt, policy)
        self._publish(queue, held, policy)
        wake = (queue.next_retry_at - now).total_seconds() if queue.next_retry_at else _LONGEST_REST
        # What was asked of the cluster is asked again soon while it stands in the way.
        blocked = obstacles.namespaces_without_claim or obstacles.refused
        return min(max(wake, 0.05), _CLAIM_TTL if blocked else _LONGEST_REST)

    def _choose(self, queue: Queue, held: int, policy: Policy) -> dict[str, int]:
        """The attempts to start now, by uid; sweeps only where no conversion wants the slot."""
        chosen = {
            uid: current_attempt(conversion, self._store.children(uid)) + 1
            for uid in admit(queue, held, policy)
            if (conversion := self._store.conversion(uid))
        }
        spare = free_for_sweeps(len(queue.order), held, policy)
        if spare:
            found = wanted_sweeps(
                self._store.conversions(), self._store.all_children(), self._cluster.now()
            )
            wanting = [uid for uid in found if uid not in self._reserved]
            chosen |= dict.fromkeys(wanting[:spare], SWEEP_ATTEMPT)
        return dict(itertools.islice(chosen.items(), free_entries(len(self._reserved))))

    def _publish(self, queue: Queue, held: int, policy: Policy) -> None:
        before, self.queue = self.queue, _without(queue, self._reserved)
        ranks = {uid: rank for rank, uid in enumerate(before.order)}
        for rank, uid in enumerate(self.queue.order):
            if ranks.get(uid) != rank:
                self._changed(uid)
        for uid, block in self.queue.blocks.items():
            if before.blocks.get(uid) != block:
                self._changed(uid)
        self._context.metrics.queued.set(len(self.queue.order))
        self._context.metrics.blocked.set(len(self.queue.blocks))
        self._context.metrics.running.set(held)
        self._context.metrics.limit.set(policy.max_parallel)
        self._context.metrics.enabled.set(policy.enabled)

    def _lost_with_node(self) -> frozenset[str]:
        return frozenset(
            c.key.uid
            for c in self._store.conversions()
            if c.status and c.status.phase is Phase.FAILED and c.status.reason == Reason.NODE_LOST
        )

    async def _ask_obstacles(self, policy: Policy) -> Obstacles:
        now = time.monotonic()
        refused = self._known.refused
        for uid in [uid for uid, (_, until) in refused.items() if until <= now]:
            del refused[uid]
        spaces = {c.key.namespace for c in self._store.conversions() if not c.finished}
        missing = {
            space for space in spaces if not await self._claim_exists(space, policy.claim_name)
        }
        return Obstacles(frozenset(missing), {uid: block for uid, (block, _) in refused.items()})

    async def _claim_exists(self, namespace: str, claim: str) -> bool:
        key, now = f"{namespace}/{claim}", time.monotonic()
        exists, until = self._known.claims.get(key, (True, 0.0))
        if until > now:
            return exists
        try:
            exists = await self._cluster.claim_exists(namespace, claim)
        except ClusterError as error:
            # Not known to be missing: the pod will tell.
            logger.warning("cannot look for claim %s: %s", key, error)
        self._known.claims[key] = exists, now + _CLAIM_TTL
        return exists

    async def _take_over(self, policy: Policy) -> bool:
        """Take up what the former leader may have begun. False if that cannot be learnt now.

        The lists are made anew: what it created last may not have come by the watches yet.
        """
        term = self._leadership.term
        try:
            for namespace in self._context.settings.current.namespaces:
                for resource in (Resource.JOBS, Resource.PODS):
                    try:
                        listing = await self._cluster.list_all(resource, namespace)
                    except Refused:
                        continue  # the reflector complains of it; nothing of ours can be there
                    self._store.replace(resource, namespace, listing)
        except ClusterError as error:
            logger.warning("cannot take over yet: %s", error)
            return False
        for uid, attempt in self._leadership.inherited.items():
            if uid not in self._reserved:
                self._reserved.add(uid)
                # Its request may be under way, or be made when the other wakes up.
                self._begin(uid, attempt, policy, lost_at=time.monotonic())
        self._term = term
        return True

    def _begin(self, uid: str, attempt: int, policy: Policy, lost_at: float | None = None) -> None:
        task = asyncio.create_task(self._start(uid, attempt, policy, lost_at), name=f"start {uid}")
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, uid: str, attempt: int, policy: Policy, lost_at: float | None) -> None:
        """Create the Job of an attempt and keep at it until it is known what came of it."""
        pause = _FIRST_PAUSE
        try:
            while not self._seen(uid, attempt):
                wanted = self._wanted(uid, attempt)
                if wanted is None and not _still_uncertain(lost_at):
                    return
                try:
                    if wanted and await self._create(wanted, attempt, policy):
                        return
                except ClusterError as error:
                    lost_at = time.monotonic()
                    logger.warning("no word of the Job for %s, asking again: %s", uid, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._reserved.discard(uid)
            self._leadership.settle(uid)
            self._changed(uid)
            self.wake()

    def _seen(self, uid: str, attempt: int) -> bool:
        """True once the attempt is known, be it over already: then it holds its slot itself."""
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if attempt == SWEEP_ATTEMPT:
            return any(job.attempt == SWEEP_ATTEMPT for job in children.jobs)
        stored = current_attempt(conversion, children) if conversion else 0
        return stored >= attempt or any(job.attempt >= attempt for job in children.jobs)

    def _wanted(self, uid: str, attempt: int) -> Conversion | None:
        """The conversion, if it is still to be started: it may have been cancelled meanwhile."""
        conversion = self._store.conversion(uid)
        if conversion is not None and attempt == SWEEP_ATTEMPT:
            children, now = self._store.children(uid), self._cluster.now()
            wanted = self._context.leads() and wants_sweep(conversion, children, now)
            return conversion if wanted else None
        if conversion is None or conversion.finished or conversion.deleting:
            return None
        startable = not conversion.cancelled and awaits_attempt(
            conversion, self._store.children(uid)
        )
        return conversion if startable and self._context.leads() else None

    async def _create(self, conversion: Conversion, attempt: int, policy: Policy) -> bool:
        """One try. True if it is settled: the Job exists, or it was refused."""
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
            return await self._adopt(conversion, body)
        except (Refused, NotFound) as error:
            self._refuse(uid, _explain_refusal(str(error)))
            return True
        self._see(created)
        return True

    async def _adopt(self, conversion: Conversion, body: Body) -> bool:
        """The name is taken: by our own Job, whose answer was lost, or by a stranger's."""
        meta = body["metadata"]
        try:
            existing = await self._cluster.get_job(meta["namespace"], meta["name"])
        except NotFound:
            return False  # deleted between the two requests
        if owned_by(existing["metadata"], conversion.key.uid):
            self._see(existing)
            return True
        message = f"Job {meta['name']} exists and does not belong to this ConversionJob"
        self._refuse(conversion.key.uid, Block(Reason.JOB_NAME_TAKEN, message))
        return True

    def _see(self, job: Body) -> None:
        """Count on the Job from this moment, before the watch tells of it."""
        self._store.apply(Resource.JOBS, WatchEvent("ADDED", job))

    def _refuse(self, uid: str, block: Block) -> None:
        logger.warning("the Job of %s is refused: %s", uid, block.message)
        self._known.refused[uid] = block, time.monotonic() + _REFUSAL_TTL


def _still_uncertain(lost_at: float | None) -> bool:
    """True while a request whose answer was lost may still be carried out."""
    return lost_at is not None and time.monotonic() - lost_at < _LATE_CREATE


def _without(queue: Queue, reserved: set[str]) -> Queue:
    return Queue(
        tuple(uid for uid in queue.order if uid not in reserved), queue.blocks, queue.next_retry_at
    )


def _explain_refusal(message: str) -> Block:
    quota = "exceeded quota" in message
    return Block(Reason.QUOTA_EXCEEDED if quota else Reason.POD_REJECTED, message)
