"""Creates the Jobs of admitted attempts. This is the only place that creates Jobs.

If the response to a create request is lost, the operator does not know whether the Job exists. So
the reservation is kept. It ends when the Job is in the store, or when both of these are true:

- No more requests are needed: the API server rejected the last one, the attempt may no longer
  start, or all requests failed for 30 s.
- No request with an unknown result is recent enough to create the Job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from conversion_operator.api.pod_settings import TooMuchCopied
from conversion_operator.api.reasons import Reason
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
from conversion_operator.controller.create_requests import (
    CreateRequests,
    Rejections,
    block_for_rejection,
)
from conversion_operator.controller.leadership import Leadership
from conversion_operator.core.attempts import awaits_attempt, latest_attempt_number
from conversion_operator.core.holds import hold
from conversion_operator.core.manifest import build_job, build_sweep
from conversion_operator.core.model import NO_METADATA, Conversion, Metadata, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.sweep import SWEEP_ATTEMPT, wants_sweep

_CREATE_RETRY_FIRST_DELAY: Final = 0.5
_CREATE_RETRY_LONGEST_DELAY: Final = 10.0
_REQUESTS_AT_A_TIME: Final = 16
"""How many create requests of one namespace are sent at a time. The client of the API server has a
limited number of connections, and ends of conversions need them, too."""

logger = logging.getLogger(__name__)


class _NotSent(Exception):
    """What the Job needs cannot be read, so no create request was sent."""


class _NotResolved(Exception):
    """The create request got 409, and it is not known whose Job has the name.

    The result of this request is known: the server did not create a Job.
    """


class JobCreator:
    """Creates Jobs in the background, one task for each admitted attempt.

    An admitted attempt has a reservation from :meth:`reserve` until its Job is in the store, or
    until it is certain that no request creates it. The creator calls ``enqueue`` with the uid when
    the reservation ends, and ``wake`` when another conversion may be able to start. ``has_room``
    says whether the limits have room for a conversion with a reservation. It is asked about those
    that a former leader admitted: their ConversionQueue may have changed since.
    """

    def __init__(
        self,
        context: ControllerContext,
        leadership: Leadership,
        enqueue: Callable[[str], None],
        wake: Callable[[], None],
        has_room: Callable[[Conversion], bool] = lambda _: True,
    ) -> None:
        self._context, self._leadership, self._has_room = context, leadership, has_room
        self._enqueue, self._wake = enqueue, wake
        self._cluster, self._store, self._sync = context.cluster, context.store, context.sync
        self._reserved: dict[str, str] = {}
        # The ConversionQueue in which each was admitted. Not known of those of a former leader.
        self._conversion_queues: dict[str, str] = {}
        self._rejections = Rejections()
        self._failing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # For each namespace, because a webhook may delay the requests of one.
        self._turns: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_REQUESTS_AT_A_TIME)
        )

    @property
    def reserved(self) -> Mapping[str, str]:
        """The namespace of each uid that has a reservation.

        "" if a leader of a former release admitted it: that release did not record the namespace.
        """
        return self._reserved

    @property
    def conversion_queues(self) -> Mapping[str, str]:
        """The ConversionQueue of each uid that this leader has admitted and that has a reservation.

        The reserved slot counts in this ConversionQueue, even if spec.queue has changed since: a
        Job may already exist there.
        """
        return self._conversion_queues

    @property
    def failing(self) -> Collection[str]:
        """The namespaces whose last create request failed without a clear answer.

        A rejection is a clear answer.
        """
        return self._failing

    def reserve(self, namespaces: Mapping[str, str], conversion_queues: Mapping[str, str]) -> None:
        """Add reservations: the namespace and the ConversionQueue by uid."""
        self._reserved |= namespaces
        self._conversion_queues |= conversion_queues

    def release(self, uids: Iterable[str]) -> None:
        """Remove the reservations of attempts that were not started."""
        for uid in uids:
            del self._reserved[uid]
            self._conversion_queues.pop(uid, None)

    def rejections(self) -> Mapping[str, Block]:
        """Why the Job of a uid was not created, for 20 s after the last request.

        Visits the rejections of the last 20 s. The admitter calls it on each pass.
        """
        return self._rejections.recent()

    def cancel(self) -> None:
        """Stop all tasks. The next leader finishes what the Lease lists."""
        for task in self._tasks:
            task.cancel()

    def start(
        self,
        uid: str,
        attempt: int,
        policy: Policy,
        unresolved_create_at: float | None = None,
        changed_at: float | None = None,
    ) -> None:
        """Create the Job of an attempt that has a reservation, in the background.

        For an admission of a former leader, ``unresolved_create_at`` is the monotonic time
        when this operator took the admission over. Otherwise ``changed_at`` is the monotonic time
        of the change that let the attempt start.
        """
        coroutine = self._ensure_job(uid, attempt, policy, unresolved_create_at, changed_at)
        task = asyncio.create_task(coroutine, name=f"start {uid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ensure_job(
        self,
        uid: str,
        attempt: int,
        policy: Policy,
        unresolved_create_at: float | None,
        changed_at: float | None,
    ) -> None:
        """Create the Job of an attempt. Retries until it is known whether the Job exists."""
        requests = CreateRequests(unresolved_create_at)
        backoff = Backoff(_CREATE_RETRY_FIRST_DELAY, _CREATE_RETRY_LONGEST_DELAY)
        while not self._is_observed(uid, attempt):
            delay = backoff.next()
            async with self._turns[self._reserved.get(uid, "")]:
                settled = await self._try_to_create(uid, attempt, policy, requests, delay)
            if settled and (self._is_observed(uid, attempt) or not requests.may_take_effect_late()):
                break
            await asyncio.sleep(delay)
        if changed_at is not None and attempt != SWEEP_ATTEMPT and self._is_observed(uid, attempt):
            self._context.metrics.start_seconds.observe(time.monotonic() - changed_at)
        # A cancelled task does not get here. It leaves the admission on the Lease for the next
        # leader.
        self._reserved.pop(uid, None)
        self._conversion_queues.pop(uid, None)
        self._leadership.remove_admission(uid)
        self._enqueue(uid)
        self._wake()

    async def _try_to_create(
        self, uid: str, attempt: int, policy: Policy, requests: CreateRequests, delay: float
    ) -> bool:
        """Send a create request if the attempt may still start.

        Returns True if no more requests are needed. The caller checks whether an earlier request
        may still create the Job.
        """
        if requests.stopped_because:
            # Renew the block each time, so that it lasts until 20 s after the reservation ends. In
            # these 20 s, other conversions can take the slot.
            self._rejections.add(uid, requests.stopped_because)
            return True
        try:
            if not self._has_lists(uid) or self._context.schema.must_wait:
                requests.failing_since = None
                return False
            conversion = self._conversion_to_start(uid, attempt)
            if conversion is None:
                requests.failing_since = None
                return True
            await self._create_job(conversion, attempt, policy)
        except NotLeader:
            return False  # nothing was sent
        except (_NotSent, _NotResolved) as error:
            problem = str(error)
        except ClusterError as error:
            requests.record_unknown_result()
            problem = str(error)
        except Exception:
            # The request may have been sent, so the slot is held as if it had been.
            requests.record_unknown_result()
            self._context.metrics.errors.inc()
            logger.exception("Unexpected error while the Job of %s is created", uid)
            problem = (
                "the operator cannot create the Job because of an unexpected error, see its log"
            )
        else:
            self._record_answer(conversion.key.namespace)
            return True
        self._failing.add(self._reserved.get(uid, ""))
        if requests.record_failure(problem):
            self._reject(uid, Block(Reason.POD_REJECTED, problem))
            self._wake()
            return True
        logger.warning("Cannot create the Job of %s; retrying in %.1f s: %s", uid, delay, problem)
        return False

    def _record_answer(self, namespace: str) -> None:
        if namespace in self._failing:
            self._failing.discard(namespace)
            self._wake()  # more conversions of the namespace may start

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

    def _has_lists(self, uid: str) -> bool:
        """False while the lists that this attempt needs are missing.

        If the admission does not record its namespace, it needs the lists of all namespaces. It
        needs no lists if its namespace is not watched, or while this operator does not lead,
        because nothing starts then.
        """
        conversion = self._store.conversion(uid)
        namespace = conversion.key.namespace if conversion else self._reserved.get(uid)
        if not self._context.leads():
            return True
        if not namespace:
            return self._sync.all_synced()
        return self._sync.admissible(namespace) or not self._sync.is_watched(namespace)

    def _conversion_to_start(self, uid: str, attempt: int) -> Conversion | None:
        """The conversion if the attempt may still start, else None.

        It may not start, for example, after spec.cancel was set, or in another ConversionQueue than
        the one that had room for it.
        """
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if conversion is None or not self._context.leads() or self._context.schema.problem:
            return None
        if attempt == SWEEP_ATTEMPT:
            may_start = wants_sweep(conversion, children, self._cluster.now())
        else:
            over = conversion.finished or conversion.deleting or conversion.cancel_requested
            policy = self._context.policy()
            held = conversion.status_error or conversion.spec_error or hold(conversion, policy)
            may_start = awaits_attempt(conversion, children) and not (over or held)
            may_start = may_start and self._is_in_its_conversion_queue(conversion)
        return conversion if may_start else None

    def _is_in_its_conversion_queue(self, conversion: Conversion) -> bool:
        """True if the conversion is still in the ConversionQueue in which it was admitted.

        If that is not known, True if the limits have room for it in its present ConversionQueue.
        """
        admitted_in = self._conversion_queues.get(conversion.key.uid)
        if admitted_in is None:
            return self._has_room(conversion)
        return admitted_in == conversion.queue

    async def _create_job(self, conversion: Conversion, attempt: int, policy: Policy) -> None:
        """Send one create request. Then the Job exists or was rejected.

        Raises _NotSent or _NotResolved.
        """
        uid = conversion.key.uid
        try:
            source = await self._read_source(conversion, policy)
            mark = self._store.mark(conversion.key, attempt)
            body = _build(conversion, attempt, policy, mark, source)
        except _NotSent:
            raise
        except (NotFound, TooMuchCopied) as error:
            self._reject(uid, Block(Reason.POD_REJECTED, str(error)))
            return
        except Exception:
            # Nothing was sent. The rejection blocks the conversion for 20 s, so that it does not
            # start again at once.
            self._context.metrics.errors.inc()
            logger.exception("Cannot build the Job of %s", uid)
            message = (
                "the operator cannot build the Job because of an unexpected error, see its log"
            )
            self._reject(uid, Block(Reason.POD_REJECTED, message))
            return
        try:
            created = await self._cluster.create_job(body, self._context.permit())
        except Conflict:
            await self._resolve_conflict(conversion, body["metadata"]["name"])
        except (Rejected, NotFound) as error:
            self._reject(uid, block_for_rejection(str(error)))
        else:
            # From now on the Job holds the slot, even before the watch reports it.
            self._store.adopt(conversion.key, attempt, created)

    async def _read_source(self, conversion: Conversion, policy: Policy) -> Metadata:
        """Read the labels and annotations of a ConversionJob if the pod settings copy any of them.

        They are not kept in memory. Raises NotFound if the ConversionJob was deleted, and _NotSent
        if it cannot be read.
        """
        if not policy.pods.of(conversion.key.namespace).copies:
            return NO_METADATA
        try:
            return await self._cluster.get_metadata(conversion.key)
        except NotFound:
            raise
        except ClusterError as error:
            raise _NotSent(f"its labels and annotations cannot be read: {error}") from error

    async def _resolve_conflict(self, conversion: Conversion, name: str) -> None:
        """Find out whose Job has this name.

        It may be our own Job, created by a request whose response was lost, or a foreign Job. Its
        name and its owner reference are no proof: whoever created it chose them. A Job that is too
        large to read is foreign: the operator never creates such a Job. Raises
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
        self._reject(key.uid, Block(Reason.JOB_NAME_TAKEN, message))

    def _reject(self, uid: str, block: Block) -> None:
        logger.warning("The Job of %s was not created: %s", uid, block.message)
        self._rejections.add(uid, block)


def _build(
    conversion: Conversion, attempt: int, policy: Policy, mark: str, source: Metadata
) -> dict[str, Any]:
    retries = conversion.status.retries if conversion.status else None
    memory_doubled = bool(retries and retries.out_of_memory)
    body: dict[str, Any] = (
        build_sweep(conversion, policy, mark, source)
        if attempt == SWEEP_ATTEMPT
        else build_job(conversion, attempt, policy, memory_doubled, mark, source)
    )
    return body
