"""Pods that no node has room for: they give up their slot if another conversion could use it.

If nobody waits, the pod stays, so that an autoscaler can add a node for it. The operator may not
watch nodes. So a conversion whose pod was given up tries again after a back-off, and earlier when
there may be more room: a pod of ours has ended, or a setting has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.model import EPOCH, Children, Conversion, Job
from conversion_operator.core.plan import Snapshot
from conversion_operator.core.verdict import NotStarted


def start_timeout(snapshot: Snapshot, job: Job, not_started: NotStarted) -> timedelta:
    """How long the container of this attempt may take to start.

    A Job that somebody has resumed has the usual time: whoever resumes it decides when it runs.
    """
    policy = snapshot.policy
    if not_started.reason != Reason.UNSCHEDULABLE or job.was_suspended:
        return timedelta(seconds=policy.start_timeout)
    if snapshot.slot_wanted:
        return timedelta(seconds=policy.unschedulable_timeout)
    return timedelta(seconds=policy.queue_timeout)


def room_since(
    waiting: Iterable[Conversion],
    children: Mapping[str, Children] | None,
    policy_changed_at: datetime,
) -> datetime:
    """When there was last a change that may have made room for a pod. EPOCH if nobody needs room.

    An admission pass calls this once. It visits the conversions that wait, and every pod if the pod
    of one of them was given up.
    """
    if children is None or not any(map(was_given_up, waiting)):
        return EPOCH
    ends = (pod.converter_end or EPOCH for own in children.values() for pod in own.pods)
    return max((policy_changed_at, *ends))


def one_try_at_a_time(
    startable: Sequence[Conversion], running: Iterable[Conversion]
) -> list[Conversion]:
    """Put those whose pod found no node behind the others, except the one that waited longest.

    All of them together so take one slot from others. Without this, many of them would take turns
    in all slots. While one of ``running`` tries again, all of them are behind the others. An
    admission pass calls this once. It visits the conversions that have not ended.
    """
    given_up = [conversion for conversion in startable if was_given_up(conversion)]
    first = None if any(map(_tries_again, running)) else min(given_up, key=_ended, default=None)
    behind = [conversion for conversion in given_up if conversion is not first]
    ahead = [c for c in startable if c is first or not was_given_up(c)]
    return ahead + behind


def _tries_again(conversion: Conversion) -> bool:
    """True until the container of a conversion whose pod found no node has started."""
    status = conversion.status
    retries = status.retries if status else None
    if status is None or retries is None or not retries.unschedulable:
        return False
    return status.phase is not Phase.RUNNING


def _ended(conversion: Conversion) -> datetime:
    last = last_recorded_attempt(conversion.status)
    return (last and last.completion_time) or EPOCH


def was_given_up(conversion: Conversion, before: datetime | None = None) -> bool:
    """True if the last attempt ended because no node had room, not later than this time."""
    last = last_recorded_attempt(conversion.status)
    if last is None or last.completion_time is None or last.reason != Reason.UNSCHEDULABLE:
        return False
    return before is None or last.completion_time <= before
