"""The sweep policy: one short Job removes the temporary file that a killed attempt left behind.

A sweep is not an attempt. Its Job carries the uid of the conversion, so it takes a slot like any
other Job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.model import Children, Conversion, Job, Policy
from media_converter.contract import ExitReason

SWEEP_ATTEMPT: Final = 0
"""A sweep is not an attempt. Its Job carries attempt 0, which no attempt has."""

SWEEP_WITHIN: Final = timedelta(hours=1)
"""How long after the end of a conversion its sweep may start. A finished sweep Job is kept until
the same moment: it is the record that there was a sweep."""

_KILLED: Final = frozenset(
    str(reason)
    for reason in (
        ExitReason.OUT_OF_MEMORY,
        Reason.NODE_LOST,
        Reason.POD_DELETED,
        Reason.JOB_DELETED,
        Reason.EVICTED,
        Reason.PREEMPTED,
        Reason.CONTAINER_KILLED,
    )
)


def left_temporary_file(status: ConversionJobStatus) -> bool:
    """True if the last attempt of an ended conversion was killed, and may have left its file."""
    return status.phase is Phase.FAILED and status.reason in _KILLED


def wants_sweep(conversion: Conversion, children: Children, now: datetime) -> bool:
    """True if the last attempt may have left a temporary file and there was no sweep yet.

    No sweep starts while a Job or pod of the conversion is live: two pods of one conversion never
    run at the same time.
    """
    status, last = conversion.status, last_recorded_attempt(conversion.status)
    if status is None or last is None or conversion.spec is None or conversion.deleting:
        return False
    killed = left_temporary_file(status)
    recent = status.completion_time is not None and now < status.completion_time + SWEEP_WITHIN
    swept = any(job.attempt == SWEEP_ATTEMPT for job in children.jobs)
    return killed and recent and not swept and not children.live


def wanted_sweeps(
    conversions: Iterable[Conversion], children: Mapping[str, Children], now: datetime
) -> tuple[str, ...]:
    """The uids of the conversions that want a sweep, in the order in which they ended.

    An admission pass calls this once, and only if slots are left. It visits every conversion.
    """
    none = Children()
    wanting = (c for c in conversions if wants_sweep(c, children.get(c.key.uid, none), now))
    return tuple(c.key.uid for c in sorted(wanting, key=_ended_at))


def free_for_sweeps(waiting: int, held: int, policy: Policy) -> int:
    """How many sweeps may start: the free slots that no waiting conversion needs."""
    return max(0, policy.max_parallel - held - waiting) if policy.enabled else 0


def until_sweep_deleted(
    job: Job, time_since_end: timedelta, now: datetime, policy: Policy
) -> timedelta:
    """How long until the Job of a sweep is deleted. Zero or negative: delete it now.

    A sweep that does not finish within the start timeout is deleted, which releases its slot. One
    that is suspended holds no slot, and may wait. Another one may start until SWEEP_WITHIN after
    the end of the conversion.
    ``time_since_end`` is the time since the conversion ended.
    """
    if job.live and not job.suspended:
        return timedelta(seconds=policy.start_timeout) - (now - job.started_waiting(now))
    return SWEEP_WITHIN - time_since_end


def _ended_at(conversion: Conversion) -> tuple[datetime, str]:
    ended = conversion.status.completion_time if conversion.status else None
    return ended or conversion.created, conversion.key.uid
