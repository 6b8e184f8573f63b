"""Judges one attempt from its Job and its pods.

The most reliable sign is checked first: the terminated state of the container, then the status
of the pod, then whether the Job exists, then the conditions of the Job.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.children import Children, Job, Pod, Terminated
from media_converter.contract import NOT_RETRIED, REASON_BY_EXIT_CODE, ExitReason, Report
from media_converter.report_json import parse_report

_SIGKILL: Final = 137
_SIGTERM: Final = 143
_START_ERROR: Final = 128
# A pod that still exists this long after its deletionTimestamp counts as unreachable. The
# deletionTimestamp is the end of the grace period. A kubelet that responds removes the pod soon
# after it.
_KUBELET_SLACK: Final = timedelta(seconds=60)

_REASON_BY_WAITING: Final = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ImageInspectError": Reason.IMAGE_PULL_FAILED,
    "RegistryUnavailable": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG_ERROR,
    "CreateContainerError": Reason.CONTAINER_CONFIG_ERROR,
    "RunContainerError": Reason.CONTAINER_CONFIG_ERROR,
}
_REASON_BY_DISRUPTION: Final = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}
SUSPENDED_MESSAGE: Final = "the Job was suspended while its pod existed"
# The keys are reasons of Events. The message of an Event is shown to the user. It is searched only
# for "exceeded quota", because other words do not tell causes apart.
_REASON_BY_WARNING: Final = {
    "FailedCreate": Reason.POD_REJECTED,
    "FailedMount": Reason.VOLUME_NOT_READY,
    "FailedAttachVolume": Reason.VOLUME_NOT_READY,
}


class Outcome(Enum):
    """How the end of an attempt counts for retries."""

    SUCCESS = auto()
    NOT_RETRYABLE = auto()
    """Never retried: a retry cannot help (see NOT_RETRIED), a time limit was exceeded, or the node
    did not come back within CONVERTER_LOST_SECONDS."""
    FAILURE = auto()
    """Retried within spec.maxRetries."""
    OUT_OF_MEMORY = auto()
    """Retried once with twice the memory, unless spec.maxRetries is 0."""
    DISRUPTION = auto()
    """Caused by the cluster. Retried at most MAX_DISRUPTIONS times. Does not count against
    spec.maxRetries."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The container does not run yet. ``message`` quotes Kubernetes if it gives a cause."""

    reason: str
    message: str
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Active:
    """The container is running."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The pod is still terminating after its grace period: its node does not respond.

    ``since`` is the deletionTimestamp of the pod.
    """

    pod: Pod
    since: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt has ended.

    ``pod``, ``report`` and the two times are None if they are not known.
    """

    outcome: Outcome
    reason: str
    message: str
    pod: Pod | None = None
    report: Report | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobSuspended:
    """Somebody has suspended the Job, and the attempt has no pod that is live."""

    job: Job


Verdict = NotStarted | JobSuspended | Active | Unreachable | Ended


def judge(attempt_children: Children, warning: str, now: datetime) -> Verdict:
    """The verdict on one attempt.

    ``attempt_children`` are only the Job and pods of the attempt in progress. ``warning`` is the
    latest Warning Event about the Job or its pod. It is an empty string if there is none. If the
    API server refuses the pod of a Job, only this Event says why.
    """
    job = next(iter(attempt_children.jobs), None)
    pod = _decisive_pod(attempt_children.pods)
    if pod and pod.terminated:
        return _judge_container_end(pod, pod.terminated, job)
    if pod and not pod.live:
        return _judge_pod_end(pod, job)
    if pod and pod.deletion_timestamp and now > pod.deletion_timestamp + _KUBELET_SLACK:
        return Unreachable(pod, pod.deletion_timestamp)
    if pod and pod.running_since:
        return Active(pod)
    if job is None or job.deleted:
        return Ended(Outcome.DISRUPTION, Reason.JOB_DELETED, "the Job of the attempt was deleted")
    if job.finished:
        return _judge_job_end(job)
    if job.suspended and pod is None:
        return JobSuspended(job)
    return _judge_not_started(pod, warning)


def _decisive_pod(pods: tuple[Pod, ...]) -> Pod | None:
    """The pod that decides the verdict. In rare cases the Job controller starts two pods.

    A running pod comes first, then one that succeeded, one that terminated, and a live one.
    Among equal pods, the one with the highest resourceVersion is chosen.
    """
    return max(
        pods,
        key=lambda pod: (
            pod.live and pod.running_since is not None,
            pod.terminated is not None and pod.terminated.exit_code == 0,
            pod.terminated is not None,
            pod.live,
            pod.version,
        ),
        default=None,
    )


def _judge_container_end(pod: Pod, end: Terminated, job: Job | None) -> Ended:
    report = parse_report(end.message)
    outcome, reason, message = _explain_end(pod, end, report, job)
    if report is None and end.message:
        # The message is the end of the log (FallbackToLogsOnError). Users want to see it.
        report = Report(final=False, logs=end.message)
    return Ended(outcome, reason, message, pod, report, end.started_at, end.finished_at)


def _explain_end(
    pod: Pod, end: Terminated, report: Report | None, job: Job | None
) -> tuple[Outcome, str, str]:
    # Check this before the exit code. If a child process was killed, the container can be
    # OOMKilled and still exit with code 0.
    if end.reason == "OOMKilled":
        return (
            Outcome.OUT_OF_MEMORY,
            ExitReason.OUT_OF_MEMORY,
            "the converter ran out of memory and was killed (OOMKilled): raise "
            "spec.resources.limits.memory in a new ConversionJob",
        )
    if end.exit_code == 0:
        if report and report.final and report.reason is ExitReason.COMPLETED:
            return Outcome.SUCCESS, ExitReason.COMPLETED, report.message or "converted"
        return (
            Outcome.FAILURE,
            Reason.REPORT_MISSING,
            "the container exited with code 0 but wrote no final report: check that "
            "CONVERTER_IMAGE is the converter of this release",
        )
    if pod.disruption in _REASON_BY_DISRUPTION:
        return Outcome.DISRUPTION, _REASON_BY_DISRUPTION[pod.disruption], pod.disruption_message
    if pod.reason == "DeadlineExceeded":
        return (
            Outcome.NOT_RETRYABLE,
            ExitReason.DEADLINE_EXCEEDED,
            "the pod ran longer than its activeDeadlineSeconds: raise spec.timeoutSeconds in a new "
            "ConversionJob",
        )
    known = REASON_BY_EXIT_CODE.get(end.exit_code)
    did_not_start = end.started_at is None or end.reason == "StartError"
    if known is None or known is ExitReason.TERMINATED or did_not_start:
        return _explain_stop(pod, end, job)
    message = report.message if report and report.message else known
    return _outcome_of(known), known, message


def _explain_stop(pod: Pod, end: Terminated, job: Job | None) -> tuple[Outcome, str, str]:
    """The end of a container that was stopped, did not start, or exited with a foreign code."""
    if _is_stopped_by_suspension(pod, job):
        return Outcome.DISRUPTION, Reason.JOB_SUSPENDED, SUSPENDED_MESSAGE
    if end.started_at is None or end.exit_code == _START_ERROR or end.reason == "StartError":
        return Outcome.DISRUPTION, Reason.START_ERROR, _brief(end.message) or end.reason
    # Of the known codes, only that of TERMINATED gets here.
    if end.exit_code in REASON_BY_EXIT_CODE or end.exit_code == _SIGTERM:
        return _explain_sigterm(pod, job)
    if pod.deletion_timestamp:
        return _explain_sigterm(pod, job)
    signal = " (SIGKILL)" if end.exit_code == _SIGKILL else ""
    return (
        Outcome.FAILURE,
        Reason.CONTAINER_KILLED,
        f"the container exited with code {end.exit_code}{signal}: read the end of its log in "
        "status.logs",
    )


def _outcome_of(reason: ExitReason) -> Outcome:
    if reason is ExitReason.OUT_OF_MEMORY:
        return Outcome.OUT_OF_MEMORY
    if reason in NOT_RETRIED or reason is ExitReason.DEADLINE_EXCEEDED:
        return Outcome.NOT_RETRYABLE
    return Outcome.FAILURE


def _explain_sigterm(pod: Pod, job: Job | None) -> tuple[Outcome, str, str]:
    """The end of a container that received SIGTERM without a known disruption.

    Usually somebody deleted the Job or the pod.
    """
    if job is None or job.deleted or job.deleting:
        return Outcome.DISRUPTION, Reason.JOB_DELETED, "the Job was deleted while it was running"
    if pod.deleting or pod.deleted:
        return Outcome.DISRUPTION, Reason.POD_DELETED, "the pod was deleted while it was running"
    return Outcome.DISRUPTION, ExitReason.TERMINATED, "the container was stopped with SIGTERM"


def _is_stopped_by_suspension(pod: Pod, job: Job | None) -> bool:
    """True if the Job controller deleted the pod, because somebody suspended the Job.

    The Job does not count such a pod as failed, and creates another pod when it is resumed.
    """
    if job is None or not job.live or job.deleting:
        return False
    return (pod.deleted or pod.deletion_timestamp is not None) and job.suspended_since(pod)


def _judge_pod_end(pod: Pod, job: Job | None) -> Ended:
    """The verdict on a pod that ended or was deleted, and whose container state is not known."""
    message = _brief(pod.message) or pod.disruption_message
    if pod.disruption in _REASON_BY_DISRUPTION:
        return Ended(Outcome.DISRUPTION, _REASON_BY_DISRUPTION[pod.disruption], message, pod)
    if pod.reason == "DeadlineExceeded":
        return Ended(Outcome.NOT_RETRYABLE, ExitReason.DEADLINE_EXCEEDED, message, pod)
    if pod.reason == "Evicted":
        return Ended(Outcome.DISRUPTION, Reason.EVICTED, message, pod)
    if _is_stopped_by_suspension(pod, job):
        return Ended(Outcome.DISRUPTION, Reason.JOB_SUSPENDED, SUSPENDED_MESSAGE, pod)
    if pod.deleted:
        if job is None or job.deleted or job.deleting:
            return Ended(Outcome.DISRUPTION, Reason.JOB_DELETED, "the Job was deleted", pod)
        return Ended(Outcome.DISRUPTION, Reason.POD_DELETED, "the pod was deleted", pod)
    # The kubelet rejected the pod (UnexpectedAdmissionError, OutOfcpu, NodeAffinity, …).
    return Ended(Outcome.DISRUPTION, Reason.START_ERROR, message or pod.reason or pod.phase, pod)


def _judge_job_end(job: Job) -> Ended:
    """The verdict on a finished Job without a pod: the pod and its result were deleted."""
    if job.failure == "DeadlineExceeded":
        return Ended(Outcome.NOT_RETRYABLE, ExitReason.DEADLINE_EXCEEDED, job.failure)
    return Ended(
        Outcome.DISRUPTION,
        Reason.POD_DELETED,
        "the pod was deleted before its result was read",
        finished_at=job.finished_at,
    )


def _judge_not_started(pod: Pod | None, warning: str) -> NotStarted:
    if pod is None:
        return NotStarted(
            _classify_warning(warning) or Reason.STARTING, warning or "the Job has no pod yet", None
        )
    if pod.unschedulable:
        return NotStarted(Reason.UNSCHEDULABLE, _brief(pod.unschedulable), pod)
    known = _REASON_BY_WAITING.get(pod.waiting_reason)
    if known:
        return NotStarted(known, _brief(pod.waiting_message) or pod.waiting_reason, pod)
    warned = _classify_warning(warning)
    if warned:
        return NotStarted(warned, _brief(warning), pod)
    return NotStarted(Reason.STARTING, "the container is starting", pod)


def _classify_warning(text: str) -> Reason | None:
    event, _, message = text.partition(": ")
    reason = _REASON_BY_WARNING.get(event)
    if reason is Reason.POD_REJECTED and "exceeded quota" in message:
        return Reason.QUOTA_EXCEEDED
    return reason


def _brief(text: str) -> str:
    return " ".join(text.split())[:512]
