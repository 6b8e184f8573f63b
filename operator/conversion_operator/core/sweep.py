"""Sweeping: one short Job after a last attempt that died without removing its temporary file.

It carries its conversion's labels with attempt 0, so that it takes a slot like any other, and is
never taken for an attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.model import Children, Conversion, Policy
from conversion_operator.core.plan import Context, DeleteJob
from conversion_operator.core.retry import last_attempt
from media_converter.contract import ExitReason

ATTEMPT: Final = 0

WITHIN: Final = timedelta(hours=1)
"""How long after the end a sweep may start. Its Job stays as long: it says that there was one."""

_DIED: Final = frozenset(
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


def wants_sweep(conversion: Conversion, children: Children, now: datetime) -> bool:
    """True if the last attempt may have left a file, and nobody has looked after it yet.

    While anything of the conversion lives there is no sweep: two pods of one conversion never run.
    """
    status, last = conversion.status, last_attempt(conversion.status)
    if status is None or last is None or conversion.spec is None or conversion.deleting:
        return False
    failed = status.phase is Phase.FAILED and status.reason in _DIED
    recent = status.completion_time is not None and now < status.completion_time + WITHIN
    swept = any(job.attempt == ATTEMPT for job in children.jobs)
    return failed and recent and not swept and not children.live


def sweeps(
    conversions: Iterable[Conversion], children: Mapping[str, Children], now: datetime
) -> tuple[str, ...]:
    """The uids that want a sweep, in the order of their ends."""
    none = Children()
    wanting = (c for c in conversions if wants_sweep(c, children.get(c.key.uid, none), now))
    return tuple(c.key.uid for c in sorted(wanting, key=_ended_at))


def clear_sweeps(
    children: Children, since: timedelta, context: Context
) -> tuple[Children, tuple[DeleteJob, ...], tuple[timedelta, ...]]:
    """The children without the sweep, what is to be deleted of it, and when to look again.

    ``since`` is how long ago the conversion ended. One that does not get done within the start
    timeout gives its slot back; it may be tried again until the hour is over.
    """
    limit = timedelta(seconds=context.policy.start_timeout)
    actions: list[DeleteJob] = []
    waits: list[timedelta] = []
    for job in children.jobs:
        if job.attempt != ATTEMPT or job.gone or job.deleting:
            continue
        left = limit - (context.now - job.created) if job.live else WITHIN - since
        if left <= timedelta(0):
            actions.append(DeleteJob(job, foreground=job.live))
        else:
            waits.append(left)
    others = replace(
        children,
        jobs=tuple(job for job in children.jobs if job.attempt != ATTEMPT),
        pods=tuple(
            pod
            for pod in children.pods
            if pod.attempt != ATTEMPT or _is_loose(pod.job_name, children)
        ),
    )
    return others, tuple(actions), tuple(waits)


def may_sweep(waiting: int, held: int, policy: Policy) -> int:
    """How many sweeps may start: as many as there are slots that no conversion waits for."""
    return max(0, policy.max_parallel - held - waiting) if policy.enabled else 0


def _is_loose(job_name: str, children: Children) -> bool:
    return all(job.name != job_name or job.gone for job in children.jobs)


def _ended_at(conversion: Conversion) -> tuple[datetime, str]:
    ended = conversion.status.completion_time if conversion.status else None
    return ended or conversion.created, conversion.key.uid
