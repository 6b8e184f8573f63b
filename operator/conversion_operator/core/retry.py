"""Whether, and how soon, a conversion gets another attempt. Pure, from what its status counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.status import Attempt, ConversionJobStatus, Retries
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.verdict import Kind

MAX_DISRUPTIONS: Final = 10
"""Evictions and the like are free, but not for ever: ten of them are a habit of the cluster."""

_FIRST_BACKOFF: Final = timedelta(seconds=10)
_LONGEST_BACKOFF: Final = timedelta(minutes=5)
_FIRST_START_BACKOFF: Final = timedelta(seconds=30)
_LONGEST_START_BACKOFF: Final = timedelta(minutes=10)
_DISRUPTION_BACKOFF: Final = timedelta(seconds=1)


def count_end(retries: Retries, kind: Kind) -> Retries:
    """The counters after one more attempt that ended so."""
    return Retries(
        failures=retries.failures + (kind is Kind.FAILURE),
        disruptions=retries.disruptions + (kind is Kind.DISRUPTION),
        out_of_memory=retries.out_of_memory + (kind is Kind.OUT_OF_MEMORY),
        not_started=0,
    )


def count_not_started(retries: Retries) -> Retries:
    """The counters after one more attempt whose container never started."""
    return retries.model_copy(update={"not_started": retries.not_started + 1})


def may_retry(kind: Kind, retries: Retries, conversion: Conversion, policy: Policy) -> bool:
    """True if an attempt that ended as ``kind`` is followed by another.

    ``retries`` already counts that end. maxRetries 0 means one attempt for everything the
    conversion itself can do; the cluster's own faults stay free.
    """
    given = conversion.spec.max_retries if conversion.spec else None
    allowed = policy.max_retries if given is None else given
    if kind is Kind.FAILURE:
        return retries.failures <= allowed
    if kind is Kind.OUT_OF_MEMORY:
        return retries.out_of_memory <= min(1, allowed)
    if kind is Kind.DISRUPTION:
        return retries.disruptions <= MAX_DISRUPTIONS
    return False


def start_tries_exhausted(retries: Retries, policy: Policy) -> bool:
    """True if tries to start, and the pauses between them, add up to the queue timeout."""
    tries = retries.not_started
    pauses = sum((_start_backoff(n) for n in range(1, tries + 1)), timedelta(0))
    spent = pauses + timedelta(seconds=policy.start_timeout) * tries
    return tries > 0 and spent >= timedelta(seconds=policy.queue_timeout)


def _start_backoff(tries: int) -> timedelta:
    # The exponent is bounded before the product, or a long-lived conversion overflows it.
    factor: int = 2 ** min(tries - 1, 10)
    return min(_FIRST_START_BACKOFF * factor, _LONGEST_START_BACKOFF)


def next_attempt_at(status: ConversionJobStatus | None) -> datetime | None:
    """When the next attempt may start; None for at once.

    Computed from what is stored: it survives a restart and needs no clock of the operator's.
    """
    attempt = last_attempt(status)
    if status is None or attempt is None or attempt.completion_time is None:
        return None
    last = attempt.completion_time
    retries = status.retries or Retries()
    if retries.not_started:
        return last + _start_backoff(retries.not_started)
    if retries.failures:
        factor: int = 2 ** (retries.failures - 1)
        return last + min(_FIRST_BACKOFF * factor, _LONGEST_BACKOFF)
    return last + _DISRUPTION_BACKOFF


def last_attempt(status: ConversionJobStatus | None) -> Attempt | None:
    """The last attempt in a status, under way or ended; None before the first."""
    return status.attempts[-1] if status and status.attempts else None
