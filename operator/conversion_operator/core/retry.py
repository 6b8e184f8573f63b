"""The retry policy: whether another attempt follows, and after which back-off.

Both follow from the counters in ``status.retries``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from conversion_operator.api.status import Retries
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.verdict import Outcome

MAX_DISRUPTIONS: Final = 10
"""Disruptions do not count against maxRetries. This bound ends a conversion that a broken cluster
disrupts every time."""

_FIRST_BACKOFF: Final = timedelta(seconds=10)
_LONGEST_BACKOFF: Final = timedelta(minutes=5)
_FIRST_START_BACKOFF: Final = timedelta(seconds=30)
_LONGEST_START_BACKOFF: Final = timedelta(minutes=10)
_LONGEST_UNSCHEDULABLE_BACKOFF: Final = timedelta(minutes=5)
SHORTEST_BACKOFF: Final = timedelta(seconds=1)


def count_ended_attempt(retries: Retries, outcome: Outcome) -> Retries:
    """The counters after an attempt with this outcome. Resets those of failed starts."""
    return Retries(
        failures=retries.failures + (outcome is Outcome.FAILURE),
        disruptions=retries.disruptions + (outcome is Outcome.DISRUPTION),
        out_of_memory=retries.out_of_memory + (outcome is Outcome.OUT_OF_MEMORY),
        not_started=0,
    )


def count_not_started(retries: Retries, setting_changed: bool) -> Retries:
    """The counters after an attempt whose container did not start.

    If the image or the pod settings changed, the counters of failed starts are reset: the failure
    may not happen with the new settings.
    """
    if setting_changed:
        return retries.model_copy(update={"not_started": 0, "unschedulable": None})
    return retries.model_copy(update={"not_started": retries.not_started + 1})


def count_unschedulable(retries: Retries) -> Retries:
    """The counters after an attempt whose pod no node had room for in time."""
    return retries.model_copy(update={"unschedulable": (retries.unschedulable or 0) + 1})


def may_retry(outcome: Outcome, retries: Retries, conversion: Conversion, policy: Policy) -> bool:
    """True if another attempt follows an attempt with this outcome.

    ``retries`` already counts that attempt. If maxRetries is 0, only disruptions are retried.
    """
    given = conversion.spec.max_retries if conversion.spec else None
    allowed = policy.max_retries if given is None else given
    match outcome:
        case Outcome.FAILURE:
            return retries.failures <= allowed
        case Outcome.OUT_OF_MEMORY:
            return retries.out_of_memory <= min(1, allowed)
        case Outcome.DISRUPTION:
            return retries.disruptions <= MAX_DISRUPTIONS
        case _:
            return False


def queue_timeout_exceeded(retries: Retries, policy: Policy) -> bool:
    """True if the start timeouts and back-offs of the consecutive failed starts add up to the queue
    timeout."""
    starts, unschedulable = retries.not_started, retries.unschedulable or 0
    spent = timedelta(seconds=policy.start_timeout) * starts
    spent += timedelta(seconds=policy.unschedulable_timeout) * unschedulable
    spent += sum((_start_backoff(n) for n in range(1, starts + 1)), timedelta(0))
    spent += sum((_unschedulable_backoff(n) for n in range(1, unschedulable + 1)), timedelta(0))
    return starts + unschedulable > 0 and spent >= timedelta(seconds=policy.queue_timeout)


def backoff(retries: Retries) -> timedelta:
    """The shortest time between the end of an attempt and the start of the next one."""
    if retries.not_started or retries.unschedulable:
        starts, unschedulable = retries.not_started, retries.unschedulable or 0
        return max(_start_backoff(starts), _unschedulable_backoff(unschedulable))
    if retries.failures:
        return min(_FIRST_BACKOFF * 2.0 ** (retries.failures - 1), _LONGEST_BACKOFF)
    return SHORTEST_BACKOFF


def _unschedulable_backoff(attempts: int) -> timedelta:
    return min(_start_backoff(attempts), _LONGEST_UNSCHEDULABLE_BACKOFF)


def _start_backoff(failed_starts: int) -> timedelta:
    if failed_starts == 0:
        return timedelta(0)
    # The exponent is bounded. Otherwise the product would overflow after many failed starts.
    factor: int = 2 ** min(failed_starts - 1, 10)
    return min(_FIRST_START_BACKOFF * factor, _LONGEST_START_BACKOFF)
