"""Plans for an attempt in progress: its container starts, runs, or its node does not respond."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.ending import end_conversion
from conversion_operator.core.plan import (
    MOUNT_OVERDUE,
    POD_OVERDUE,
    PROGRESS_INTERVAL,
    SHORT_RUN,
    SHORT_WAIT,
    STARTING_INTERVAL,
    STARTING_WRITE_DELAY,
    Block,
    DeleteJob,
    Plan,
    Snapshot,
    lost_node_message,
    node_of,
)
from conversion_operator.core.refusals import REFUSED
from conversion_operator.core.retry import (
    backoff,
    count_not_started,
    count_unschedulable,
    queue_timeout_exceeded,
)
from conversion_operator.core.stopping import plan_node_lost_while_stopping, stop_reason
from conversion_operator.core.transitions import Transition, with_progress
from conversion_operator.core.unschedulable import time_allowed_to_start
from conversion_operator.core.verdict import Active, Ended, NotStarted, Outcome, Unreachable

_NORMAL_WAITING_REASONS: Final = (Reason.WAITING_FOR_SLOT, Reason.STARTING)
"""The reasons of a conversion that waits without an error."""


def plan_starting(snapshot: Snapshot, attempt_children: Children, not_started: NotStarted) -> Plan:
    """The plan while the container of an attempt does not run yet."""
    job = next(iter(attempt_children.jobs), None)
    if job is None or job.deleting:
        # A Job that is being deleted needs no action. The test `job is None` only satisfies the
        # type checker: judge() reports a missing Job as Ended.
        return Plan()
    changed = _changed_setting(job, snapshot)
    if changed:
        outdated = NotStarted(changed.reason, changed.message, not_started.pod)
        return _end_failed_start(snapshot, attempt_children, job, outdated)
    if not_started.pod is None and not_started.reason in REFUSED:
        return _end_failed_start(snapshot, attempt_children, job, not_started)
    age = snapshot.now - job.started_waiting(snapshot.now)
    left = time_allowed_to_start(snapshot, job, not_started) - age
    if left <= timedelta(0):
        return _end_failed_start(snapshot, attempt_children, job, not_started)
    status, requeue = snapshot.status, min(left, STARTING_INTERVAL)
    if not_started.pod is None and job.has_no_pod and age < STARTING_WRITE_DELAY:
        # From this age of the Job on, its Events are read. They say why its pod was refused.
        requeue = min(left, STARTING_WRITE_DELAY - age)
    if status and status.phase is Phase.STARTING and status.reason == not_started.reason:
        return Plan(requeue_after=requeue)
    delay = max(STARTING_WRITE_DELAY, _write_delay(snapshot, job.created))
    if not_started.reason == Reason.STARTING and age < delay:
        return Plan(requeue_after=min(requeue, delay - age))
    starting = Transition.to(snapshot, Phase.STARTING, not_started.reason, not_started.message)
    starting = starting.with_attempt(attempt_children).with_pod(not_started.pod)
    return Plan(status=starting.status, requeue_after=requeue)


def child_to_read_events_of(attempt_children: Children, now: datetime) -> Job | Pod | None:
    """The Job or pod whose Events must be read to learn why the container has not started.

    None until the pod is overdue: see STARTING_WRITE_DELAY, POD_OVERDUE and MOUNT_OVERDUE.
    """
    job, pods = next(iter(attempt_children.jobs), None), attempt_children.pods
    if job is None or any(not pod.live or pod.running_since or pod.terminated for pod in pods):
        return None
    pod = next(iter(pods), None)
    if pod is None:
        wait = STARTING_WRITE_DELAY if job.has_no_pod else POD_OVERDUE
        return job if now - job.started_waiting(now) >= wait else None
    if pod.has_sandbox or not pod.node:
        return None
    return pod if now - (pod.scheduled_at or pod.created) >= MOUNT_OVERDUE else None


def _write_delay(snapshot: Snapshot, started: datetime) -> timedelta:
    """The minimum age of the phase Starting or Running before it is written to the status.

    So a short conversion without errors needs only one status write before its end.
    """
    status = snapshot.status
    if status is None or status.reason not in _NORMAL_WAITING_REASONS:
        return timedelta(0)
    waited = started - snapshot.conversion.created
    return SHORT_RUN if waited < SHORT_WAIT else timedelta(0)


def _changed_setting(job: Job, snapshot: Snapshot) -> Block | None:
    """Why the Job does not match the settings. None if it does.

    Compares the Job as the operator created it, not as mutating webhooks or policies of the API
    server have changed it. Otherwise each changed Job would be replaced. A Job that was suspended
    is not replaced: Kueue or the user resumes this Job by its name.
    """
    if job.was_suspended:
        return None
    if job.image != snapshot.policy.image:
        message = f"CONVERTER_IMAGE changed before the container started; the Job uses {job.image}"
        return Block(Reason.IMAGE_CHANGED, message)
    if job.pod_settings != snapshot.policy.pods.of(job.namespace).fingerprint:
        message = "CONVERTER_POD_SETTINGS changed before the container started"
        return Block(Reason.POD_SETTINGS_CHANGED, message)
    return None


def _end_failed_start(
    snapshot: Snapshot, attempt_children: Children, job: Job, not_started: NotStarted
) -> Plan:
    """Delete the Job, which releases its slot.

    Another attempt follows, unless this attempt alone has waited for the queue timeout, or the
    start timeouts and back-offs of the consecutive failed starts add up to it. Attempts whose pod
    the API server refused do not count: such a conversion stays in the queue until the namespace
    accepts pods.
    """
    retries = snapshot.retries
    if not_started.reason == Reason.UNSCHEDULABLE and not job.was_suspended:
        retries = count_unschedulable(retries)
    elif not_started.reason not in REFUSED:
        changed = not_started.reason in (Reason.IMAGE_CHANGED, Reason.POD_SETTINGS_CHANGED)
        retries = count_not_started(retries, changed)
    waited = snapshot.now - job.started_waiting(snapshot.now)
    timed_out = queue_timeout_exceeded(retries, snapshot.policy) or (
        waited >= timedelta(seconds=snapshot.policy.queue_timeout)
    )
    phase = Phase.FAILED if timed_out else Phase.QUEUED
    reason = Reason.QUEUE_TIMEOUT if timed_out else not_started.reason
    transition = Transition.to(snapshot, phase, reason, not_started.message)
    transition = transition.with_attempt(attempt_children).with_retries(retries)
    transition = transition.with_attempt_closed(not_started.reason, not_started.message)
    return Plan((DeleteJob(job, foreground=True),), transition.status, backoff(retries))


def plan_running(snapshot: Snapshot, attempt_children: Children, active: Active) -> Plan:
    """The plan while the container runs: write Running once, then update the progress.

    If the conversion started within SHORT_WAIT of its creation, and its status shows no error,
    Running is written only after SHORT_RUN. If the container ends earlier, only the end is written.
    """
    pod, status = active.pod, snapshot.status
    if status and status.phase is Phase.RUNNING and status.pod_name == pod.name:
        return _plan_progress(snapshot, status)
    since = pod.running_since or snapshot.now
    delay, ran = _write_delay(snapshot, since), snapshot.now - since
    if abs(ran) < delay:  # if `ran` is far below 0, the clock of the node is wrong: do not wait
        return Plan(requeue_after=delay - max(ran, timedelta(0)))
    message = f"the converter is running on {node_of(pod)}"
    running = Transition.to(snapshot, Phase.RUNNING, Reason.RUNNING, message)
    running = running.with_attempt(attempt_children).with_start(pod)
    return Plan(status=running.status, requeue_after=PROGRESS_INTERVAL)


def _plan_progress(snapshot: Snapshot, status: ConversionJobStatus) -> Plan:
    if snapshot.progress is None:
        return Plan(requeue_after=PROGRESS_INTERVAL)
    if snapshot.last_write_age is not None and snapshot.last_write_age < PROGRESS_INTERVAL:
        return Plan(requeue_after=PROGRESS_INTERVAL - snapshot.last_write_age)
    updated = with_progress(status, snapshot.progress, snapshot.logs, snapshot.now)
    # Do not write unchanged progress.
    return Plan(status=updated if updated != status else None, requeue_after=PROGRESS_INTERVAL)


def plan_unreachable(
    snapshot: Snapshot, attempt_children: Children, unreachable: Unreachable
) -> Plan:
    """The plan while a pod is still terminating because its node does not respond.

    The pod may still be running, so no other attempt starts. If the pod still exists after
    CONVERTER_LOST_SECONDS, the conversion fails. If it was being stopped (suspended or drained), it
    goes back to the queue instead.
    """
    pod, limit = unreachable.pod, timedelta(seconds=snapshot.policy.lost_timeout)
    left = limit - (snapshot.now - unreachable.since)
    if left <= timedelta(0):
        if why := stop_reason(snapshot):
            return plan_node_lost_while_stopping(snapshot, attempt_children, pod, why)
        message = lost_node_message(pod, snapshot.policy)
        end = Ended(Outcome.NOT_RETRYABLE, Reason.NODE_LOST, message, pod)
        return end_conversion(snapshot, attempt_children, end, Phase.FAILED)
    if snapshot.status and snapshot.status.reason == Reason.NODE_UNREACHABLE:
        return Plan(requeue_after=left)
    message = f"{node_of(pod)} does not respond"
    changed = Transition.within_phase(snapshot, Reason.NODE_UNREACHABLE, message)
    return Plan(status=changed.with_pod(pod).status, requeue_after=left)
