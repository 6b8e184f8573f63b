"""Plans for conversions without an attempt in progress: they wait, or they end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import (
    STOP_REASONS,
    is_finishing,
    last_recorded_attempt,
    latest_attempt_number,
    lost_pod_uid,
    next_attempt_at,
)
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.conversion_queues import QueueLimits
from conversion_operator.core.model import stop_verb
from conversion_operator.core.plan import (
    FINISHING_TIME,
    STOP_RECHECK_INTERVAL,
    Block,
    Plan,
    Snapshot,
    delete_live_jobs,
    delete_pods,
    force_delete_overdue_pods,
    lost_node_message,
)
from conversion_operator.core.stopping import plan_node_lost_while_stopping
from conversion_operator.core.transitions import Transition
from conversion_operator.core.work_class import is_light


def plan_queued(snapshot: Snapshot) -> Plan:
    """The plan for a conversion that waits for its first or its next attempt.

    It cannot start while one of its Jobs or pods is live. So those of earlier attempts are deleted,
    except the Job whose pod has just ended: its conditions show the end a second or two later. It
    is kept, so that a late create request is answered with AlreadyExists.
    """
    if snapshot.conversion.cancel_requested:
        return end_conversion_without_result(
            snapshot,
            Phase.CANCELLED,
            Reason.CANCELLED,
            f"{stop_verb(snapshot.conversion)} while it was waiting",
        )
    time_to_loss = _time_until_lost(snapshot)
    for pod, left in time_to_loss.items():
        if left <= timedelta(0) and (plan := _plan_lost(snapshot, pod)):
            return plan
    plan = _plan_waiting(snapshot)
    pods_without_job = [p for p in snapshot.children.pods_without_job if p.live and not p.deleting]
    unwanted = [pod for pod in pods_without_job if _will_not_get_a_job(pod, snapshot)]
    time_left = {job: _time_left_to_finish(job, snapshot) for job in snapshot.children.jobs}
    to_delete = (job for job, left in time_left.items() if not left)
    # If such a pod is still live, a sidecar runs.
    converter_ended = (pod for pod in snapshot.children.pods if pod.terminated)
    overdue = force_delete_overdue_pods(converter_ended, snapshot.now)
    actions = (*delete_live_jobs(to_delete), *delete_pods(unwanted), *overdue)
    delays = [plan.requeue_after] if plan.requeue_after is not None else []
    if len(pods_without_job) > len(unwanted):
        delays.append(STOP_RECHECK_INTERVAL)
    delays += filter(None, time_left.values())
    delays += (left for left in time_to_loss.values() if left > timedelta(0))
    return replace(plan, actions=actions, requeue_after=min(delays, default=None))


def _time_until_lost(snapshot: Snapshot) -> dict[Pod, timedelta]:
    """How long until each terminating pod of an earlier attempt counts as lost.

    Such a pod may still convert, so no other attempt starts. It remains if the operator ended its
    attempt, for example because of the start timeout, and the node does not respond.
    """
    timeout = timedelta(seconds=snapshot.policy.lost_timeout)
    return {
        pod: pod.deletion_timestamp + timeout - snapshot.now
        for pod in snapshot.children.pods
        if pod.converting and pod.deletion_timestamp and not pod.duplicate
    }


def _plan_lost(snapshot: Snapshot, pod: Pod) -> Plan | None:
    """The plan for a pod that is lost because its node does not respond: the conversion fails.

    If spec.suspend is set or the ConversionQueue is held, the conversion stays in the queue. Then
    the result is None if the status already records the lost pod, or if the pod is of another
    attempt. If the hold ends while the pod still exists, the conversion fails.
    """
    if snapshot.block is None or snapshot.block.reason not in STOP_REASONS:
        message = lost_node_message(pod, snapshot.policy)
        return Plan(status=Transition.to(snapshot, Phase.FAILED, Reason.NODE_LOST, message).status)
    last = last_recorded_attempt(snapshot.status)
    if last is None or last.number != pod.attempt or lost_pod_uid(snapshot.status) == pod.uid:
        return None
    return plan_node_lost_while_stopping(snapshot, Children(), pod, snapshot.block)


def _time_left_to_finish(job: Job, snapshot: Snapshot) -> timedelta:
    """How long to wait for the conditions of a Job whose pod has ended. Zero: do not wait."""
    last = last_recorded_attempt(snapshot.status)
    has_pod = any(pod.job_name == job.name for pod in snapshot.children.pods)
    if last is None or last.completion_time is None:
        return timedelta(0)
    if not job.live or job.suspended or not has_pod or not is_finishing(job, snapshot):
        return timedelta(0)
    return max(timedelta(0), last.completion_time + FINISHING_TIME - snapshot.now)


def _will_not_get_a_job(pod: Pod, snapshot: Snapshot) -> bool:
    """True if the Job of this pod does not exist and will not appear.

    The operator then deletes the pod, because the conversion cannot start while the pod is live.
    The answer is False for a new pod: the watch of pods may be ahead of the watch of Jobs, so its
    Job may still appear.
    """
    if pod.attempt <= latest_attempt_number(snapshot.conversion, snapshot.children):
        return True
    return snapshot.now - pod.created >= timedelta(seconds=snapshot.policy.start_timeout)


def _plan_waiting(snapshot: Snapshot) -> Plan:
    """The status of a conversion that waits, and when it may change."""
    status, retry_at = snapshot.status, next_attempt_at(snapshot.status)
    if retry_at and retry_at > snapshot.now:
        # The status written after the last attempt already says why the conversion waits.
        return Plan(requeue_after=retry_at - snapshot.now)
    cause = snapshot.block or _block_for_missing_slot(snapshot)
    if cause is None:
        return Plan()
    position = snapshot.position
    if status and status.phase is Phase.QUEUED and status.reason == cause.reason:
        # When a conversion starts, the positions of all others change. Their statuses are not
        # written for it, so a stored position may be out of date. The HTTP API has the exact one.
        same = (status.queue_position, status.message) == (position, cause.message)
        # The status of a blocked conversion is written immediately, so the position may come later.
        first = status.queue_position is None and position is not None
        if same or not (snapshot.refresh or first):
            return Plan()
    queued = Transition.to(snapshot, Phase.QUEUED, cause.reason, cause.message)
    return Plan(status=queued.with_queue_position(position).status)


def end_conversion_without_result(
    snapshot: Snapshot, phase: Phase, reason: str, message: str
) -> Plan:
    """The plan that ends a conversion without the result of an attempt.

    If a Job is still live, for example from a delayed create request, it is deleted first, and so
    is a pod whose Job does not exist. A pod that does not terminate, because its node is lost, is
    deleted by force. The terminal status is written when no Job or pod is live.
    """
    if snapshot.children.live:
        pods_without_job = (pod for pod in snapshot.children.pods_without_job if pod.live)
        actions = (
            *delete_live_jobs(snapshot.children.jobs),
            *force_delete_overdue_pods(snapshot.children.pods, snapshot.now),
            *delete_pods(pods_without_job),
        )
        return Plan(actions, requeue_after=STOP_RECHECK_INTERVAL)
    return Plan(status=Transition.to(snapshot, phase, reason, message).status)


def _block_for_missing_slot(snapshot: Snapshot) -> Block | None:
    """The reason and the message of a conversion that waits only for a slot.

    None if the conversion has no queue position yet. When the conversion gets one, the admitter
    enqueues it for a reconcile.
    """
    if snapshot.position is None:
        return None
    limit = snapshot.policy.max_parallel
    limits = [f"at most {limit} conversions run at a time"]
    name, namespace = snapshot.conversion.queue, snapshot.conversion.key.namespace
    queue = snapshot.policy.queues.find(name) or QueueLimits()
    if queue.max_parallel is not None:
        limits.append(f"at most {queue.max_parallel} of ConversionQueue {name}")
    if (most := queue.namespaces.get(namespace)) is not None:
        limits.append(f"at most {most} of namespace {namespace} in ConversionQueue {name}")
    if queue.reserved and not is_light(snapshot.conversion):
        limits.append(f"ConversionQueue {name} reserves {queue.reserved} for light conversions")
    return Block(Reason.WAITING_FOR_SLOT, f"waiting for a slot: {', '.join(limits)}")
