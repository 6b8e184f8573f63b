"""Reconciles one conversion at a time: snapshot, decision, actions, one status write, events."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    NotFound,
    NotLeader,
    Rejected,
    Unavailable,
)
from conversion_operator.cluster.objects import WritePermit
from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.lookups import Lookups
from conversion_operator.controller.problems import REJECTED_RETRY_SECONDS, Problem, Problems
from conversion_operator.controller.profile_reader import ProfileReader
from conversion_operator.controller.queued_statuses import QueuedStatuses
from conversion_operator.controller.recorder import EventRecorder
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.attempts import (
    awaits_attempt,
    last_recorded_attempt,
    latest_attempt_number,
)
from conversion_operator.core.children import Children, Pod
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import (
    PROGRESS_INTERVAL,
    Action,
    DeleteJob,
    DeletePod,
    Plan,
    ProfileAnswer,
    Snapshot,
)
from conversion_operator.core.reconcile import decide, decide_without_conversion
from conversion_operator.core.running import child_to_read_events_of
from conversion_operator.core.unresolved import wants_profile
from media_converter.contract import Progress
from media_converter.report_json import PROGRESS_KEY, parse_progress

_NOT_READY_DELAY: Final = 1.0
LOG_READS: Final = 3
"""How many logs are read at the same time. A node that does not respond must not occupy all
workers: the ends of other conversions come first."""
_LOG_BUSY_DELAY: Final = 0.5
_MISSING_DELAY: Final = 5.0
"""How often to read a live Job or pod without our label. No watch reports its end."""

logger = logging.getLogger(__name__)


class _StatusRejected(Exception):
    """The API server rejects a status, because the object breaks a rule of the CRD."""


class Worker:
    """Reconciles the keys of the queue. Several tasks may run :meth:`run` of one Worker."""

    def __init__(
        self,
        context: ControllerContext,
        queue: WorkQueue,
        admitter: Admitter,
        recorder: EventRecorder,
        profiles: ProfileReader,
        queued: QueuedStatuses,
    ) -> None:
        self._context, self._queue, self._profiles = context, queue, profiles
        self._queued = queued
        self._admitter, self._recorder = admitter, recorder
        self._cluster, self._store = context.cluster, context.store
        self._lookups = Lookups(context.cluster, context.store)
        self._problems = Problems(context.metrics, recorder.post, context.leads)
        # Only of conversions that have not ended: for the others, nobody needs it.
        self._written_at: dict[str, float] = {}
        self._log_reads = 0

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            if not self._context.leads():
                # Nothing is taken from the queue, or a standby would visit all keys each second.
                await asyncio.sleep(_NOT_READY_DELAY)
                continue
            uid = await self._queue.get()
            try:
                await self._reconcile_or_requeue(uid)
            finally:
                # A reconcile may change what the store says without a change of an object.
                self._admitter.observe(uid)
                self._queue.done(uid)
            # Reconciles that need no request would not let other tasks run.
            await asyncio.sleep(0)

    def end_term(self) -> None:
        """Forget what only a leader knows. Called when this operator no longer leads."""
        self._problems.end_term()

    async def _reconcile_or_requeue(self, uid: str) -> None:
        if not self._context.leads():
            self._queue.add_after(uid, _NOT_READY_DELAY)
            return
        namespace = self._namespace(uid)
        if namespace is None:
            self._forget(uid)
            return
        if not self._context.may_act(namespace):
            # The conversion is enqueued again when the lists of its namespace are known.
            return
        if self._context.is_left(namespace, uid):
            # It is enqueued again if the namespace comes back.
            return
        try:
            await self._reconcile(uid, self._context.permit())
            self._queue.forget_failures(uid)
        except NotLeader:
            self._queue.add_after(uid, _NOT_READY_DELAY)
        except _StatusRejected as error:
            self._handle_rejection(uid, str(error))
        except ClusterError as error:
            self._context.metrics.errors.inc()
            logger.warning("Cannot reconcile %s; retrying: %s", uid, error)
            if isinstance(error, Unavailable) and error.retry_after:
                self._queue.add_after(uid, error.retry_after)
            else:
                self._queue.add_rate_limited(uid)
        except Exception:
            # One unexpected object must not stop the others.
            self._context.metrics.errors.inc()
            logger.exception("Cannot reconcile %s; retrying", uid)
            self._queue.add_rate_limited(uid)

    def _handle_rejection(self, uid: str, why: str) -> None:
        """Try again soon after the first rejections of a status, and later every few minutes."""
        self._context.metrics.errors.inc()
        conversion = self._store.conversion(uid)
        if conversion is None or not self._problems.count_rejection(uid):
            logger.info("The API server rejects the status of %s; retrying: %s", uid, why)
            self._queue.add_rate_limited(uid)
            return
        self._queue.forget_failures(uid)
        self._problems.report(conversion, Problem.STATUS_REJECTED, why)
        self._queue.add_after(uid, REJECTED_RETRY_SECONDS)

    def _forget(self, uid: str) -> None:
        """Forget what was written about a conversion that no longer exists."""
        self._problems.forget(uid)
        self._queue.forget_failures(uid)
        self._written_at.pop(uid, None)
        self._recorder.forget(uid)
        self._profiles.forget(uid)
        self._queued.forget(uid)

    def _namespace(self, uid: str) -> str | None:
        """The namespace of a conversion or of its children. None if nothing of it is known."""
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if conversion:
            return conversion.key.namespace
        return next((child.namespace for child in (*children.jobs, *children.pods)), None)

    async def _reconcile(self, uid: str, permit: WritePermit) -> None:
        self._context.metrics.reconciles.inc()
        await self._lookups.confirm_missing(uid)
        await self._lookups.find_pods_of_suspended(uid)
        conversion, children = self._store.conversion(uid), self._store.children(uid)
        if conversion is None:
            self._forget(uid)
            policy = self._context.policy()
            orphans = decide_without_conversion(children, self._cluster.now(), policy)
            await self._execute(None, orphans, permit)
            self._store.forget_deleted(uid)
            self._requeue(uid, orphans)
            return
        self._recorder.record_foreign(conversion, self._store.foreign(uid))
        if conversion.status_error:
            self._problems.report(conversion, Problem.STATUS_UNREADABLE, conversion.status_error)
        else:
            self._problems.clear(uid, Problem.STATUS_UNREADABLE)
        children = await self._lookups.refresh(conversion, children)
        plan = decide(await self._snapshot(conversion, children))
        ends = frozenset(pod.converter_end for pod in children.pods)
        await self._execute(conversion, plan, permit, ends)
        if conversion.finished:
            self._store.forget_deleted(uid)
        elif last := last_recorded_attempt(conversion.status):
            # A conversion whose pods are refused may have thousands of attempts.
            self._store.forget_deleted(uid, before=last.number)
        self._requeue(uid, plan)

    def _requeue(self, uid: str, plan: Plan) -> None:
        if self._store.missing(uid):
            self._queue.add_after(uid, _MISSING_DELAY)
        if plan.requeue_after is not None:
            self._queue.add_after(uid, max(0.05, plan.requeue_after.total_seconds()))

    async def _snapshot(self, conversion: Conversion, children: Children) -> Snapshot:
        uid, queue = conversion.key.uid, self._admitter.queue
        written = self._written_at.get(uid)
        age = None if written is None else timedelta(seconds=time.monotonic() - written)
        progress, logs = await self._read_progress(conversion, children, written)
        return Snapshot(
            conversion=conversion,
            children=children,
            now=self._cluster.now(),
            policy=self._context.policy(),
            position=queue.position(conversion.key),
            refresh=self._queued.take_position(uid),
            block=queue.block(conversion.key),
            warning=await self._latest_warning(conversion, children),
            progress=progress,
            logs=logs,
            last_write_age=age,
            should_yield_slot=self._admitter.should_yield_slot(uid),
            input_writer=self._input_writer(conversion),
            profile=self._profile(conversion, children),
        )

    def _profile(self, conversion: Conversion, children: Children) -> ProfileAnswer | None:
        """What its profile says. None if it does not need this now, or has to wait for it."""
        name = conversion.spec.profile if conversion.spec else None
        if name and wants_profile(conversion, children, self._context.policy()):
            return self._profiles.find(conversion, name)
        self._profiles.forget(conversion.key.uid)
        return None

    def _input_writer(self, conversion: Conversion) -> str:
        """The name of another unfinished conversion that writes the input of this one, or ""."""
        writers = self._store.writers(conversion.key.namespace, conversion.input_path)
        others = (w for w in writers if not w.finished and w.key != conversion.key)
        return next((writer.key.name for writer in others), "")

    async def _read_progress(
        self, conversion: Conversion, children: Children, written: float | None
    ) -> tuple[Progress | None, str]:
        pod = _running_pod(conversion, children)
        known = conversion.status is not None and pod and conversion.status.pod_name == pod.name
        too_soon = (
            written is not None and time.monotonic() - written < PROGRESS_INTERVAL.total_seconds()
        )
        if pod is None or not known or too_soon:
            return None, ""
        if self._log_reads >= LOG_READS:
            self._queue.add_after(conversion.key.uid, _LOG_BUSY_DELAY)
            return None, ""
        self._log_reads += 1
        try:
            return split_log(await self._cluster.log_tail(pod.namespace, pod.name))
        except ClusterError as error:
            # Progress is best effort: without it, reconciling continues.
            logger.debug("Cannot read the log of %s: %s", pod.name, error)
            return None, ""
        finally:
            self._log_reads -= 1

    async def _latest_warning(self, conversion: Conversion, children: Children) -> str:
        """The latest warning about a Job or pod that should have started by now; "" if none.

        Without trouble, no Events are read.
        """
        if conversion.finished or awaits_attempt(conversion, children):
            return ""
        mine = children.of_attempt(latest_attempt_number(conversion, children))
        silent = child_to_read_events_of(mine, self._cluster.now())
        return await self._cluster.latest_warning(silent.namespace, silent.uid) if silent else ""

    async def _execute(
        self,
        conversion: Conversion | None,
        plan: Plan,
        permit: WritePermit,
        ends: frozenset[datetime | None] = frozenset(),
    ) -> None:
        for action in plan.actions:
            await self._run_action(conversion, action, permit)
        if conversion is None or (plan.status is None and not plan.write_generation):
            return
        if plan.status is not None and self._queued.must_wait(conversion, plan.status):
            return
        stored = await self._write_status(conversion, plan.status, permit)
        if stored is None:
            return
        self._store.update(stored)
        if plan.status is not None:
            self._written_at[conversion.key.uid] = time.monotonic()
            if plan.status.phase.terminal:
                del self._written_at[conversion.key.uid]
            ended = plan.status.completion_time in ends
            self._recorder.record(conversion, plan.status, converter_ended=ended)

    async def _write_status(
        self, conversion: Conversion, status: ConversionJobStatus | None, permit: WritePermit
    ) -> Conversion | None:
        """Write the status, or only its observedGeneration if there is no new one.

        None: the decision was made on an old state and must be repeated.
        """
        try:
            stored = (
                await self._cluster.write_observed_generation(conversion, permit)
                if status is None
                else await self._cluster.write_status(conversion, status, permit)
            )
            self._problems.forget_rejections(conversion.key.uid)
            return stored
        except NotFound:
            return None  # it was deleted meanwhile, which the watch reports
        except Conflict:
            stored = await self._cluster.get_conversion(conversion.key)
            if stored.version == conversion.version:
                raise  # the version was not old
        except Rejected as error:
            # The object has another uid, or a rule of the CRD rejects the status.
            stored = await self._cluster.get_conversion(conversion.key)
            if stored.key.uid == conversion.key.uid:
                raise (error if error.code == 403 else _StatusRejected(str(error))) from None
        self._store.update(stored)
        if stored.key.uid == conversion.key.uid:
            self._queue.add(conversion.key.uid)
        else:  # it was deleted and created again, which the watch reports
            self._queue.add_rate_limited(conversion.key.uid)
        return None

    async def _run_action(
        self, conversion: Conversion | None, action: Action, permit: WritePermit
    ) -> None:
        if isinstance(action, DeleteJob):
            await self._cluster.delete_job(action.job, permit, foreground=action.foreground)
        elif isinstance(action, DeletePod):
            await self._cluster.delete_pod(action.pod, permit, force=action.force)
        elif conversion is not None:
            await self._cluster.delete_conversion(conversion.key, permit)


def split_log(text: str) -> tuple[Progress | None, str]:
    """The latest progress in the end of a log, and its lines for people."""
    progress, lines = None, []
    for line in text.splitlines():
        found = parse_progress(line)
        if found:
            progress = found
        elif not line.startswith('{"' + PROGRESS_KEY):  # and not half a progress line
            lines.append(line)
    return progress, "\n".join(lines)


def _running_pod(conversion: Conversion, children: Children) -> Pod | None:
    if conversion.finished:
        return None
    mine = children.of_attempt(latest_attempt_number(conversion, children))
    return next((pod for pod in mine.pods if pod.live and pod.running_since), None)
