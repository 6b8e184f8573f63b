"""Judges one attempt from its Job and its pods.

The checks come in the order of trust: first how the container itself terminated, then what the
kubelet reports about the pod, then the Job's conditions, and last that an object is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.model import Children, Job, Pod, Terminated
from media_converter.contract import (
    FILE_FAULTS,
    REASON_BY_EXIT_CODE,
    ExitReason,
    Report,
    parse_report,
)

_SIGKILL: Final = 137
_SIGTERM: Final = 143
_START_ERROR: Final = 128
# A kubelet that responds removes a deleted pod soon after its grace period of 10 s.
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
_REASON_BY_WARNING: Final = (
    ("exceeded quota", Reason.QUOTA_EXCEEDED),
    ("forbidden", Reason.POD_REJECTED),
    ("denied the request", Reason.POD_REJECTED),
    ("FailedMount", Reason.VOLUME_NOT_READY),
    ("FailedAttachVolume", Reason.VOLUME_NOT_READY),
    ("Multi-Attach", Reason.VOLUME_NOT_READY),
)


class Outcome(Enum):
    """What the end of an attempt counts as for retries."""

    SUCCESS = auto()
    FINAL = auto()  # the input or the request is at fault: never retried
    FAILURE = auto()  # retried within spec.maxRetries
    OUT_OF_MEMORY = auto()  # retried once with twice the memory
    DISRUPTION = auto()  # caused by the cluster: does not count against spec.maxRetries


@dataclass(frozen=True, slots=True)
class Waiting:
    """The container does not run yet. ``message`` quotes Kubernetes where it says why."""

    reason: str
    message: str
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Active:
    """The container is running."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The pod was deleted and still exists: its node does not respond."""

    pod: Pod
    since: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt is over. ``finished_at`` is None if its end was not observed."""

    outcome: Outcome
    reason: str
    message: str
    pod: Pod | None = None
    report: Report | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


Verdict = Waiting | Active | Unreachable | Ended


def judge(attempt: Children, warning: str, now: datetime) -> Verdict:
    """The verdict on one attempt. ``attempt`` holds the Job and the pods of that attempt only.

    ``warning`` is the latest Warning Event about the Job or its pod, "" if there is none. If the
    pod of a Job is rejected, only this Event says why.
    """
    job = next(iter(attempt.jobs), None)
    pod = _decisive_pod(attempt.pods)
    if pod and pod.terminated:
        return _judge_container_end(pod, pod.terminated, job)
    if pod and not pod.live:
        return _judge_pod_end(pod, job)
    if pod and pod.deleted_at and now > pod.deleted_at + _KUBELET_SLACK:
        return Unreachable(pod, pod.deleted_at)
    if pod and pod.running_since:
        return Active(pod)
    if job is None or job.deleted:
        return Ended(Outcome.DISRUPTION, Reason.JOB_DELETED, "the Job of the attempt was deleted")
    if job.finished:
        return _judge_job_end(job)
    return _judge_waiting(pod, warning)


def _decisive_pod(pods: tuple[Pod, ...]) -> Pod | None:
    """The pod that decides the verdict. The Job controller may start two pods, though rarely.

    A running pod decides first, then one that succeeded, one that terminated, a live one, and
    last the one with the latest version.
    """
    ranked = sorted(
        pods,
        key=lambda pod: (
            pod.live and pod.running_since is not None,
            pod.terminated is not None and pod.terminated.exit_code == 0,
            pod.terminated is not None,
            pod.live,
            pod.version,
        ),
    )
    return ranked[-1] if ranked else None


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
            "the converter ran out of memory and was killed (OOMKilled)",
        )
    if end.exit_code == 0:
        if report and report.final and report.reason is ExitReason.COMPLETED:
            return Outcome.SUCCESS, ExitReason.COMPLETED, report.message or "converted"
        return (
            Outcome.FAILURE,
            Reason.REPORT_MISSING,
            "the container exited with code 0 but wrote no final report",
        )
    if pod.disruption in _REASON_BY_DISRUPTION:
        return Outcome.DISRUPTION, _REASON_BY_DISRUPTION[pod.disruption], pod.disruption_message
    if pod.reason == "DeadlineExceeded":
        return (
            Outcome.FINAL,
            ExitReason.DEADLINE_EXCEEDED,
            "the pod ran longer than its activeDeadlineSeconds",
        )
    if end.started_at is None or end.exit_code == _START_ERROR or end.reason == "StartError":
        return Outcome.DISRUPTION, Reason.START_ERROR, _brief(end.message) or end.reason
    known = REASON_BY_EXIT_CODE.get(end.exit_code)
    if known is ExitReason.TERMINATED or end.exit_code == _SIGTERM:
        return _explain_sigterm(pod, job)
    if known:
        message = report.message if report and report.message else known
        return _outcome_of(known), known, message
    if pod.deleted_at:
        return _explain_sigterm(pod, job)
    signal = " (SIGKILL)" if end.exit_code == _SIGKILL else ""
    return (
        Outcome.FAILURE,
        Reason.CONTAINER_KILLED,
        f"the container exited with code {end.exit_code}{signal}",
    )


def _outcome_of(reason: ExitReason) -> Outcome:
    if reason is ExitReason.OUT_OF_MEMORY:
        return Outcome.OUT_OF_MEMORY
    if reason in FILE_FAULTS or reason is ExitReason.DEADLINE_EXCEEDED:
        return Outcome.FINAL
    return Outcome.FAILURE


def _explain_sigterm(pod: Pod, job: Job | None) -> tuple[Outcome, str, str]:
    """The container received SIGTERM without a known disruption.

    Usually somebody deleted the Job or the pod.
    """
    if job is None or job.deleted or job.deleting:
        return Outcome.DISRUPTION, Reason.JOB_DELETED, "the Job was deleted while it was running"
    if pod.deleted_at or pod.deleted:
        return Outcome.DISRUPTION, Reason.POD_DELETED, "the pod was deleted while it was running"
    return Outcome.DISRUPTION, ExitReason.TERMINATED, "the container was stopped with SIGTERM"


def _judge_pod_end(pod: Pod, job: Job | None) -> Ended:
    """A pod that ended or was deleted, and whose container state is not known."""
    message = _brief(pod.message) or pod.disruption_message
    if pod.disruption in _REASON_BY_DISRUPTION:
        return Ended(Outcome.DISRUPTION, _REASON_BY_DISRUPTION[pod.disruption], message, pod)
    if pod.reason == "DeadlineExceeded":
        return Ended(Outcome.FINAL, ExitReason.DEADLINE_EXCEEDED, message, pod)
    if pod.reason == "Evicted":
        return Ended(Outcome.DISRUPTION, Reason.EVICTED, message, pod)
    if pod.deleted:
        if job is None or job.deleted or job.deleting:
            return Ended(Outcome.DISRUPTION, Reason.JOB_DELETED, "the Job was deleted", pod)
        return Ended(Outcome.DISRUPTION, Reason.POD_DELETED, "the pod was deleted", pod)
    # The kubelet rejected the pod (UnexpectedAdmissionError, OutOfcpu, NodeAffinity, …).
    return Ended(Outcome.DISRUPTION, Reason.START_ERROR, message or pod.reason or pod.phase, pod)


def _judge_job_end(job: Job) -> Ended:
    """The Job ended and no pod of it is known: the pod and its result were deleted."""
    if job.failure == "DeadlineExceeded":
        return Ended(Outcome.FINAL, ExitReason.DEADLINE_EXCEEDED, job.failure)
    return Ended(
        Outcome.DISRUPTION,
        Reason.POD_DELETED,
        "the pod was deleted before its result was read",
        finished_at=job.finished_at,
    )


def _judge_waiting(pod: Pod | None, warning: str) -> Waiting:
    if pod is None:
        return Waiting(
            _classify_warning(warning) or Reason.STARTING, warning or "the Job has no pod yet", None
        )
    if pod.unschedulable:
        return Waiting(Reason.UNSCHEDULABLE, _brief(pod.unschedulable), pod)
    known = _REASON_BY_WAITING.get(pod.waiting_reason)
    if known:
        return Waiting(known, _brief(pod.waiting_message) or pod.waiting_reason, pod)
    warned = _classify_warning(warning)
    if warned:
        return Waiting(warned, _brief(warning), pod)
    return Waiting(Reason.STARTING, "the container is starting", pod)


def _classify_warning(text: str) -> Reason | None:
    return next((reason for words, reason in _REASON_BY_WARNING if words in text), None)


def _brief(text: str) -> str:
    return " ".join(text.split())[:512]
