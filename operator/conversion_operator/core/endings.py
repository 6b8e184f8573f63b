"""Ends: the terminal status, and what is cleared away after it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from conversion_operator.api.status import ConversionJobStatus, NotifyState, Phase, Retries
from conversion_operator.core import statuses
from conversion_operator.core.model import Children, Conversion, Job
from conversion_operator.core.plan import (
    FORCE_AFTER,
    TOMBSTONE,
    Action,
    Context,
    DeleteConversion,
    DeleteJob,
    DeletePod,
    Plan,
)
from conversion_operator.core.retry import count_end, last_attempt, next_attempt_at
from conversion_operator.core.sweep import clear_sweeps
from conversion_operator.core.verdict import Ended

HOLD: Final = timedelta(days=1)
"""How long after the end a pending callback keeps its conversion from being deleted. It is given
up after an hour, unless no operator runs: then it is still owed one attempt."""


def conclude(
    conversion: Conversion, attempt: Children, end: Ended, context: Context, phase: Phase
) -> Plan:
    """The terminal status after an attempt that ended as ``end``."""
    status = statuses.next_status(conversion, phase, end.reason, end.message, context.now)
    status = statuses.with_end(status, end, context.now)
    status = statuses.open_attempt(status, attempt)
    retries = stored_retries(conversion)
    if phase is Phase.FAILED:
        retries = count_end(retries, end.kind)
    counted = retries if retries != Retries() else None
    status = statuses.close_attempt(
        status, end.reason, end.message, end.finished_at or context.now, retries
    ).model_copy(update={"retries": counted})
    return Plan(status=status, requeue_after=TOMBSTONE)


def end_without_attempt(
    conversion: Conversion,
    children: Children,
    context: Context,
    phase: Phase,
    reason: str,
    message: str,
) -> Plan:
    """An end while no attempt is under way; what a late create may have started goes first."""
    live = tuple(
        DeleteJob(job, foreground=True) for job in children.jobs if job.live and not job.deleting
    )
    if children.live:
        return Plan(live, requeue_after=FORCE_AFTER)
    status = statuses.next_status(conversion, phase, reason, message, context.now)
    return Plan(status=status.model_copy(update={"completion_time": context.now}))


def after_end(conversion: Conversion, children: Children, context: Context) -> Plan:
    """Nothing of an ended conversion is written again; what is left of it is cleared away."""
    status = conversion.status
    if status is None or conversion.deleting:
        return Plan()
    ended = status.completion_time or context.now
    since = context.now - ended
    children, swept, waits_for_sweep = clear_sweeps(children, since, context)
    actions: list[Action] = [*swept]
    for job in children.jobs:
        if job.deleted or job.deleting:
            continue
        if job.live and not (since < TOMBSTONE and _has_ended(job, conversion, children)):
            actions.append(DeleteJob(job, foreground=True))
        elif since >= TOMBSTONE:
            actions.append(DeleteJob(job, foreground=False))
    named = {job.name for job in children.jobs if not job.deleted}
    actions += [
        DeletePod(pod, force=False)
        for pod in children.pods
        if not pod.deleted and pod.job_name not in named and pod.deleted_at is None
    ]
    given = conversion.spec.ttl_seconds_after_finished if conversion.spec else None
    ttl = timedelta(seconds=context.policy.ttl if given is None else given)
    # What is deleted can tell nobody any more how it ended.
    ttl = max(ttl, hold(status))
    if since >= ttl and since >= timedelta(0):
        return Plan((*actions, DeleteConversion()))
    waits = [ttl - since, *waits_for_sweep]
    waits += [TOMBSTONE - since] if since < TOMBSTONE else []
    return Plan(tuple(actions), requeue_after=min(waits))


def hold(status: ConversionJobStatus) -> timedelta:
    """How long after its end a conversion stays at least."""
    pending = status.notify is not None and status.notify.state is NotifyState.PENDING
    return HOLD if pending else timedelta(0)


def _has_ended(job: Job, conversion: Conversion, children: Children) -> bool:
    """True for the Job of the attempt the conversion ended with, once its pod is over.

    The container's end is read a second or two before the pod's phase and the Job's condition
    tell of it; until then the Job looks as if it might still start something.
    """
    last = last_attempt(conversion.status)
    pods = (pod for pod in children.pods if pod.job_name == job.name)
    alive = any(pod.live and pod.terminated is None for pod in pods)
    return last is not None and job.attempt == last.number and not alive


def stored_retries(conversion: Conversion) -> Retries:
    """The counters in the stored status."""
    stored = conversion.status.retries if conversion.status else None
    return stored or Retries()


def until_next_attempt(status: ConversionJobStatus, context: Context) -> timedelta | None:
    """How long from now until the next attempt may start; None if it may at once."""
    at = next_attempt_at(status)
    return max(timedelta(0), at - context.now) if at else None
