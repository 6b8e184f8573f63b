"""Builds the next status from the stored one: the fields of each phase, and their bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Self

from conversion_operator.api import names
from conversion_operator.api.spec import MAX_TIMEOUT_SECONDS
from conversion_operator.api.status import (
    ATTEMPTS_KEPT,
    CONDITIONS_KEPT,
    LOGS_MAX_BYTES,
    MESSAGE_MAX_BYTES,
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
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.model import EPOCH
from conversion_operator.core.outputs import merge, planned, seconds, total_size
from conversion_operator.core.plan import Snapshot
from conversion_operator.core.text import head, head_as_printed, one_line, tail
from conversion_operator.core.verdict import Ended
from media_converter.contract import Output, Report
from media_converter.contract import Progress as ReportedProgress

_RUN_TIME_TOLERANCE_MILLISECONDS: Final = 2000
"""How far the reported run time may differ from that of the kubelet. The kubelet rounds the start
and the end down to whole seconds, and the converter starts after its container."""
_CONDITION_MESSAGE_MAX_BYTES: Final = 256
_ATTEMPT_MESSAGE_MAX_BYTES: Final = 256
_CONDITIONS: Final = frozenset(
    {
        names.CONDITION_SUCCEEDED,
        names.CONDITION_FINISHED,
        names.CONDITION_RECONCILING,
        names.CONDITION_STALLED,
    }
)


@dataclass(frozen=True, slots=True)
class Transition:
    """The step from the stored status to the next one.

    ``to`` and ``within_phase`` create it. Each ``with_…`` method returns a copy with more fields
    set. ``status`` is the result.
    """

    now: datetime
    status: ConversionJobStatus

    @classmethod
    def to(cls, snapshot: Snapshot, phase: Phase, reason: str, message: str) -> Self:
        """Enter a phase, or stay in it with another reason.

        The attempts, their counters, the results of a list of outputs, the log, the callback and
        unknown fields are kept. Queued and Starting drop the pod, the node and the start time of
        the previous attempt; ``with_pod`` can set pod and node again. A terminal phase gets the
        current time as its completion time; ``with_result`` replaces it with the end of the
        container if that is known.
        """
        old = snapshot.status
        keeps_pod = phase not in (Phase.QUEUED, Phase.STARTING)
        text = one_line(message, MESSAGE_MAX_BYTES)
        status = ConversionJobStatus(
            phase=phase,
            observed_generation=snapshot.conversion.generation,
            conditions=_conditions(old, phase, reason, text, snapshot.now),
            reason=reason,
            message=text,
            arrival=(old.arrival if old else None) or snapshot.conversion.arrival or None,
            attempts=old.attempts if old else None,
            retries=old.retries if old else None,
            job_name=old.job_name if old else None,
            pod_name=old.pod_name if old and keeps_pod else None,
            node_name=old.node_name if old and keeps_pod else None,
            start_time=old.start_time if old and keeps_pod else None,
            completion_time=snapshot.now if phase.terminal else None,
            output_size=total_size(old.outputs) if old else None,
            outputs=old.outputs if old else None,
            resolved=old.resolved if old else None,
            logs=old.logs if old else None,
            notify=old.notify if old else None,
            **((old.model_extra if old else None) or {}),
        )
        return cls(snapshot.now, status)

    @classmethod
    def within_phase(cls, snapshot: Snapshot, reason: str, message: str) -> Self:
        """Change the reason and keep the stored phase. If no phase is stored yet, use Starting."""
        phase = snapshot.status.phase if snapshot.status else Phase.STARTING
        return cls.to(snapshot, phase, reason, message)

    def with_queue_position(self, position: int | None) -> Self:
        """Set the queue position. None if the conversion is not in the queue, or is in back-off."""
        return self._set(queue_position=position)

    def with_attempt(self, attempt_children: Children) -> Self:
        """Add the attempt of these children to the attempts, unless the status already has it.

        Nothing changes if there is neither a Job nor a pod. Then the operator knows the attempt
        from the status only, so the status already has it.
        """
        job = next(iter(attempt_children.jobs), None)
        pod = next(iter(attempt_children.pods), None)
        if job:
            attempt, name = job.attempt, job.name
            started: datetime | None = job.created
        elif pod:
            attempt, name, started = pod.attempt, pod.job_name, pod.running_since
        else:
            return self
        attempts = list(self.status.attempts or ())
        if not attempts or attempts[-1].number != attempt:
            attempts.append(Attempt(number=attempt, start_time=started or EPOCH))
        if job and attempts[-1].job_uid is None:
            attempts[-1] = attempts[-1].model_copy(update={"job_uid": job.uid})
        return self._set(attempts=attempts[-ATTEMPTS_KEPT:], job_name=name)

    def with_next_attempt_of(self, job: Job) -> Self:
        """Add the next attempt of a Job that was suspended while it ran the last one."""
        attempts = list(self.status.attempts or ())
        number = (attempts[-1].number if attempts else job.attempt) + 1
        attempts.append(Attempt(number=number, start_time=self.now, job_uid=job.uid))
        return self._set(attempts=attempts[-ATTEMPTS_KEPT:], job_name=job.name)

    def with_pod(self, pod: Pod | None) -> Self:
        """Set the names of the pod and its node, and its uid in its attempt.

        None changes nothing.
        """
        if pod is None:
            return self
        attempts = list(self.status.attempts or ())
        if attempts and attempts[-1].number == pod.attempt:
            attempts[-1] = attempts[-1].model_copy(update={"pod_uid": pod.uid})
        return self._set(pod_name=pod.name, node_name=pod.node or None, attempts=attempts or None)

    def with_start(self, pod: Pod) -> Self:
        """Set the pod, its node and the start time from this running pod. Drop the older log."""
        return self.with_pod(pod)._set(start_time=pod.running_since, logs=None)

    def with_attempt_stopping(self, reason: str) -> Self:
        """Record why the attempt in progress is being stopped."""
        attempts = list(self.status.attempts or ())
        if attempts:
            attempts[-1] = attempts[-1].model_copy(update={"reason": reason})
        return self._set(attempts=attempts or None)

    def with_attempt_closed(self, reason: str, message: str) -> Self:
        """Record how the last attempt ended.

        In a terminal phase the attempt gets the conversion's completion time. Otherwise it gets
        the current time: the back-off counts from when the operator saw the end, not from when the
        container terminated.
        """
        attempts = list(self.status.attempts or ())
        if attempts:
            attempts[-1] = attempts[-1].model_copy(
                update={
                    "reason": reason,
                    "message": head_as_printed(
                        one_line(message, _ATTEMPT_MESSAGE_MAX_BYTES), _ATTEMPT_MESSAGE_MAX_BYTES
                    )
                    or None,
                    "completion_time": self.status.completion_time or self.now,
                }
            )
        return self._set(attempts=attempts or None)

    def with_result(self, end: Ended) -> Self:
        """Record the result of the last attempt: its pod, the end of its log, and its reason.

        Also record the state of each output in a list of outputs. In a terminal phase, also set the
        start time, the completion time and the duration. For Succeeded, also set the facts about
        the output, or the plan of a dry run.
        """
        report = end.report or Report(final=False)
        transition = self.with_pod(end.pod)
        if report.logs:
            transition = transition._set(logs=tail(report.logs, LOGS_MAX_BYTES))
        if report.outputs:
            outputs = merge(self.status.outputs, report.outputs)
            transition = transition._set(outputs=outputs, output_size=total_size(outputs))
        if self.status.phase.terminal:
            transition = transition._with_times(end)
        if self.status.phase is Phase.SUCCEEDED:
            transition = transition._with_facts(report)._set(progress=Progress(percent=100))
        return transition.with_attempt_closed(end.reason, end.message)

    def _with_facts(self, report: Report) -> Self:
        if report.plan:
            return self._set(plan=planned(report.plan))
        if report.outputs:
            return self
        facts = _output_facts(report.output, report.warnings) if report.output else None
        return self._set(output_size=report.output_size, output=facts)

    def with_retries(self, retries: Retries | None) -> Self:
        """Set the counters of attempts that ended without success."""
        return self._set(retries=retries)

    def _with_times(self, end: Ended) -> Self:
        started = end.started_at or self.status.start_time
        finished = end.finished_at or self.now
        ran = max(0, round((finished - started).total_seconds())) if started else None
        return self._set(
            start_time=started,
            completion_time=finished,
            duration_seconds=ran,
            duration_milliseconds=None if ran is None else _milliseconds(ran, end.report),
        )

    def _set(self, **fields: Any) -> Self:
        return type(self)(self.now, self.status.model_copy(update=fields))


def with_progress(
    status: ConversionJobStatus, progress: ReportedProgress, logs: str, now: datetime
) -> ConversionJobStatus:
    """A copy of the status with the latest progress and log of the running converter.

    If nothing has changed, the result equals ``status``: a converter that hangs, or checks its
    output, repeats its progress with less time left. This must neither cause a write nor change
    the estimated end.
    """
    speed = f"{progress.speed:.2f}x" if progress.speed is not None else None
    percent = progress.percent
    latest = Progress(
        percent=None if percent is None else min(100, max(0, percent)),
        speed=speed[:16] if speed else None,
        eta_seconds=progress.eta_seconds,
    )
    stored = status.progress
    if stored is None or not _repeats(stored, latest):
        end = _end_time(progress.eta_seconds, now)
        stored = latest.model_copy(update={"estimated_end_time": end})
    return status.model_copy(
        update={"progress": stored, "logs": tail(logs, LOGS_MAX_BYTES) or status.logs}
    )


def _repeats(before: Progress, latest: Progress) -> bool:
    """Whether the latest progress is the one before, except that time has passed."""
    if (before.percent, before.speed) != (latest.percent, latest.speed):
        return False
    if before.eta_seconds is None or latest.eta_seconds is None:
        return before.eta_seconds == latest.eta_seconds
    return latest.eta_seconds <= before.eta_seconds


def _end_time(left: int | None, now: datetime) -> datetime | None:
    """``now`` plus ``left`` seconds. None if ``left`` is longer than any attempt may run.

    Any program in the pod can write the report, so the value may be wrong.
    """
    if left is None or left > MAX_TIMEOUT_SECONDS:
        return None
    # The status has whole seconds, so round: truncation would make the ends half a second too
    # early.
    return (now + timedelta(seconds=left, milliseconds=500)).replace(microsecond=0)


def with_pending_callback_if_ended(status: ConversionJobStatus, url: str) -> ConversionJobStatus:
    """A copy of the status with a pending callback, if its phase is terminal and there is a URL.

    The callback of a status that already has one is not changed.
    """
    if not url or not status.phase.terminal or status.notify is not None:
        return status
    pending = Notification(state=NotifyState.PENDING, attempts=0)
    return status.model_copy(update={"notify": pending})


def _milliseconds(ran: int, report: Report | None) -> int:
    """The run time of the container in milliseconds.

    The times of the kubelet (``ran``) are whole seconds. The report of the converter is more exact,
    but any program in the pod can write it. So it is used only if it agrees with the kubelet.
    """
    reported = report.run_milliseconds if report and report.final else None
    if reported is None or abs(reported - 1000 * ran) > _RUN_TIME_TOLERANCE_MILLISECONDS:
        return 1000 * ran
    return reported


def _conditions(
    old: ConversionJobStatus | None, phase: Phase, reason: str, message: str, now: datetime
) -> list[Condition]:
    succeeded: Literal["True", "False", "Unknown"] = "Unknown"
    if phase.terminal:
        succeeded = "True" if phase is Phase.SUCCEEDED else "False"
    finished: Literal["True", "False"] = "True" if phase.terminal else "False"
    values: dict[str, Literal["True", "False", "Unknown"]] = {
        names.CONDITION_SUCCEEDED: succeeded,
        names.CONDITION_FINISHED: finished,
    }
    # By the rules of kstatus, these two exist only while they are True.
    if not phase.terminal:
        values[names.CONDITION_RECONCILING] = "True"
    elif phase is Phase.FAILED:
        values[names.CONDITION_STALLED] = "True"
    before = {condition.type: condition for condition in old.conditions} if old else {}
    # Conditions of others and of later releases are kept.
    result = [condition for name, condition in before.items() if name not in _CONDITIONS]
    for name, value in values.items():
        last = before.get(name)
        unchanged = last is not None and last.status == value
        result.append(
            Condition(
                type=name,
                status=value,
                reason=reason,
                message=head(message, _CONDITION_MESSAGE_MAX_BYTES),
                last_transition_time=last.last_transition_time if last and unchanged else now,
            )
        )
    return result[-CONDITIONS_KEPT:]


def _output_facts(output: Output, warnings: tuple[str, ...]) -> OutputFacts:
    return OutputFacts(
        sha256=output.sha256,
        container=output.container,
        video_codec=output.video_codec,
        audio_codec=output.audio_codec,
        width=output.width,
        height=output.height,
        duration_seconds=seconds(output.duration_seconds),
        warnings=list(warnings) or None,
    )
