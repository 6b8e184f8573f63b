"""Finds the latest attempt of a conversion, and when the next one may start."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Attempt, ConversionJobStatus, Retries
from conversion_operator.core.children import Children, Job
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import Snapshot
from conversion_operator.core.retry import SHORTEST_BACKOFF, backoff
from media_converter.contract import ExitReason

STOP_REASONS: Final = (Reason.SUSPENDED, Reason.QUEUE_HELD)
"""Why the operator stops an attempt: spec.suspend, or a ConversionQueue with HoldAndDrain. Such an
attempt does not count."""


def last_recorded_attempt(status: ConversionJobStatus | None) -> Attempt | None:
    """The last attempt in the status, in progress or ended. None if there is none yet."""
    return status.attempts[-1] if status and status.attempts else None


def lost_pod_uid(status: ConversionJobStatus | None) -> str | None:
    """The uid of the pod of the last attempt, if that ended with the reason NodeLost."""
    last = last_recorded_attempt(status)
    lost = last is not None and last.completion_time and last.reason == Reason.NODE_LOST
    return last.pod_uid if last is not None and lost else None


def latest_attempt_number(conversion: Conversion, children: Children) -> int:
    """The number of the latest attempt, in progress or ended. 0 if there is none yet.

    A Job may exist before its attempt is in the status, so the Jobs count as well.
    """
    last = last_recorded_attempt(conversion.status)
    return max([last.number if last else 0, *(job.attempt for job in children.jobs)])


def lacked_input(status: ConversionJobStatus | None) -> bool:
    """True if the last attempt found no input, so it has used no file."""
    last = last_recorded_attempt(status)
    return last is not None and last.reason == ExitReason.INPUT_NOT_FOUND


def awaits_attempt(conversion: Conversion, children: Children) -> bool:
    """True if no attempt is in progress.

    There was none yet, or the status records that the latest one has ended.
    """
    attempt = latest_attempt_number(conversion, children)
    if attempt == 0:
        return True
    last = last_recorded_attempt(conversion.status)
    return last is not None and last.number == attempt and last.completion_time is not None


def is_finishing(job: Job, snapshot: Snapshot) -> bool:
    """True if this is the Job of the last attempt, and no known pod of it runs the converter.

    The end of the container appears in containerStatuses first. The Job still looks live for a
    second or two, until its conditions show the end too.
    """
    last = last_recorded_attempt(snapshot.status)
    pods = (pod for pod in snapshot.children.pods if pod.job_name == job.name)
    running = any(pod.converting for pod in pods)
    return last is not None and job.attempt == last.number and not job.duplicate and not running


def next_attempt_at(status: ConversionJobStatus | None) -> datetime | None:
    """When the back-off ends and the next attempt may start. None if there is no back-off.

    The time follows from the stored status, so a restart of the operator does not change it.
    """
    last = last_recorded_attempt(status)
    if status is None or last is None or last.completion_time is None:
        return None
    if last.reason in STOP_REASONS:
        return last.completion_time + SHORTEST_BACKOFF
    return last.completion_time + backoff(status.retries or Retries())
