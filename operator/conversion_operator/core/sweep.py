"""The sweep policy: one short Job removes the temporary file that a killed attempt left behind.

A sweep is not an attempt. Its Job carries the uid of the conversion, so it takes a slot like any
other Job.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.children import Children, Job
from conversion_operator.core.model import Conversion, Policy
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


def may_want_sweep(conversion: Conversion, children: Children) -> bool:
    """True if the last attempt may have left a temporary file and there was no sweep yet.

    No sweep starts while a Job or pod of the conversion is live: two pods of one conversion never
    run at the same time.
    """
    status, last = conversion.status, last_recorded_attempt(conversion.status)
    if status is None or last is None or conversion.spec is None or conversion.deleting:
        return False
    if not left_temporary_file(status) or conversion.dry_run:
        return False
    swept = any(job.attempt == SWEEP_ATTEMPT for job in children.jobs)
    return status.completion_time is not None and not swept and not children.live


def wants_sweep(conversion: Conversion, children: Children, now: datetime) -> bool:
    """True if a sweep of the conversion may start now."""
    ended = conversion.status.completion_time if conversion.status else None
    recent = ended is not None and now < ended + SWEEP_WITHIN
    return recent and may_want_sweep(conversion, children)


def until_sweep_deleted(
    job: Job, time_since_end: timedelta, now: datetime, policy: Policy
) -> timedelta:
    """How long until the Job of a sweep is deleted. Zero or negative: delete it now.

    A sweep that does not finish within the start timeout is deleted, which releases its slot. A
    suspended sweep holds no slot, and is kept until SWEEP_WITHIN after the end of the conversion.
    ``time_since_end`` is the time since the conversion ended.
    """
    if job.live and not job.suspended:
        return timedelta(seconds=policy.start_timeout) - (now - job.started_waiting(now))
    return SWEEP_WITHIN - time_since_end
