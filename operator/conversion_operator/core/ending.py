"""The end of an attempt: a retry, the terminal status, or a cancel that stops it."""

from __future__ import annotations

from dataclasses import replace

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase, Retries
from conversion_operator.core.attempts import current_attempt
from conversion_operator.core.model import Children
from conversion_operator.core.plan import (
    FORCE_AFTER,
    TOMBSTONE,
    DeletePod,
    Plan,
    Snapshot,
    delete_pods,
    stop_jobs,
)
from conversion_operator.core.retry import backoff, count_end, may_retry
from conversion_operator.core.transitions import Transition
from conversion_operator.core.verdict import Ended, Outcome


def end_attempt(snapshot: Snapshot, attempt: Children, end: Ended) -> Plan:
    """The plan for an attempt that ended."""
    if end.outcome is Outcome.SUCCESS:
        return conclude(snapshot, attempt, end, Phase.SUCCEEDED)
    if snapshot.conversion.cancelled:
        if attempt.live:
            # The container ended, but its Job may still start another pod.
            return cancel(snapshot, attempt)
        cancelled = replace(end, reason=Reason.CANCELLED, message="cancelled before it finished")
        return conclude(snapshot, attempt, cancelled, Phase.CANCELLED)
    retries = count_end(snapshot.retries, end.outcome)
    if may_retry(end.outcome, retries, snapshot.conversion, snapshot.policy):
        return _retry(snapshot, attempt, end, retries)
    return conclude(snapshot, attempt, end, Phase.FAILED)


def conclude(snapshot: Snapshot, attempt: Children, end: Ended, phase: Phase) -> Plan:
    """The plan that stores the terminal status after the last attempt."""
    retries = snapshot.retries
    if phase is Phase.FAILED:
        retries = count_end(retries, end.outcome)
    status = (
        Transition.to(snapshot, phase, end.reason, end.message)
        .with_attempt(attempt)
        .with_end(end)
        .with_retries(retries if retries != Retries() else None)
        .status
    )
    return Plan(status=status, requeue_after=TOMBSTONE)


def cancel(snapshot: Snapshot, attempt: Children) -> Plan:
    """The plan that stops an attempt. The conversion is cancelled once its pod has terminated."""
    overdue = (
        DeletePod(pod, force=True)
        for pod in attempt.pods
        if pod.live and pod.deleted_at and snapshot.now > pod.deleted_at + FORCE_AFTER
    )
    orphans = (pod for pod in attempt.orphan_pods if pod.live)
    actions = (*stop_jobs(attempt.jobs), *overdue, *delete_pods(orphans))
    if snapshot.status and snapshot.status.reason == Reason.CANCELLING:
        return Plan(actions, requeue_after=FORCE_AFTER)
    stopping = Transition.within_phase(
        snapshot, Reason.CANCELLING, "the converter is being stopped"
    )
    return Plan(actions, stopping.status, FORCE_AFTER)


def _retry(snapshot: Snapshot, attempt: Children, end: Ended, retries: Retries) -> Plan:
    number = current_attempt(snapshot.conversion, snapshot.children)
    message = f"attempt {number} ended with {end.reason}"
    if end.message:
        message += f": {end.message}"
    status = (
        Transition.to(snapshot, Phase.QUEUED, Reason.RETRY_BACKOFF, message)
        .with_attempt(attempt)
        .with_end(end)
        .with_retries(retries)
        .status
    )
    return Plan(status=status, requeue_after=backoff(retries))
