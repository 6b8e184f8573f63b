"""What the evidence says about one attempt: from its Job and its pods to one verdict.

The order of the checks is the order of trust: what the container itself ended with, then what the
kubelet says of the pod, then the Job's conditions, then absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.model import Children, Job, Pod, Policy, Terminated
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
# A kubelet that is there removes a deleted pod soon after its grace period of 10 s.
_KUBELET_SLACK: Final = timedelta(seconds=60)

_WAITING_REASONS: Final = {
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
_DISRUPTIONS: Final = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}
_EVENT_REASONS: Final = (
    ("exceeded quota", Reason.QUOTA_EXCEEDED),
    ("forbidden", Reason.POD_REJECTED),
    ("denied the request", Reason.POD_REJECTED),
    ("FailedMount", Reason.VOLUME_NOT_READY),
    ("FailedAttachVolume", Reason.VOLUME_NOT_READY),
    ("Multi-Attach", Reason.VOLUME_NOT_READY),
)


class Kind(Enum):
    """What an end counts as when it comes to retrying."""

    SUCCESS = auto()
    FINAL = auto()  # the file's or the request's fault: never retried
    FAILURE = auto()  # retried within spec.maxRetries
    OUT_OF_MEMORY = auto()  # retried once with twice the memory
    DISRUPTION = auto()  # the cluster's doing: retried free, within a bound


@dataclass(frozen=True, slots=True)
class Waiting:
    """The container does not run yet; ``reason`` says why, in the server's own words."""

    reason: str
    message: str
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Active:
    """The container runs."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The pod should be gone and is not: its node does not answer."""

    pod: Pod
    since: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt is over. ``finished_at`` is None if nobody saw it end."""

    kind: Kind
    reason: str
    message: str
    pod: Pod | None = None
    report: Report | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


Verdict = Waiting | Active | Unreachable | Ended


def judge(attempt: Children, events: str, now: datetime, policy: Policy) -> Verdict:
    """The verdict on one attempt. ``attempt`` holds only that attempt's Job and pods.

    ``events`` is the latest warning event about the Job or its pod, "" if there is none: for a
    Job whose pod is refused it is the only place that says why.
    """
    job = next(iter(attempt.jobs), None)
    pod = _telling_pod(attempt.pods)
    if pod and pod.terminated:
        return _judge_container(pod, pod.terminated, job)
    if pod and not pod.live:
        return _judge_pod_end(pod, job)
    if pod and pod.deleted_at and now > pod.deleted_at + _KUBELET_SLACK:
        return Unreachable(pod, pod.deleted_at)
    if pod and pod.running_since:
        return Active(pod)
    if job is None or job.gone:
        return Ended(Kind.DISRUPTION, Reason.JOB_DELETED, "the Job of the attempt was deleted")
    if job.finished:
        return _judge_job_end(job)
    return _judge_waiting(pod, events)


def _telling_pod(pods: tuple[Pod, ...]) -> Pod | None:
    """The pod to judge by. The Job controller may, rarely, start two: one that runs counts first.

    Else one that succeeded, else the last one known.
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


def _judge_container(pod: Pod, end: Terminated, job: Job | None) -> Ended:
    report = parse_report(end.message)
    kind, reason, message = _explain_end(pod, end, report, job)
    if report is None and end.message:
        # The kubelet fell back to the log's tail: keep it for people.
        report = Report(final=False, logs=end.message)
    return Ended(kind, reason, message, pod, report, end.started_at, end.finished_at)


