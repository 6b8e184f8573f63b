"""Plans for the end of an attempt: a retry, the terminal status, or a cancel that stops it."""

from __future__ import annotations

from dataclasses import replace

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase, Retries
from conversion_operator.core.attempts import latest_attempt_number
from conversion_operator.core.children import Children
from conversion_operator.core.model import stop_verb
from conversion_operator.core.outputs import validate_report
from conversion_operator.core.plan import (
    FORCE_AFTER,
    TOMBSTONE_TTL,
    Plan,
    Snapshot,
    delete_live_jobs,
    delete_pods,
    force_delete_overdue_pods,
    input_awaited,
)
from conversion_operator.core.retry import backoff, count_ended_attempt, may_retry
from conversion_operator.core.stopping import plan_after_stop, stop_reason_at_end
from conversion_operator.core.suspended import plan_end_by_suspension
from conversion_operator.core.transitions import Transition
from conversion_operator.core.verdict import Ended, Outcome
from media_converter.contract import ExitReason


def plan_after_attempt(snapshot: Snapshot, attempt_children: Children, end: Ended) -> Plan:
    """The plan for an attempt that has ended."""
    end = validate_report(snapshot.conversion, end)
    if end.outcome is Outcome.SUCCESS:
        return end_conversion(snapshot, attempt_children, end, Phase.SUCCEEDED)
    if snapshot.conversion.cancel_requested:
        if snapshot.children.live:
            # The container has terminated, but its Job may still start another pod.
            return plan_cancel(snapshot, attempt_children)
        message = f"{stop_verb(snapshot.conversion)} before it finished"
        cancelled = replace(end, reason=Reason.CANCELLED, message=message)
        return end_conversion(snapshot, attempt_children, cancelled, Phase.CANCELLED)
    why = stop_reason_at_end(snapshot)
    if why is not None and end.outcome is Outcome.DISRUPTION:
        return plan_after_stop(snapshot, attempt_children, end, why)
    job = next(iter(attempt_children.jobs), None)
    if end.reason == Reason.JOB_SUSPENDED and job is not None:
        return plan_end_by_suspension(snapshot, attempt_children, job, end)
    if end.reason == ExitReason.INPUT_NOT_FOUND and snapshot.input_writer:
        return _plan_wait_for_input(snapshot, attempt_children, end)
    retries = count_ended_attempt(snapshot.retries, end.outcome)
    if may_retry(end.outcome, retries, snapshot.conversion, snapshot.policy):
        return _plan_retry(snapshot, attempt_children, end, retries)
    return end_conversion(snapshot, attempt_children, end, Phase.FAILED)


def end_conversion(
    snapshot: Snapshot, attempt_children: Children, end: Ended, phase: Phase
) -> Plan:
    """The plan that writes the terminal status after the last attempt."""
    retries = snapshot.retries
    if phase is Phase.FAILED:
        retries = count_ended_attempt(retries, end.outcome)
    transition = Transition.to(snapshot, phase, end.reason, end.message).with_attempt(
        attempt_children
    )
    transition = transition.with_result(end).with_retries(retries if retries != Retries() else None)
    return Plan(status=transition.status, requeue_after=TOMBSTONE_TTL)


def plan_cancel(snapshot: Snapshot, attempt_children: Children) -> Plan:
    """The plan that stops an attempt. The phase becomes Cancelled once its pod has terminated."""
    pods_without_job = (pod for pod in snapshot.children.pods_without_job if pod.live)
    overdue = force_delete_overdue_pods(snapshot.children.pods, snapshot.now)
    actions = (*delete_live_jobs(attempt_children.jobs), *overdue, *delete_pods(pods_without_job))
    if snapshot.status and snapshot.status.reason == Reason.CANCELLING:
        return Plan(actions, requeue_after=FORCE_AFTER)
    cancelling = Transition.within_phase(
        snapshot, Reason.CANCELLING, "the converter is being stopped"
    )
    return Plan(actions, cancelling.status, FORCE_AFTER)


def _plan_wait_for_input(snapshot: Snapshot, attempt_children: Children, end: Ended) -> Plan:
    """The plan if the input was missing, and another unfinished conversion will write it.

    The conversion waits for that one. The attempt changes no retry counter.
    """
    message = input_awaited(snapshot.input_writer, snapshot.conversion.input_path)
    queued = Transition.to(snapshot, Phase.QUEUED, Reason.WAITING_FOR_INPUT, message)
    queued = queued.with_attempt(attempt_children).with_result(end)
    return Plan(status=queued.status, requeue_after=backoff(snapshot.retries))


def _plan_retry(
    snapshot: Snapshot, attempt_children: Children, end: Ended, retries: Retries
) -> Plan:
    attempt = latest_attempt_number(snapshot.conversion, snapshot.children)
    message = f"attempt {attempt} ended with {end.reason}"
    if end.message:
        message += f": {end.message}"
    queued = Transition.to(snapshot, Phase.QUEUED, Reason.RETRY_BACKOFF, message)
    queued = queued.with_attempt(attempt_children).with_result(end).with_retries(retries)
    return Plan(status=queued.status, requeue_after=backoff(retries))
