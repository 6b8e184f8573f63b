"""Pods that no node has room for: they give up their slot if another conversion could use it.

If nobody waits, the pod stays, so that an autoscaler can add a node for it. The operator has no
permission to watch nodes. So a conversion whose pod was given up tries again after a back-off, and
earlier when a node may have more room: a pod of ours has ended, or a setting has changed.
"""

from __future__ import annotations

from datetime import timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.children import Job
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import Snapshot
from conversion_operator.core.verdict import NotStarted


def time_allowed_to_start(snapshot: Snapshot, job: Job, not_started: NotStarted) -> timedelta:
    """How long the container of this attempt may take to start.

    The operator never makes a Job that was suspended yield its slot, because Kueue or the user
    decides when it runs. So only CONVERTER_START_TIMEOUT_SECONDS applies to it.
    """
    policy = snapshot.policy
    if not_started.reason != Reason.UNSCHEDULABLE or job.was_suspended:
        return timedelta(seconds=policy.start_timeout)
    if snapshot.should_yield_slot:
        return timedelta(seconds=policy.unschedulable_timeout)
    return timedelta(seconds=policy.queue_timeout)


def retries_after_giving_up(conversion: Conversion) -> bool:
    """True if an earlier attempt gave up its slot, and no container has started since."""
    status = conversion.status
    retries = status.retries if status else None
    if status is None or retries is None or not retries.unschedulable:
        return False
    return status.phase is not Phase.RUNNING


def gave_up_slot(conversion: Conversion) -> bool:
    """True if the last attempt gave up its slot, because no node had room for its pod."""
    last = last_recorded_attempt(conversion.status)
    return bool(last and last.completion_time and last.reason == Reason.UNSCHEDULABLE)
