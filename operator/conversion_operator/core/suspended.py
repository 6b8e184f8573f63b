"""Plans for Jobs that somebody has suspended, for example Kueue, and how many of them may wait.

Whoever suspends a Job decides when it runs. So the operator keeps the Job: another one would lose
its place. Each pod of such a Job is an attempt of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.children import Children, Job
from conversion_operator.core.model import Policy
from conversion_operator.core.plan import Block, Plan, Snapshot
from conversion_operator.core.transitions import Transition
from conversion_operator.core.verdict import SUSPENDED_MESSAGE, Ended, Outcome

MIN_SUSPENDED_JOBS: Final = 10
"""At least this many suspended Jobs may wait, even if CONVERTER_MAX_PARALLEL is lower."""


def ended_by_unobserved_suspension(snapshot: Snapshot, attempt_children: Children) -> Ended | None:
    """The end of the attempt, if its pod was deleted while the operator was not watching.

    If a pod does not exist and its Job is not finished, the Job controller deleted the pod because
    the Job was suspended. Otherwise the pod has a finalizer until the Job controller has counted
    it.
    """
    last, job = last_recorded_attempt(snapshot.status), next(iter(attempt_children.jobs), None)
    if last is None or last.pod_uid is None or job is None or job.attempt != last.number:
        return None
    suspension = job.suspension
    resumed = suspension.resumed_at is not None and suspension.resumed_at >= last.start_time
    known = any(pod.uid == last.pod_uid for pod in snapshot.children.pods)
    if known or not job.live or job.deleting or not (job.suspended or resumed):
        return None
    return Ended(Outcome.DISRUPTION, Reason.JOB_SUSPENDED, SUSPENDED_MESSAGE)


def plan_end_by_suspension(
    snapshot: Snapshot, attempt_children: Children, job: Job, end: Ended
) -> Plan:
    """The plan for an attempt that ended because its Job was suspended.

    No counter changes. The next attempt begins: it is the next pod of the same Job.
    """
    queued = Transition.to(snapshot, Phase.QUEUED, Reason.JOB_SUSPENDED, _message(job))
    queued = queued.with_attempt(attempt_children).with_result(end)
    return Plan(status=queued.with_next_attempt_of(job).status)


def plan_job_suspended(snapshot: Snapshot, attempt_children: Children, job: Job) -> Plan:
    """The plan while a Job is suspended and has no pod. It has no deadline."""
    message, status = _message(job), snapshot.status
    written = status and status.phase is Phase.QUEUED and status.reason == Reason.JOB_SUSPENDED
    if status and written and status.message == message:
        return Plan()
    queued = Transition.to(snapshot, Phase.QUEUED, Reason.JOB_SUSPENDED, message)
    return Plan(status=queued.with_attempt(attempt_children).status)


def hold_back(suspended: Mapping[str, int], policy: Policy) -> dict[str, Block]:
    """The block for these namespaces, if the limit of suspended Jobs is reached."""
    total, most = sum(suspended.values()), max_suspended(policy)
    if total < most:
        return {}
    message = (
        f"waiting: {total} Jobs are suspended, and at most {most} may wait suspended at a time. "
        "Resume them, or raise CONVERTER_MAX_PARALLEL"
    )
    return dict.fromkeys(suspended, Block(Reason.WAITING_FOR_SLOT, message))


def max_suspended(policy: Policy) -> int:
    """How many suspended Jobs may wait at a time."""
    return max(policy.max_parallel, MIN_SUSPENDED_JOBS)


def _message(job: Job) -> str:
    if not job.suspended:
        return f"Job {job.name} was resumed; waiting for its pod"
    by = f" by {job.suspension.manager}" if job.suspension.manager else ""
    if job.suspension.from_start:
        return (
            f"Job {job.name} was created suspended, by an admission webhook or policy. It starts "
            "when it is resumed"
        )
    return f"Job {job.name} is suspended{by}. It starts when it is resumed"
