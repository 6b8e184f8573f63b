"""Plans after the end: delete the Jobs, the pods and, after its time to live, the ConversionJob.

After the end, only status.notify (by the callback loop) and status.observedGeneration are still
written. Nothing here writes a status.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from conversion_operator.api.status import ConversionJobStatus, NotifyState
from conversion_operator.core.attempts import is_finishing
from conversion_operator.core.children import Job
from conversion_operator.core.plan import (
    SIDECAR_GRACE,
    TOMBSTONE_TTL,
    Action,
    DeleteConversion,
    DeleteJob,
    Plan,
    Snapshot,
    delete_pods,
)
from conversion_operator.core.sweep import SWEEP_ATTEMPT, until_sweep_deleted

CALLBACK_HOLD: Final = timedelta(days=1)
"""A pending callback keeps an ended conversion from being deleted for this long. The callback loop
gives up an hour after the end. If no operator ran during that hour, the operator that starts next
still sends the callback once."""


def plan_cleanup(snapshot: Snapshot) -> Plan:
    """The plan for a conversion that has ended.

    If its status does not say when it ended, for example because a later release wrote the status,
    its time to live never expires. Each of its Jobs is deleted after the usual delay, which then
    starts at the end of the Job.
    """
    conversion, status = snapshot.conversion, snapshot.status
    if status is None or conversion.orphans_dependents:
        return Plan()
    deletions: list[Action] = []
    delays: list[timedelta] = []
    expired = False
    if status.completion_time is not None:
        time_since_end = snapshot.now - status.completion_time
        until_expired = _time_to_live(snapshot, status) - time_since_end
        expired = until_expired <= timedelta(0)
        delays += [until_expired, TOMBSTONE_TTL - time_since_end]
    for job in snapshot.children.jobs:
        if job.deleted or job.deleting:
            continue
        ended_at = status.completion_time or job.finished_at or snapshot.now
        delay = _until_deleted(job, snapshot, snapshot.now - ended_at)
        delays.append(delay)
        if delay <= timedelta(0):
            deletions.append(DeleteJob(job, foreground=job.live))
    ends = {pod: pod.converter_end for pod in snapshot.children.pods if pod.live}
    left = {pod: end + SIDECAR_GRACE - snapshot.now for pod, end in ends.items() if end}
    delays += left.values()
    with_sidecar = [pod for pod, delay in left.items() if delay <= timedelta(0)]
    pods_without_job = (pod for pod in snapshot.children.pods_without_job if not pod.gc_will_delete)
    pods = delete_pods(dict.fromkeys((*pods_without_job, *with_sidecar)))
    actions = (*deletions, *pods)
    # A field of the spec that this release does not know may ask to keep the ConversionJob.
    if expired and not conversion.unsupported and not conversion.deleting:
        return Plan((*actions, DeleteConversion()))
    later = (delay for delay in delays if delay > timedelta(0))
    return Plan(actions, requeue_after=min(later, default=None))


def _time_to_live(snapshot: Snapshot, status: ConversionJobStatus) -> timedelta:
    given = snapshot.conversion.ttl
    ttl = timedelta(seconds=snapshot.policy.ttl if given is None else given)
    pending = status.notify is not None and status.notify.state is NotifyState.PENDING
    # Once the ConversionJob is deleted, its callback cannot be sent.
    return max(ttl, CALLBACK_HOLD if pending else timedelta(0))


def _until_deleted(job: Job, snapshot: Snapshot, time_since_end: timedelta) -> timedelta:
    """How long until this Job is deleted. Zero or negative: delete it now."""
    if job.attempt == SWEEP_ATTEMPT:
        return until_sweep_deleted(job, time_since_end, snapshot.now, snapshot.policy)
    if job.suspended or (job.live and not is_finishing(job, snapshot)):
        # Somebody could resume it, or it is stale, or its container may still run.
        return timedelta(0)
    return TOMBSTONE_TTL - time_since_end
