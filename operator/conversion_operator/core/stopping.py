"""Plans that stop an attempt, and put its conversion back into the queue.

Such an attempt changes no retry counter. The operator deletes the Job, and in the same reconcile
records the reason in the attempt. So the reason is not lost if the user resumes the conversion
before the pod has terminated.
"""

from __future__ import annotations

from conversion_operator.api.queues import StopPolicy
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import STOP_REASONS, last_recorded_attempt
from conversion_operator.core.children import Children, Pod, queue_of
from conversion_operator.core.holds import SUSPENDED, queue_held
from conversion_operator.core.plan import (
    STOP_RECHECK_INTERVAL,
    Block,
    Plan,
    Snapshot,
    delete_live_jobs,
    delete_pods,
    lost_node_message,
)
from conversion_operator.core.retry import SHORTEST_BACKOFF
from conversion_operator.core.transitions import Transition
from conversion_operator.core.verdict import Ended, Outcome


def stop_reason(snapshot: Snapshot) -> Block | None:
    """Why the operator must stop the attempt in progress. None if it may continue."""
    if snapshot.conversion.suspend:
        return SUSPENDED
    queue = _queue_of_attempt(snapshot)
    limits = snapshot.policy.queues.find(queue)
    if limits is not None and limits.stop is StopPolicy.HOLD_AND_DRAIN:
        return queue_held(queue, f"its spec.stopPolicy is {limits.stop}")
    return None


def _queue_of_attempt(snapshot: Snapshot) -> str:
    """The name of the ConversionQueue in which the attempt takes its slot."""
    return queue_of(snapshot.children) or snapshot.conversion.queue


def stop_reason_at_end(snapshot: Snapshot) -> Block | None:
    """Why the attempt that has ended counts as stopped by the operator. None if it does not.

    The reason is that of the recorded attempt, if the user has resumed the conversion since.
    """
    why, last = stop_reason(snapshot), last_recorded_attempt(snapshot.status)
    if why or last is None or last.completion_time is not None or last.reason not in STOP_REASONS:
        return why
    message = (
        "the attempt was stopped because the conversion was suspended or its ConversionQueue was "
        "drained; the conversion continues now"
    )
    return Block(str(last.reason), message)


def plan_stop(snapshot: Snapshot, attempt_children: Children, why: Block) -> Plan:
    """The plan that stops the attempt. Its end is recorded once its pod has terminated."""
    pods_without_job = (pod for pod in snapshot.children.pods_without_job if pod.live)
    actions = (*delete_live_jobs(attempt_children.jobs), *delete_pods(pods_without_job))
    if snapshot.status and snapshot.status.reason == why.reason:
        return Plan(actions, requeue_after=STOP_RECHECK_INTERVAL)
    stopping = Transition.within_phase(snapshot, why.reason, why.message)
    stopping = stopping.with_attempt(attempt_children).with_attempt_stopping(why.reason)
    return Plan(actions, stopping.status, STOP_RECHECK_INTERVAL)


def plan_after_stop(snapshot: Snapshot, attempt_children: Children, end: Ended, why: Block) -> Plan:
    """The plan for an attempt that the operator has stopped. No counter changes."""
    queued = Transition.to(snapshot, Phase.QUEUED, why.reason, why.message)
    queued = queued.with_attempt(attempt_children).with_result(end)
    queued = queued.with_attempt_closed(why.reason, why.message)
    return Plan(status=queued.status, requeue_after=SHORTEST_BACKOFF)


def plan_node_lost_while_stopping(
    snapshot: Snapshot, attempt_children: Children, pod: Pod, why: Block
) -> Plan:
    """The plan if the node of a pod is lost while the operator stops its attempt.

    The attempt ends as NodeLost and changes no retry counter, and the conversion waits. No other
    attempt starts while the pod exists, because the pod may still convert. The pod takes no slot
    from now on: see :func:`conversion_operator.core.standing.without_lost_pod`.
    """
    message = lost_node_message(pod, snapshot.policy)
    queued = Transition.to(snapshot, Phase.QUEUED, why.reason, f"{why.message}. {message}")
    queued = queued.with_attempt(attempt_children)
    end = Ended(Outcome.DISRUPTION, Reason.NODE_LOST, message, pod)
    return Plan(status=queued.with_result(end).status, requeue_after=STOP_RECHECK_INTERVAL)
