"""After the end of a conversion: its Jobs and pods are deleted, and in time the conversion itself.

The status of a conversion that has ended is never written again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from conversion_operator.api.status import ConversionJobStatus, NotifyState
from conversion_operator.core.attempts import last_attempt
from conversion_operator.core.model import Job
from conversion_operator.core.plan import (
    TOMBSTONE,
    Action,
    DeleteConversion,
    DeleteJob,
    Plan,
    Snapshot,
    delete_pods,
)
from conversion_operator.core.sweep import SWEEP_ATTEMPT, until_sweep_deleted

CALLBACK_HOLD: Final = timedelta(days=1)
"""How long after its end a pending callback protects a conversion from deletion. The callback loop
gives up after an hour; if no operator ran in that time, the callback still gets one attempt."""


def clean_up(snapshot: Snapshot) -> Plan:
    """The plan for a conversion that has ended."""
    conversion, status = snapshot.conversion, snapshot.status
    if status is None or conversion.deleting:
        return Plan()
    ended_for = snapshot.now - (status.completion_time or snapshot.now)
    ttl = _time_to_live(snapshot, status)
    deletions: list[Action] = []
    waits = [wait for wait in (ttl - ended_for, TOMBSTONE - ended_for) if wait > timedelta(0)]
    for job in snapshot.children.jobs:
        if job.deleted or job.deleting:
            continue
        left = _until_deleted(job, snapshot, ended_for)
        if left <= timedelta(0):
            deletions.append(DeleteJob(job, foreground=job.live))
        else:
            waits.append(left)
    actions = (*deletions, *delete_pods(snapshot.children.orphan_pods))
    if ended_for >= ttl:
        return Plan((*actions, DeleteConversion()))
    return Plan(actions, requeue_after=min(waits))


def _time_to_live(snapshot: Snapshot, status: ConversionJobStatus) -> timedelta:
    spec = snapshot.conversion.spec
    given = spec.ttl_seconds_after_finished if spec else None
    ttl = timedelta(seconds=snapshot.policy.ttl if given is None else given)
    pending = status.notify is not None and status.notify.state is NotifyState.PENDING
    # A deleted conversion cannot send its callback any more.
    return max(ttl, CALLBACK_HOLD if pending else timedelta(0))


def _until_deleted(job: Job, snapshot: Snapshot, ended_for: timedelta) -> timedelta:
    """How long until this Job is deleted. Zero or less for at once."""
    if job.attempt == SWEEP_ATTEMPT:
        return until_sweep_deleted(job, ended_for, snapshot.now, snapshot.policy)
    if job.live and not _is_last_and_over(job, snapshot):
        return timedelta(0)
    return TOMBSTONE - ended_for


def _is_last_and_over(job: Job, snapshot: Snapshot) -> bool:
    """True for the Job of the last attempt once no container of it runs.

    We read the end of the container a second or two before the pod's phase and the Job's
    conditions show it. Until then the Job still looks live.
    """
    last = last_attempt(snapshot.status)
    pods = (pod for pod in snapshot.children.pods if pod.job_name == job.name)
    running = any(pod.live and pod.terminated is None for pod in pods)
    return last is not None and job.attempt == last.number and not running