def _explain_end(
    pod: Pod, end: Terminated, report: Report | None, job: Job | None
) -> tuple[Kind, str, str]:
    # Before the exit code: a container can be OOMKilled and end with 0, when a child was killed.
    if end.reason == "OOMKilled":
        return (
            Kind.OUT_OF_MEMORY,
            ExitReason.OUT_OF_MEMORY,
            "the converter was killed for lack of memory (OOMKilled)",
        )
    if end.exit_code == 0:
        if report and report.final and report.reason is ExitReason.COMPLETED:
            return Kind.SUCCESS, ExitReason.COMPLETED, report.message or "converted"
        return (
            Kind.FAILURE,
            Reason.REPORT_MISSING,
            "the container ended with exit code 0 but without a final report",
        )
    if pod.disruption in _DISRUPTIONS:
        return Kind.DISRUPTION, _DISRUPTIONS[pod.disruption], pod.disruption_message
    if pod.reason == "DeadlineExceeded":
        return (
            Kind.FINAL,
            ExitReason.DEADLINE_EXCEEDED,
            "the pod was stopped at its active deadline",
        )
    if end.started_at is None or end.exit_code == _START_ERROR or end.reason == "StartError":
        return Kind.DISRUPTION, Reason.START_ERROR, _brief(end.message) or end.reason
    known = REASON_BY_EXIT_CODE.get(end.exit_code)
    if known is ExitReason.TERMINATED or end.exit_code == _SIGTERM:
        return _explain_sigterm(pod, job)
    if known:
        message = report.message if report and report.message else known
        return _kind_of(known), known, message
    if pod.deleted_at:
        return _explain_sigterm(pod, job)
    signal = " (SIGKILL)" if end.exit_code == _SIGKILL else ""
    return (
        Kind.FAILURE,
        Reason.CONTAINER_KILLED,
        f"the container ended with exit code {end.exit_code}{signal}",
    )


def _kind_of(reason: ExitReason) -> Kind:
    if reason is ExitReason.OUT_OF_MEMORY:
        return Kind.OUT_OF_MEMORY
    if reason in FILE_FAULTS or reason is ExitReason.DEADLINE_EXCEEDED:
        return Kind.FINAL
    return Kind.FAILURE


def _explain_sigterm(pod: Pod, job: Job | None) -> tuple[Kind, str, str]:
    """Told to stop, by no disruption the cluster knows of: somebody deleted the Job or the pod."""
    if job is None or job.gone or job.deleting:
        return Kind.DISRUPTION, Reason.JOB_DELETED, "the Job was deleted while it ran"
    if pod.deleted_at or pod.gone:
        return Kind.DISRUPTION, Reason.POD_DELETED, "the pod was deleted while it ran"
    return Kind.DISRUPTION, ExitReason.TERMINATED, "the container was told to stop"


def _judge_pod_end(pod: Pod, job: Job | None) -> Ended:
    """A pod that ended, or vanished, without a word from its container."""
    message = _brief(pod.message) or pod.disruption_message
    if pod.disruption in _DISRUPTIONS:
        return Ended(Kind.DISRUPTION, _DISRUPTIONS[pod.disruption], message, pod)
    if pod.reason == "DeadlineExceeded":
        return Ended(Kind.FINAL, ExitReason.DEADLINE_EXCEEDED, message, pod)
    if pod.reason == "Evicted":
        return Ended(Kind.DISRUPTION, Reason.EVICTED, message, pod)
    if pod.gone:
        if job is None or job.gone or job.deleting:
            return Ended(Kind.DISRUPTION, Reason.JOB_DELETED, "the Job was deleted", pod)
        return Ended(Kind.DISRUPTION, Reason.POD_DELETED, "the pod was deleted", pod)
    # What the kubelet refused to start (UnexpectedAdmissionError, OutOfcpu, NodeAffinity, …).
    return Ended(Kind.DISRUPTION, Reason.START_ERROR, message or pod.reason or pod.phase, pod)


def _judge_job_end(job: Job) -> Ended:
    """The Job ended and no pod of it is known: it was deleted, and the word with it."""
    if job.failure == "DeadlineExceeded":
        return Ended(Kind.FINAL, ExitReason.DEADLINE_EXCEEDED, job.failure)
    return Ended(
        Kind.DISRUPTION,
        Reason.POD_DELETED,
        "the pod was deleted before its result was seen",
        finished_at=job.finished_at,
    )


def _judge_waiting(pod: Pod | None, events: str) -> Waiting:
    if pod is None:
        return Waiting(_classify_event(events) or Reason.STARTING, events or "no pod yet", None)
    if pod.unschedulable:
        return Waiting(Reason.UNSCHEDULABLE, _brief(pod.unschedulable), pod)
    known = _WAITING_REASONS.get(pod.waiting_reason)
    if known:
        return Waiting(known, _brief(pod.waiting_message) or pod.waiting_reason, pod)
    about_volume = _classify_event(events)
    if about_volume:
        return Waiting(about_volume, _brief(events), pod)
    return Waiting(Reason.STARTING, "the container is about to start", pod)


def _classify_event(text: str) -> Reason | None:
    return next((reason for words, reason in _EVENT_REASONS if words in text), None)


def _brief(text: str) -> str:
    return " ".join(text.split())[:512]
