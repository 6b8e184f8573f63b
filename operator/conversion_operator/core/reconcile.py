"""What to do about one conversion: ``decide(snapshot) -> Plan``.

Level-based: the same snapshot gives the same plan, whichever event led to it. The caller carries
out the actions, then makes at most one status write, then tells of it. Nothing here starts a
Job: that is decided over all conversions, in :mod:`conversion_operator.core.admission`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core import statuses
from conversion_operator.core.endings import (
    after_end,
    conclude,
    end_without_attempt,
    stored_retries,
    until_next_attempt,
)
from conversion_operator.core.model import Children, Conversion, Job
from conversion_operator.core.plan import (
    FORCE_AFTER,
    PROGRESS_INTERVAL,
    STARTING_INTERVAL,
    STARTING_SETTLE,
    Action,
    Context,
    DeleteJob,
    DeletePod,
    Plan,
)
from conversion_operator.core.retry import (
    count_end,
    count_not_started,
    last_attempt,
    may_retry,
    start_tries_exhausted,
)
from conversion_operator.core.verdict import (
    Active,
    Ended,
    Kind,
    Unreachable,
    Verdict,
    Waiting,
    judge,
)
from conversion_operator.core.waiting import wait


def decide(conversion: Conversion, children: Children, context: Context) -> Plan:
    """The plan for one conversion."""
    if conversion.finished:
        return after_end(conversion, children, context)
    if conversion.deleting:
        return Plan()
    plan = _decide_unfinished(conversion, children, context)
    if plan.status is not None:
        owing = statuses.owe(plan.status, callback_url(conversion, context.policy.callback_url))
        plan = replace(plan, status=statuses.fit(owing))
    return plan


def callback_url(conversion: Conversion, default: str) -> str:
    """The URL to call; "" if nobody is to be told."""
    given = conversion.spec.notify if conversion.spec else None
    return given.url if given else default


def decide_ownerless(children: Children) -> Plan:
    """The plan for what is left of a conversion that does not exist any more.

    Its Jobs are collected by the cluster, their owner being gone; a pod that somebody cut loose
    from its Job is not.
    """
    owned = {job.name for job in children.jobs if not job.deleted}
    loose = (pod for pod in children.pods if not pod.deleted and pod.job_name not in owned)
    return Plan(tuple(DeletePod(pod, force=False) for pod in loose if pod.deleted_at is None))


def current_attempt(conversion: Conversion, children: Children) -> int:
    """The number of the last attempt, from the status and from Jobs it does not know of yet."""
    last = last_attempt(conversion.status)
    return max([last.number if last else 0, *(job.attempt for job in children.jobs)])


def awaits_attempt(conversion: Conversion, children: Children) -> bool:
    """True if no attempt is under way: the last one is recorded as ended, or there was none."""
    number = current_attempt(conversion, children)
    if number == 0:
        return True
    last = last_attempt(conversion.status)
    return last is not None and last.number == number and last.completion_time is not None


def _decide_unfinished(conversion: Conversion, children: Children, context: Context) -> Plan:
    if conversion.spec is None:
        return end_without_attempt(
            conversion, children, context, Phase.FAILED, Reason.INVALID_SPEC, conversion.invalid
        )
    if awaits_attempt(conversion, children):
        return wait(conversion, children, context)
    number = current_attempt(conversion, children)
    attempt = children.of_attempt(number)
    verdict = judge(attempt, context.events, context.now, context.policy)
    # A stray is a Job of an attempt that is over, made late by a request that was thought lost.
    strays = tuple(
        DeleteJob(job, foreground=True)
        for job in children.jobs
        if job.attempt != number and job.live and not job.deleting
    )
    plan = _follow(conversion, attempt, verdict, context)
    return replace(plan, actions=strays + plan.actions)


def _follow(conversion: Conversion, attempt: Children, verdict: Verdict, context: Context) -> Plan:
    if isinstance(verdict, Ended):
        return _end_attempt(conversion, attempt, verdict, context)
    if conversion.cancelled:
        return _stop(conversion, attempt, context)
    if isinstance(verdict, Active):
        return _run(conversion, attempt, verdict, context)
    if isinstance(verdict, Unreachable):
        return _bear_unreachable(conversion, attempt, verdict, context)
    return _start(conversion, attempt, verdict, context)


def _start(conversion: Conversion, attempt: Children, verdict: Waiting, context: Context) -> Plan:
    job = next(iter(attempt.jobs), None)
    if job is None:  # judge() calls an attempt without a Job ended
        return Plan()
    if job.deleting:
        return Plan()
    age = context.now - job.created
    if job.image != context.policy.image:
        return _give_up_start(
            conversion,
            attempt,
            job,
            context,
            Waiting(
                Reason.IMAGE_CHANGED,
                f"not started when the image changed from {job.image}",
                verdict.pod,
            ),
        )
    left = timedelta(seconds=context.policy.start_timeout) - age
    if left <= timedelta(0):
        return _give_up_start(conversion, attempt, job, context, verdict)
    old = conversion.status
    again = min(left, STARTING_INTERVAL)
    if old and old.phase is Phase.STARTING and old.reason == verdict.reason:
        return Plan(requeue_after=again)
    if old and verdict.reason == Reason.STARTING and age < STARTING_SETTLE:
        # Most containers run within two seconds: the write that says so is the next one.
        return Plan(requeue_after=STARTING_SETTLE - age)
    status = statuses.next_status(
        conversion, Phase.STARTING, verdict.reason, verdict.message, context.now
    )
    status = statuses.open_attempt(status, attempt)
    return Plan(status=statuses.with_pod(status, verdict.pod), requeue_after=again)


def _give_up_start(
    conversion: Conversion, attempt: Children, job: Job, context: Context, why: Waiting
) -> Plan:
    """The slot goes to others; the attempt is repeated after a while."""
    delete = DeleteJob(job, foreground=True)
    before = stored_retries(conversion)
    image_changed = why.reason == Reason.IMAGE_CHANGED
    # A new image may cure what the old one suffered from: begin counting anew.
    retries = (
        before.model_copy(update={"not_started": 0}) if image_changed else count_not_started(before)
    )
    exhausted = start_tries_exhausted(retries, context.policy)
    phase, reason = (
        (Phase.FAILED, Reason.QUEUE_TIMEOUT) if exhausted else (Phase.QUEUED, why.reason)
    )
    status = statuses.next_status(conversion, phase, reason, why.message, context.now)
    status = statuses.open_attempt(status, attempt)
    status = statuses.close_attempt(status, why.reason, why.message, context.now, retries)
    if exhausted:
        status = status.model_copy(update={"completion_time": context.now})
    return Plan((delete,), status, until_next_attempt(status, context))


def _run(conversion: Conversion, attempt: Children, verdict: Active, context: Context) -> Plan:
    pod, old = verdict.pod, conversion.status
    again = PROGRESS_INTERVAL
    if old and old.phase is Phase.RUNNING and old.pod_name == pod.name:
        if context.progress is None:
            return Plan(requeue_after=again)
        if context.since_write is not None and context.since_write < PROGRESS_INTERVAL:
            return Plan(requeue_after=PROGRESS_INTERVAL - context.since_write)
        status = statuses.with_progress(old, context.progress, context.logs)
        # A converter that writes the same again, and one that says nothing, cost no write.
        return Plan(status=status if status != old else None, requeue_after=again)
    status = statuses.next_status(
        conversion, Phase.RUNNING, Reason.RUNNING, "the converter runs", context.now
    )
    status = statuses.open_attempt(status, attempt)
    status = status.model_copy(update={"start_time": pod.running_since, "logs": None})
    return Plan(status=statuses.with_pod(status, pod), requeue_after=again)


def _bear_unreachable(
    conversion: Conversion, attempt: Children, verdict: Unreachable, context: Context
) -> Plan:
    left = timedelta(seconds=context.policy.lost) - (context.now - verdict.since)
    if left <= timedelta(0):
        end = Ended(Kind.FINAL, Reason.NODE_LOST, "the node did not come back in time", verdict.pod)
        return conclude(conversion, attempt, end, context, Phase.FAILED)
    old = conversion.status
    if old and old.reason == Reason.NODE_UNREACHABLE:
        return Plan(requeue_after=left)
    message = f"node {verdict.pod.node or 'unknown'} does not answer"
    status = statuses.next_status(
        conversion,
        old.phase if old else Phase.STARTING,
        Reason.NODE_UNREACHABLE,
        message,
        context.now,
    )
    return Plan(status=statuses.with_pod(status, verdict.pod), requeue_after=left)


def _stop(conversion: Conversion, attempt: Children, context: Context) -> Plan:
    """A cancel: stop what runs, and call it cancelled only when it is gone."""
    actions: list[Action] = [
        DeleteJob(job, foreground=True) for job in attempt.jobs if job.live and not job.deleting
    ]
    actions += [
        DeletePod(pod, force=True)
        for pod in attempt.pods
        if pod.live and pod.deleted_at and context.now > pod.deleted_at + FORCE_AFTER
    ]
    jobless = not any(not job.deleted for job in attempt.jobs)
    actions += [
        DeletePod(pod, force=False)
        for pod in attempt.pods
        if jobless and pod.live and not pod.deleted_at
    ]
    old = conversion.status
    if old and old.reason == Reason.CANCELLING:
        return Plan(tuple(actions), requeue_after=FORCE_AFTER)
    status = statuses.next_status(
        conversion,
        old.phase if old else Phase.STARTING,
        Reason.CANCELLING,
        "the converter is being stopped",
        context.now,
    )
    return Plan(tuple(actions), status, FORCE_AFTER)


def _end_attempt(conversion: Conversion, attempt: Children, end: Ended, context: Context) -> Plan:
    if end.kind is Kind.SUCCESS:
        return conclude(conversion, attempt, end, context, Phase.SUCCEEDED)
    if conversion.cancelled:
        if attempt.live:
            # The container ended; the Job that owned it is still to be told not to go on.
            return _stop(conversion, attempt, context)
        cancelled = replace(
            end, reason=Reason.CANCELLED, message="cancelled before it was complete"
        )
        return conclude(conversion, attempt, cancelled, context, Phase.CANCELLED)
    retries = count_end(stored_retries(conversion), end.kind)
    if not may_retry(end.kind, retries, conversion, context.policy):
        return conclude(conversion, attempt, end, context, Phase.FAILED)
    message = f"attempt ended as {end.reason}: {end.message}"
    status = statuses.next_status(
        conversion, Phase.QUEUED, Reason.RETRY_BACKOFF, message, context.now
    )
    status = statuses.with_end(status, end, context.now)
    status = status.model_copy(update={"start_time": None, "duration_seconds": None})
    status = statuses.open_attempt(status, attempt)
    status = statuses.close_attempt(status, end.reason, end.message, context.now, retries)
    return Plan(status=status, requeue_after=until_next_attempt(status, context))
