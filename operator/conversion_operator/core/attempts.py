"""Which attempt a conversion is at, and when the next one may start."""

from __future__ import annotations

from datetime import datetime

from conversion_operator.api.status import Attempt, ConversionJobStatus, Retries
from conversion_operator.core.model import Children, Conversion
from conversion_operator.core.retry import backoff


def last_attempt(status: ConversionJobStatus | None) -> Attempt | None:
    """The last attempt recorded in the status, running or ended. None before the first."""
    return status.attempts[-1] if status and status.attempts else None


def current_attempt(conversion: Conversion, children: Children) -> int:
    """The number of the latest attempt, 0 before the first.

    A Job may exist before its attempt is in the status, so the Jobs count as well.
    """
    last = last_attempt(conversion.status)
    return max([last.number if last else 0, *(job.attempt for job in children.jobs)])


def awaits_attempt(conversion: Conversion, children: Children) -> bool:
    """True if no attempt is in progress: there was none, or the status says the latest ended."""
    number = current_attempt(conversion, children)
    if number == 0:
        return True
    last = last_attempt(conversion.status)
    return last is not None and last.number == number and last.completion_time is not None


def next_attempt_at(status: ConversionJobStatus | None) -> datetime | None:
    """When the next attempt may start. None if it may start at once.

    This is computed from the stored status, so a restart of the operator does not change it.
    """
    last = last_attempt(status)
    if status is None or last is None or last.completion_time is None:
        return None
    return last.completion_time + backoff(status.retries or Retries())
