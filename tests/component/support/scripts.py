"""Scripts for pods: what happens to the pod of each attempt.

::

    cluster.script("holiday", fail(ExitReason.DISK_FULL), succeed(size=12))  # 1st and 2nd attempt
    cluster.script("late", image_pull(then=succeed()))  # until cluster.fix("late")
    cluster.script("long", succeed(hold=True))  # until cluster.finish("long")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from media_converter.contract import (
    EXIT_CODES,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
    PlannedOutput,
    Report,
)
from media_converter.report_json import dump_report

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class Stage(StrEnum):
    """The step of a pod's start that an obstacle prevents."""

    NO_POD = "no pod"
    UNSCHEDULED = "unscheduled"
    CREATING = "creating"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that keeps a pod from starting.

    It ends after ``seconds`` of the server's clock, or when the test fixes it. ``reason`` is the
    waiting reason of the container, or the reason of the Event.
    """

    stage: Stage
    reason: str
    message: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container ends, and the resulting state of its pod.

    If ``deletion`` is set, the pod is deleted, with this reason in its DisruptionTarget condition
    (empty for a deletion by hand). The other fields then say how the container reacts.
    """

    exit_code: int = 0
    reason: str = "Completed"
    message: str = ""
    signal: int | None = None
    pod_reason: str = ""
    pod_message: str = ""
    disruption: str = ""
    deletion: str | None = None
    started: bool = True


@dataclass(frozen=True, slots=True)
class Script:
    """What happens to one pod.

    The pod runs for ``run_seconds`` of the server's clock, or with ``hold`` until
    ``cluster.finish``. ``stop_seconds`` is how long it takes to stop after SIGTERM, at most the
    grace period, and ``on_sigterm`` is how it ends then. ``node`` is the node that it must run on.
    """

    ending: Ending = Ending()
    obstacle: Obstacle | None = None
    run_seconds: float = 0.0
    hold: bool = False
    logs: bytes = b""
    stop_seconds: float = 0.0
    on_sigterm: Ending | None = None
    node: str | None = None


def report(
    reason: ExitReason = ExitReason.COMPLETED,
    *,
    final: bool = True,
    size: int = 1024,
    sha256: str = SHA256,
    message: str = "",
    logs: str = "",
) -> str:
    """The termination message with a converter's report."""
    done = reason is ExitReason.COMPLETED and final
    output = Output(sha256=sha256, container="mp4", video_codec="h264", width=1280, height=720)
    made = Report(
        final=final,
        reason=reason if final else None,
        message=message,
        output_size=size if done else None,
        output=output if done else None,
        logs=logs,
    )
    return dump_report(made).decode("ascii")


def output(state: str = "Succeeded", size: int = 1024, sha256: str = SHA256) -> OutputResult:
    """What a run has done about one of several outputs."""
    done = OutputState(state)
    if done is OutputState.SUCCEEDED:
        return OutputResult(done, size, Output(sha256=sha256, container="mp4"))
    if done is OutputState.PENDING:
        return OutputResult(done)
    reason = ExitReason.NO_VIDEO_STREAM
    return OutputResult(done, reason=reason, message="the input has no video")


def report_outputs(*outputs: OutputResult, reason: ExitReason | None = ExitReason.COMPLETED) -> str:
    """The termination message of a run of several outputs. Without a reason, the run was killed."""
    sizes = [each.size for each in outputs if each.size]
    made = Report(
        final=reason is not None,
        reason=reason,
        output_size=sum(sizes) if sizes else None,
        outputs=outputs,
    )
    return dump_report(made).decode("ascii")


def plan(*outputs: PlannedOutput, **script: Any) -> Script:
    """Ends with exit code 0 and the plan of a dry run."""
    made = Report(final=True, reason=ExitReason.COMPLETED, plan=outputs)
    return Script(Ending(message=dump_report(made).decode("ascii")), **script)


def succeed(size: int = 1024, sha256: str = SHA256, tail: str = "", **script: Any) -> Script:
    """Ends with exit code 0 and a final report with the log tail ``tail``."""
    ending = Ending(message=report(size=size, sha256=sha256, logs=tail))
    return Script(ending, **script)


