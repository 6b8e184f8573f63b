"""The verdict on each kind of evidence, and what it counts as for retries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conversion_operator.api.reasons import REASONS, Reason
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.verdict import Active, Ended, NotStarted, Outcome, Unreachable, judge
from media_converter.contract import EXIT_CODES, INPUT_FAULTS, ExitReason
from tests.unit.operator.builders import (
    at,
    bad_report,
    children,
    ended,
    good_report,
    job,
    pod,
    running,
    succeeded,
)


def verdict_on(*parts: Job | Pod, warning: str = "", now: float = 5) -> object:
    return judge(children(*parts), warning, at(now))


ENDS: list[tuple[str, Children, Outcome, str]] = [
    ("success", children(job(), succeeded()), Outcome.SUCCESS, "Completed"),
    (
        "success before the Job's condition says so",
        children(job(finished=None), succeeded()),
        Outcome.SUCCESS,
        "Completed",
    ),
    (
        "success of a pod whose Job is deleted",
        children(job(deleted=True), succeeded()),
        Outcome.SUCCESS,
        "Completed",
    ),
    (
        "success seen in the DELETED event of the pod only",
        children(job(), succeeded(deleted=True)),
        Outcome.SUCCESS,
        "Completed",
    ),
    (
        "exit code 0 but a child was killed for memory",
        children(job(), ended(0, "OOMKilled", good_report())),
        Outcome.OUT_OF_MEMORY,
        "OutOfMemory",
    ),
    (
        "killed for memory",
        children(job(), ended(137, "OOMKilled")),
        Outcome.OUT_OF_MEMORY,
        "OutOfMemory",
    ),
    (
        "exit code 0 without a report",
        children(job(), ended(0, "Completed", "Segmentation fault")),
        Outcome.FAILURE,
        "ReportMissing",
    ),
    (
        "exit code 0 with a report that is not final",
        children(job(), ended(0, "Completed", good_report(final=False))),
        Outcome.FAILURE,
        "ReportMissing",
    ),
    (
        "Job complete but the container was killed for memory",
        children(job(finished="Complete"), ended(0, "OOMKilled")),
        Outcome.OUT_OF_MEMORY,
        "OutOfMemory",
    ),
    (
        "could not be started",
        children(job(), ended(128, "StartError", "runc: no")),
        Outcome.DISRUPTION,
        "StartError",
    ),
    (
        "killed by a signal of unknown origin",
        children(job(), ended(137, "Error")),
        Outcome.FAILURE,
        "ContainerKilled",
    ),
    (
        "unknown exit code",
        children(job(), ended(3, "Error", "Traceback")),
        Outcome.FAILURE,
        "ContainerKilled",
    ),
    (
        "drained: terminated by SIGTERM with a disruption condition",
        children(
            job(),
            ended(
                47,
                "Error",
                bad_report(ExitReason.TERMINATED),
                disruption="EvictionByEvictionAPI",
            ),
        ),
        Outcome.DISRUPTION,
        "Evicted",
    ),
    (
        "preempted",
        children(job(), ended(143, "Error", disruption="PreemptionByScheduler")),
        Outcome.DISRUPTION,
        "Preempted",
    ),
    (
        "evicted by the kubelet before its container reported anything",
        children(job(), pod(phase="Failed", reason="Evicted", message="low on disk")),
        Outcome.DISRUPTION,
        "Evicted",
    ),
    (
        "deleted by hand while it ran",
        children(
            job(), ended(47, "Error", bad_report(ExitReason.TERMINATED), deletion_timestamp=at(3))
        ),
        Outcome.DISRUPTION,
        "PodDeleted",
    ),
    (
        "its Job deleted by hand while it ran",
        children(
            job(deletion_timestamp=at(1)),
            ended(47, "Error", bad_report(ExitReason.TERMINATED), deletion_timestamp=at(3)),
        ),
        Outcome.DISRUPTION,
        "JobDeleted",
    ),
    (
        "stopped with SIGTERM for an unknown reason",
        children(job(), ended(143, "Error")),
        Outcome.DISRUPTION,
        "Terminated",
    ),
    (
        "pod deleted by force",
        children(job(), running(deleted=True)),
        Outcome.DISRUPTION,
        "PodDeleted",
    ),
    (
        "Job and pod deleted",
        children(job(deleted=True), running(deleted=True)),
        Outcome.DISRUPTION,
        "JobDeleted",
    ),
    ("no Job and no pod", children(), Outcome.DISRUPTION, "JobDeleted"),
    (
        "the Job failed and its pod is not known",
        children(job(finished="Failed", failure="BackoffLimitExceeded")),
        Outcome.DISRUPTION,
        "PodDeleted",
    ),
    (
        "pod stopped at its deadline",
        children(job(), replace(ended(137, "Error"), reason="DeadlineExceeded")),
        Outcome.NOT_RETRYABLE,
        "DeadlineExceeded",
    ),
    (
        "rejected by the kubelet",
        children(job(), pod(phase="Failed", reason="OutOfcpu", message="no cpu")),
        Outcome.DISRUPTION,
        "StartError",
    ),
]


@pytest.mark.parametrize(("name", "parts", "outcome", "reason"), ENDS, ids=[e[0] for e in ENDS])
def test_ends(name: str, parts: Children, outcome: Outcome, reason: str) -> None:
    verdict = judge(parts, "", at(20))
    assert isinstance(verdict, Ended)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.reason in REASONS


@pytest.mark.parametrize("reason", [r for r in ExitReason if r is not ExitReason.COMPLETED])
def test_every_exit_code_of_the_converter_is_understood(reason: ExitReason) -> None:
    verdict = verdict_on(job(), ended(EXIT_CODES[reason], "Error", bad_report(reason)))
    assert isinstance(verdict, Ended)
    assert verdict.reason == reason
    if reason is not ExitReason.TERMINATED:  # the operator knows who stopped it
        assert verdict.message == "because"
    never_retried = reason in INPUT_FAULTS or reason in {
        ExitReason.DEADLINE_EXCEEDED,
        # Permissions do not change by themselves.
        ExitReason.INPUT_UNREADABLE,
        ExitReason.OUTPUT_NOT_WRITABLE,
        # The same tools make the same output.
        ExitReason.VERIFICATION_FAILED,
    }
    assert (verdict.outcome is Outcome.NOT_RETRYABLE) == never_retried


def test_the_end_of_the_log_replaces_a_missing_report() -> None:
    verdict = verdict_on(job(), ended(50, "Error", "Traceback: boom"))
    assert isinstance(verdict, Ended)
    assert verdict.reason == "InternalError"
    assert verdict.report is not None
    assert verdict.report.logs == "Traceback: boom"


WAITS = [
    ("no pod yet", [job()], "", Reason.STARTING),
    (
        "quota",
        [job()],
        'FailedCreate: Error creating: pods "x" is forbidden: exceeded quota: q, requested: pods=1',
        Reason.QUOTA_EXCEEDED,
    ),
    (
        "pod security",
        [job()],
        'FailedCreate: Error creating: pods "x" is forbidden: violates PodSecurity "restricted"',
        Reason.POD_REJECTED,
    ),
    (
        "a webhook",
        [job()],
        'FailedCreate: Error creating: admission webhook "w" denied the request: no',
        Reason.POD_REJECTED,
    ),
    (
        "a webhook that does not answer",
        [job()],
        "FailedCreate: Error creating: Internal error occurred: failed calling webhook",
        Reason.POD_REJECTED,
    ),
    (
        "a policy",
        [job()],
        "FailedCreate: Error creating: pods is forbidden: ValidatingAdmissionPolicy 'p' with "
        "binding 'b' denied request: no",
        Reason.POD_REJECTED,
    ),
    (
        "a volume of a node that has just started",
        [job(), pod()],
        'FailedMount: configmaps "c" is forbidden: no relationship found between node and object',
        Reason.VOLUME_NOT_READY,
    ),
    ("unschedulable", [job(), pod(unschedulable="0/1 nodes")], "", Reason.UNSCHEDULABLE),
    ("pull", [job(), pod(waiting_reason="ImagePullBackOff")], "", Reason.IMAGE_PULL_FAILED),
    (
        "pull rejected",
        [job(), pod(waiting_reason="ErrImageNeverPull")],
        "",
        Reason.IMAGE_PULL_FAILED,
    ),
    (
        "config",
        [job(), pod(waiting_reason="CreateContainerConfigError")],
        "",
        Reason.CONTAINER_CONFIG_ERROR,
    ),
    (
        "volume",
        [job(), pod(waiting_reason="ContainerCreating")],
        "FailedMount: MountVolume.SetUp failed",
        Reason.VOLUME_NOT_READY,
    ),
    (
        "attach",
        [job(), pod(waiting_reason="ContainerCreating")],
        "FailedAttachVolume: Multi-Attach error for volume",
        Reason.VOLUME_NOT_READY,
    ),
    ("creating", [job(), pod(waiting_reason="ContainerCreating")], "", Reason.STARTING),
]


@pytest.mark.parametrize(("name", "parts", "warning", "reason"), WAITS, ids=[w[0] for w in WAITS])
def test_waits(name: str, parts: list[Job | Pod], warning: str, reason: Reason) -> None:
    verdict = verdict_on(*parts, warning=warning)
    assert isinstance(verdict, NotStarted)
    assert verdict.reason == reason


def test_a_running_container_is_active() -> None:
    assert isinstance(verdict_on(job(), running()), Active)


def test_an_orphan_pod_still_counts() -> None:
    assert isinstance(verdict_on(running()), Active)


def test_the_running_one_of_two_pods_decides() -> None:
    dead = ended(47, "Error", bad_report(ExitReason.TERMINATED), uid="pod-b")
    verdict = verdict_on(job(), dead, running())
    assert isinstance(verdict, Active)


def test_a_terminating_pod_has_its_grace_period() -> None:
    dying = running(deletion_timestamp=at(100))
    assert isinstance(verdict_on(job(), dying, now=150), Active)
    assert isinstance(verdict_on(job(), dying, now=161), Unreachable)


@pytest.mark.parametrize(
    ("end", "what_to_do"),
    [
        (ended(137, "OOMKilled"), "raise spec.resources.limits.memory"),
        (ended(0, "Completed"), "check that CONVERTER_IMAGE is the converter of this release"),
        (
            replace(ended(137, "Error"), reason="DeadlineExceeded"),
            "raise spec.timeoutSeconds",
        ),
        (ended(139, "Error"), "read the end of its log in status.logs"),
    ],
)
def test_the_operators_own_messages_say_what_to_do(end: Pod, what_to_do: str) -> None:
    verdict = verdict_on(job(), end)
    assert isinstance(verdict, Ended)
    assert what_to_do in verdict.message
