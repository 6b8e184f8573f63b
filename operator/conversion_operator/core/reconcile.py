"""Decides what to do about one conversion: ``decide(snapshot) -> Plan``.

Decisions are level-based: the same snapshot gives the same plan, whichever event led to it. The
caller carries out the actions, then makes at most one status write, then records Events. No plan
creates a Job: :mod:`conversion_operator.core.admission` decides which conversions get one, because
that depends on all of them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.spec import NO_OUTPUTS
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import awaits_attempt, latest_attempt_number
from conversion_operator.core.bounds import violation
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.cleanup import plan_cleanup
from conversion_operator.core.display import with_display
from conversion_operator.core.ending import plan_after_attempt, plan_cancel
from conversion_operator.core.holds import (
    PROFILE_UNRESOLVED,
    hold,
    plan_restored,
    plan_unreadable_status,
)
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.paths import FAILING_REASONS
from conversion_operator.core.plan import (
    SIDECAR_GRACE,
    Action,
    DeleteConversion,
    DeleteJob,
    Plan,
    Snapshot,
    delete_live_jobs,
    delete_pods,
    force_delete_overdue_pods,
)
from conversion_operator.core.queued import end_conversion_without_result, plan_queued
from conversion_operator.core.running import plan_running, plan_starting, plan_unreachable
from conversion_operator.core.status_size import limit_status_size
from conversion_operator.core.stopping import plan_stop, stop_reason
from conversion_operator.core.suspended import ended_by_unobserved_suspension, plan_job_suspended
from conversion_operator.core.transitions import with_pending_callback_if_ended
from conversion_operator.core.unresolved import plan_unresolved
from conversion_operator.core.verdict import (
    Active,
    Ended,
    JobSuspended,
    NotStarted,
    Unreachable,
    judge,
)


def decide(snapshot: Snapshot) -> Plan:
    """The plan for one conversion. It also keeps status.observedGeneration up to date."""
    plan, conversion = _decide(snapshot), snapshot.conversion
    if plan.status is not None:
        observed = {"observed_generation": conversion.generation}
        return replace(plan, status=plan.status.model_copy(update=observed))
    outdated = (
        conversion.status is not None
        and conversion.status.observed_generation != conversion.generation
        and not conversion.deleting
        and not _outputs_are_pruned(conversion)
    )
    return replace(plan, write_generation=outdated and DeleteConversion() not in plan.actions)


def _decide(snapshot: Snapshot) -> Plan:
    conversion = snapshot.conversion
    if conversion.finished:
        return plan_cleanup(snapshot)
    if conversion.orphans_dependents:  # deleted with --cascade=orphan: its Jobs go on
        return Plan()
    if conversion.status_error:
        return plan_unreadable_status(conversion, snapshot.children)
    plan = _decide_unfinished(snapshot)
    if plan.status is None:
        return plan
    url = callback_url(conversion, snapshot.policy.callback_url)
    status = with_pending_callback_if_ended(with_display(plan.status), url)
    return replace(plan, status=limit_status_size(status))


def decide_without_conversion(children: Children, now: datetime, policy: Policy) -> Plan:
    """The plan for the children of a conversion that no longer exists.

    Kubernetes garbage-collects its Jobs and their pods. After ``kubectl delete --cascade=orphan``
    it does not: they may finish, and the operator deletes them afterwards. It deletes them earlier
    in two cases: the container does not start within the start timeout (otherwise its Job would
    hold its slot forever), or a sidecar does not exit after the converter (otherwise its pod would
    never terminate). If a pod still exists CONVERTER_LOST_SECONDS after the end of its grace
    period, its node is lost, and the operator deletes the pod by force.
    """
    deadlines = _deletion_deadlines(children, timedelta(seconds=policy.start_timeout))
    past_deadline = {uid for uid, deadline in deadlines.items() if deadline <= now}
    job_deletions: tuple[Action, ...] = tuple(
        DeleteJob(job, foreground=job.live)
        for job in children.jobs
        if (not job.live or job.uid in past_deadline) and not job.deleted and not job.deleting
    )
    remaining = (pod for pod in children.pods_without_job if not pod.gc_will_delete)
    pod_deletions = delete_pods(
        pod for pod in remaining if not pod.live or pod.uid in past_deadline
    )
    delays = [deadline - now for uid, deadline in deadlines.items() if uid not in past_deadline]
    lost_timeout = timedelta(seconds=policy.lost_timeout)
    forced_deletions = force_delete_overdue_pods(children.pods, now, lost_timeout)
    grace_period_ends = (pod.deletion_timestamp for pod in children.pods if pod.live)
    until_lost = [end + lost_timeout - now for end in grace_period_ends if end]
    delays += (left for left in until_lost if left > timedelta(0))
    return Plan(
        (*job_deletions, *pod_deletions, *forced_deletions),
        requeue_after=min(delays, default=None),
    )


def _deletion_deadlines(children: Children, start_timeout: timedelta) -> dict[str, datetime]:
    """When to delete each live Job, and each live pod without a Job, by uid.

    While the converter runs, there is no deadline. What is being deleted already is left out.
    """
    started_pod_by_job = {
        pod.job_name: pod
        for pod in children.pods
        if pod.live and (pod.running_since or pod.terminated)
    }
    live: list[Job | Pod] = [job for job in children.jobs if job.live and not job.deleting]
    live += [pod for pod in children.pods_without_job if pod.live and not pod.deleting]
    deadlines: dict[str, datetime] = {}
    for child in live:
        job_name = child.name if isinstance(child, Job) else child.job_name
        started = started_pod_by_job.get(job_name)
        if started is None:
            deadlines[child.uid] = child.created + start_timeout
        elif end := started.converter_end:
            deadlines[child.uid] = end + SIDECAR_GRACE
    return deadlines


def callback_url(conversion: Conversion, default: str) -> str:
    """The URL to call when the conversion ends. An empty string if there is no callback.

    If the spec has a ``notify`` that this release cannot read, no callback is sent: the default URL
    may be the wrong receiver. A dry run never uses the default URL.
    """
    given = conversion.spec.notify if conversion.spec else None
    if given:
        return given.url
    return "" if conversion.has_notify or conversion.dry_run else default


def _outputs_are_pruned(conversion: Conversion) -> bool:
    """Whether the API server prunes the outputs: the object was stored under a later CRD.

    Every release of the CRD requires one of these: conversionType together with outputFile;
    outputs; or profile. If the object has none of them, the CRD now in the cluster hides the fields
    that define its outputs. A write of the status would remove these fields from storage.
    """
    return NO_OUTPUTS in conversion.spec_error


def _decide_unfinished(snapshot: Snapshot) -> Plan:
    conversion, children = snapshot.conversion, snapshot.children
    if awaits_attempt(conversion, children):
        return _plan_without_attempt(snapshot)
    attempt = latest_attempt_number(conversion, children)
    plan = _plan_attempt(snapshot, children.of_attempt(attempt))
    return replace(plan, actions=delete_live_jobs(children.stale_jobs(attempt)) + plan.actions)


def _plan_without_attempt(snapshot: Snapshot) -> Plan:
    """The plan while no attempt is in progress.

    While the API server prunes the outputs, nothing is done. While a hold lasts, no attempt starts;
    core.holds says what still ends the conversion. Without a hold, the conversion fails if its spec
    is not valid, if the settings do not allow it, or if ``snapshot.block``, which comes from the
    admission pass, says that it can never start. A cancelled conversion always ends. Of all these,
    only a cancellation, ``spec.suspend`` and a ConversionQueue with HoldAndDrain also stop an
    attempt in progress: see ``_plan_attempt``.
    """
    conversion = snapshot.conversion
    if _outputs_are_pruned(conversion) and not conversion.cancel_requested:
        return Plan()
    held = hold(conversion, snapshot.policy)
    if held and held.reason == Reason.RESTORED and not conversion.cancel_requested:
        return plan_restored(snapshot, held)
    if held == PROFILE_UNRESOLVED and not conversion.cancel_requested:
        return plan_unresolved(snapshot)
    if conversion.cancel_requested or held:  # plan_queued also ends a cancelled conversion
        return plan_queued(replace(snapshot, block=held))
    problem = conversion.spec_error
    if not problem and conversion.spec:
        problem = violation(conversion.spec, snapshot.policy)
    if problem:
        return end_conversion_without_result(snapshot, Phase.FAILED, Reason.INVALID_SPEC, problem)
    block = snapshot.block
    if block and block.reason in FAILING_REASONS:
        return end_conversion_without_result(snapshot, Phase.FAILED, block.reason, block.message)
    return plan_queued(snapshot)


def _plan_attempt(snapshot: Snapshot, attempt_children: Children) -> Plan:
    """The plan for the latest attempt while the status does not record its end.

    ``attempt_children`` are only the Job and pods of the attempt in progress.
    """
    verdict = judge(attempt_children, snapshot.warning, snapshot.now)
    if isinstance(verdict, JobSuspended | NotStarted):
        # The Job may have been suspended, and its pod deleted, while the operator was not watching.
        verdict = ended_by_unobserved_suspension(snapshot, attempt_children) or verdict
    match verdict:
        case Ended():
            return plan_after_attempt(snapshot, attempt_children, verdict)
        case _ if snapshot.conversion.cancel_requested:
            return plan_cancel(snapshot, attempt_children)
        case Unreachable():
            return plan_unreachable(snapshot, attempt_children, verdict)
        case _ if why := stop_reason(snapshot):
            return plan_stop(snapshot, attempt_children, why)
        case Active():
            return plan_running(snapshot, attempt_children, verdict)
        case JobSuspended():
            return plan_job_suspended(snapshot, attempt_children, verdict.job)
        case NotStarted():
            return plan_starting(snapshot, attempt_children, verdict)