def fail(
    reason: ExitReason | str = ExitReason.INTERNAL_ERROR, message: str = "", **script: Any
) -> Script:
    """Ends with the exit code and the report of ``reason``."""
    reason = ExitReason(reason)
    text = report(reason, message=message or f"failed with {reason}")
    return Script(Ending(EXIT_CODES[reason], "Error", text), **script)


def exit_with(code: int, message: str = "", reason: str | None = None, **script: Any) -> Script:
    """Ends with any exit code and termination message."""
    ending = Ending(code, reason or ("Error" if code else "Completed"), message)
    return Script(ending, **script)


def oom_killed(exit_code: int = 137, message: str | None = None, **script: Any) -> Script:
    """Killed by the OOM killer. With ``exit_code`` 0 only a child process was killed."""
    text = report(final=False) if message is None else message
    return Script(Ending(exit_code, "OOMKilled", text), **script)


def start_error(message: str = "runc create failed: exec: not found", **script: Any) -> Script:
    """The container never ran: exit code 128 and reason StartError."""
    return Script(Ending(128, "StartError", message, started=False), **script)


def evicted(message: str = "The node was low on resource: memory. ", **script: Any) -> Script:
    """Evicted by the kubelet of a node under pressure. The pod stays, Failed."""
    ending = Ending(
        137,
        "Error",
        pod_reason="Evicted",
        pod_message=message,
        disruption="TerminationByKubelet",
    )
    return Script(ending, **script)


def preempted(**script: Any) -> Script:
    """Deleted by the scheduler in favour of a pod with a higher priority."""
    return Script(replace(_sigterm(), deletion="PreemptionByScheduler"), **script)


def drained(**script: Any) -> Script:
    """Deleted through the eviction API, as ``kubectl drain`` does."""
    return Script(replace(_sigterm(), deletion="EvictionByEvictionAPI"), **script)


def _sigterm() -> Ending:
    return Ending(
        EXIT_CODES[ExitReason.TERMINATED], "Error", report(ExitReason.TERMINATED, message="SIGTERM")
    )


def _after(then: Script | None, obstacle: Obstacle) -> Script:
    return replace(then or succeed(), obstacle=obstacle)


def image_pull(
    message: str = 'Back-off pulling image "my-converter:latest"',
    then: Script | None = None,
    seconds: float | None = None,
) -> Script:
    """ErrImagePull, then ImagePullBackOff."""
    obstacle = Obstacle(Stage.CREATING, "ImagePullBackOff", message, seconds)
    return _after(then, obstacle)


def config_error(
    message: str = 'configmap "settings" not found',
    then: Script | None = None,
    seconds: float | None = None,
) -> Script:
    """CreateContainerConfigError."""
    obstacle = Obstacle(Stage.CREATING, "CreateContainerConfigError", message, seconds)
    return _after(then, obstacle)


def stuck_mount(
    message: str = 'MountVolume.SetUp failed for volume "shared" : timed out',
    then: Script | None = None,
    seconds: float | None = None,
) -> Script:
    """ContainerCreating for ever. Only a FailedMount Event says why."""
    return _after(then, Obstacle(Stage.CREATING, "FailedMount", message, seconds))


def slow_start(seconds: float | None = None, then: Script | None = None) -> Script:
    """ContainerCreating for a while, without a reason."""
    return _after(then, Obstacle(Stage.CREATING, "", "", seconds))


def unschedulable(
    message: str = "0/2 nodes are available: 2 Insufficient memory.",
    then: Script | None = None,
    seconds: float | None = None,
) -> Script:
    """No node fits."""
    return _after(then, Obstacle(Stage.UNSCHEDULED, "Unschedulable", message, seconds))


def failed_create(
    message: str = ("exceeded quota: compute, requested: pods=1, used: pods=1, limited: pods=1"),
    then: Script | None = None,
    seconds: float | None = None,
) -> Script:
    """The Job controller may not create the pod. An Event of the Job says why."""
    return _after(then, Obstacle(Stage.NO_POD, "FailedCreate", message, seconds))
