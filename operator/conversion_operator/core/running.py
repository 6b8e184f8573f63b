"""An attempt in progress: its container starts, runs, or is on a node that does not respond."""

from __future__ import annotations

from datetime import timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.core.ending import conclude
from conversion_operator.core.model import Children, Job, Pod
from conversion_operator.core.plan import (
    PROGRESS_INTERVAL,
    STARTING_INTERVAL,
    STARTING_SETTLE,
    DeleteJob,
    Plan,
    Snapshot,
)
from conversion_operator.core.retry import backoff, count_not_started, start_timed_out
from conversion_operator.core.transitions import Transition, update_progress
from conversion_operator.core.verdict import Active, Ended, Outcome, Unreachable, Waiting


def start(snapshot: Snapshot, attempt: Children, waiting: Waiting) -> Plan:
    """The plan while the container of an attempt does not run yet."""
    job = next(iter(attempt.jobs), None)
    if job is None or job.deleting:  # judge() reports an attempt without a Job as Ended
        return Plan()
    if job.image != snapshot.policy.image:
        message = f"the image changed before the container started; it was {job.image}"
        changed = Waiting(Reason.IMAGE_CHANGED, message, waiting.pod)
        return _give_up_starting(snapshot, attempt, job, changed)
    age = snapshot.now - job.created
    left = timedelta(seconds=snapshot.policy.start_timeout) - age
    if left <= timedelta(0):
        return _give_up_starting(snapshot, attempt, job, waiting)
    status, requeue = snapshot.status, min(left, STARTING_INTERVAL)
    if status and status.phase is Phase.STARTING and status.reason == waiting.reason:
        return Plan(requeue_after=requeue)
    if status and waiting.reason == Reason.STARTING and age < STARTING_SETTLE:
        return Plan(requeue_after=STARTING_SETTLE - age)
    starting = Transition.to(snapshot, Phase.STARTING, waiting.reason, waiting.message)
    return Plan(
        status=starting.with_attempt(attempt).with_pod(waiting.pod).status, requeue_after=requeue
    )


def _give_up_starting(snapshot: Snapshot, attempt: Children, job: Job, waiting: Waiting) -> Plan:
    """Release the slot. Another attempt follows, unless the queue timeout is over."""
    retries = count_not_started(snapshot.retries, waiting.reason == Reason.IMAGE_CHANGED)
    timed_out = start_timed_out(retries, snapshot.policy)
    phase = Phase.FAILED if timed_out else Phase.QUEUED
    reason = Reason.QUEUE_TIMEOUT if timed_out else waiting.reason
    status = (
        Transition.to(snapshot, phase, reason, waiting.message)
        .with_attempt(attempt)
        .with_attempt_ended(waiting.reason, waiting.message)
        .with_retries(retries)
        .status
    )
    return Plan((DeleteJob(job, foreground=True),), status, backoff(retries))


def run(snapshot: Snapshot, attempt: Children, active: Active) -> Plan:
    """The plan while the container runs: write Running once, then update the progress."""
    pod, status = active.pod, snapshot.status
    if status and status.phase is Phase.RUNNING and status.pod_name == pod.name:
        return _follow_progress(snapshot, status)
    message = f"the converter is running on {_node(pod)}"
    running = Transition.to(snapshot, Phase.RUNNING, Reason.RUNNING, message)
    return Plan(
        status=running.with_attempt(attempt).with_start(pod).status,
        requeue_after=PROGRESS_INTERVAL,
    )


def _follow_progress(snapshot: Snapshot, status: ConversionJobStatus) -> Plan:
    if snapshot.progress is None:
        return Plan(requeue_after=PROGRESS_INTERVAL)
    if snapshot.since_write is not None and snapshot.since_write < PROGRESS_INTERVAL:
        return Plan(requeue_after=PROGRESS_INTERVAL - snapshot.since_write)
    updated = update_progress(status, snapshot.progress, snapshot.logs)
    # Progress that repeats itself costs no write.
    return Plan(status=updated if updated != status else None, requeue_after=PROGRESS_INTERVAL)


def wait_for_node(snapshot: Snapshot, attempt: Children, unreachable: Unreachable) -> Plan:
    """The plan while the node of a deleted pod does not confirm that the pod terminated.

    The pod may still run, so there is no other attempt. In the end the conversion fails.
    """
    pod, limit = unreachable.pod, snapshot.policy.lost
    left = timedelta(seconds=limit) - (snapshot.now - unreachable.since)
    if left <= timedelta(0):
        message = f"{_node(pod)} did not respond within {limit} s"
        end = Ended(Outcome.FINAL, Reason.NODE_LOST, message, pod)
        return conclude(snapshot, attempt, end, Phase.FAILED)
    if snapshot.status and snapshot.status.reason == Reason.NODE_UNREACHABLE:
        return Plan(requeue_after=left)
    message = f"{_node(pod)} does not respond"
    unconfirmed = Transition.within_phase(snapshot, Reason.NODE_UNREACHABLE, message)
    return Plan(status=unconfirmed.with_pod(pod).status, requeue_after=left)


def _node(pod: Pod) -> str:
    return f"node {pod.node or 'unknown'}"
