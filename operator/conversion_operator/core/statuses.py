"""Building the next status from the last: the fields each phase has, and the size of it all."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final, Literal

from conversion_operator.api import names
from conversion_operator.api.status import (
    ATTEMPTS_KEPT,
    LOGS_MAX_BYTES,
    MESSAGE_MAX_BYTES,
    NOTIFY_MESSAGE_MAX_BYTES,
    Attempt,
    Condition,
    ConversionJobStatus,
    Notification,
    NotifyState,
    OutputFacts,
    Phase,
    Progress,
    Retries,
)
from conversion_operator.core.model import EPOCH, Children, Conversion, Pod
from conversion_operator.core.text import head, one_line, tail
from conversion_operator.core.verdict import Ended
from media_converter.contract import Output, Report
from media_converter.contract import Progress as ReportedProgress

STATUS_MAX_BYTES: Final = 8192
_CONDITION_MESSAGE_MAX_BYTES: Final = 256
# What status.notify may still grow by: two times, a count and a message, with their names.
_NOTIFY_BYTES: Final = 160 + NOTIFY_MESSAGE_MAX_BYTES


def next_status(
    conversion: Conversion, phase: Phase, reason: str, message: str, now: datetime
) -> ConversionJobStatus:
    """The status for a phase: history is kept, what only other phases have is not."""
    old = conversion.status
    text = one_line(message, MESSAGE_MAX_BYTES)
    running = phase not in (Phase.QUEUED, Phase.STARTING)
    return ConversionJobStatus(
        phase=phase,
        observed_generation=conversion.generation,
        conditions=_conditions(old, phase, reason, text, now),
        reason=reason,
        message=text,
        attempts=old.attempts if old else None,
        retries=old.retries if old else None,
        job_name=old.job_name if old else None,
        pod_name=old.pod_name if old and running else None,
        node_name=old.node_name if old and running else None,
        start_time=old.start_time if old and running else None,
        logs=old.logs if old else None,
        notify=old.notify if old else None,
    )


def open_attempt(status: ConversionJobStatus, attempt: Children) -> ConversionJobStatus:
    """``status`` that knows of the attempt these children belong to. Adds it once.

    An attempt without a Job and without a pod is one that the stored status already knows.
    """
    job, pod = next(iter(attempt.jobs), None), next(iter(attempt.pods), None)
    if job:
        number, name = job.attempt, job.name
        created: datetime | None = job.created
    elif pod:
        number, name, created = pod.attempt, pod.job_name, pod.running_since
    else:
        return status
    attempts = list(status.attempts or ())
    if not attempts or attempts[-1].number != number:
        attempts.append(Attempt(number=number, start_time=created or EPOCH))
    return status.model_copy(update={"attempts": attempts[-ATTEMPTS_KEPT:], "job_name": name})


def close_attempt(
    status: ConversionJobStatus, reason: str, message: str, ended: datetime, retries: Retries
) -> ConversionJobStatus:
    """``status`` with its last attempt ended."""
    attempts = list(status.attempts or ())
    if attempts:
        attempts[-1] = attempts[-1].model_copy(
            update={
                "reason": reason,
                "message": one_line(message, 256) or None,
                "completion_time": ended,
            }
        )
    return status.model_copy(update={"attempts": attempts or None, "retries": retries})


def with_pod(status: ConversionJobStatus, pod: Pod | None) -> ConversionJobStatus:
    """``status`` with the names of the pod and its node."""
    if pod is None:
        return status
    return status.model_copy(update={"pod_name": pod.name, "node_name": pod.node or None})


def with_end(status: ConversionJobStatus, end: Ended, now: datetime) -> ConversionJobStatus:
    """``status`` with what is known of an attempt that ended: times, output, the log's tail."""
    finished = end.finished_at or now
    started = end.started_at or status.start_time
    report = end.report or Report(final=False)
    update: dict[str, object] = {
        "start_time": started,
        "completion_time": finished if status.phase.terminal else None,
        "duration_seconds": (
            max(0, round((finished - started).total_seconds())) if started else None
        ),
    }
    if report.logs:
        update["logs"] = tail(report.logs, LOGS_MAX_BYTES)
    if status.phase is Phase.SUCCEEDED:
        update |= {
            "output_size": report.output_size,
            "output": _output_facts(report.output) if report.output else None,
            "progress": Progress(percent=100),
        }
    return with_pod(status.model_copy(update=update), end.pod)


def with_progress(
    status: ConversionJobStatus, progress: ReportedProgress, logs: str
) -> ConversionJobStatus:
    """``status`` with what the running converter last wrote."""
    speed = f"{progress.speed:.2f}x" if progress.speed is not None else None
    percent = progress.percent
    return status.model_copy(
        update={
            "progress": Progress(
                percent=None if percent is None else min(100, max(0, percent)),
                speed=speed[:16] if speed else None,
                eta_seconds=progress.eta_seconds,
            ),
            "logs": tail(logs, LOGS_MAX_BYTES) or status.logs,
        }
    )


def owe(status: ConversionJobStatus, url: str) -> ConversionJobStatus:
    """``status``, with a callback to be made if it is an end and there is a URL."""
    if not url or not status.phase.terminal or status.notify is not None:
        return status
    pending = Notification(state=NotifyState.PENDING, attempts=0)
    return status.model_copy(update={"notify": pending})


def fit(status: ConversionJobStatus) -> ConversionJobStatus:
    """``status`` in at most STATUS_MAX_BYTES as kubectl prints it, at the log's expense.

    kubectl writes <, > and & as six bytes each, so counting characters would not do. Of notify
    only the beginning is there yet: the rest of the status is not written again with it.
    """
    while (excess := _printed_size(status) - STATUS_MAX_BYTES) > 0 and status.logs:
        keep = len(status.logs.encode()) - max(1, excess // 6)
        status = status.model_copy(update={"logs": tail(status.logs, max(0, keep)) or None})
    return status


def _printed_size(status: ConversionJobStatus) -> int:
    text = json.dumps(status.to_json(), ensure_ascii=False)
    reserve = _NOTIFY_BYTES if status.notify else 0
    return len(text.encode()) + 5 * sum(text.count(sign) for sign in "<>&") + reserve


def _conditions(
    old: ConversionJobStatus | None, phase: Phase, reason: str, message: str, now: datetime
) -> list[Condition]:
    succeeded: Literal["True", "False", "Unknown"] = "Unknown"
    if phase.terminal:
        succeeded = "True" if phase is Phase.SUCCEEDED else "False"
    finished: Literal["True", "False"] = "True" if phase.terminal else "False"
    before = {condition.type: condition for condition in old.conditions} if old else {}
    result = []
    for kind, value in (
        (names.CONDITION_SUCCEEDED, succeeded),
        (names.CONDITION_FINISHED, finished),
    ):
        last = before.get(kind)
        kept = last is not None and last.status == value
        result.append(
            Condition(
                type=kind,
                status=value,
                reason=reason,
                message=head(message, _CONDITION_MESSAGE_MAX_BYTES),
                last_transition_time=last.last_transition_time if last and kept else now,
            )
        )
    return result


def _output_facts(output: Output) -> OutputFacts:
    seconds = output.duration_seconds
    return OutputFacts(
        sha256=output.sha256,
        container=output.container,
        video_codec=output.video_codec,
        audio_codec=output.audio_codec,
        width=output.width,
        height=output.height,
        duration_seconds=None if seconds is None else f"{seconds:.3f}",
    )
