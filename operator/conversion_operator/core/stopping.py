"""Plans that stop an attempt, and put its conversion back into the queue.

Nothing is counted for such an attempt. The status says why it stops, before its end is seen: then
the reason is known too if the user resumes the conversion meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.holds import SUSPENDED
from conversion_operator.core.model import Children
from conversion_operator.core.plan import (
    STOP_RECHECK_INTERVAL,
    Block,
    Plan,
    Snapshot,
    delete_live_jobs,
    delete_pods,
)
from conversion_operator.core.retry import backoff
from conversion_operator.core.transitions import Transition
from conversion_operator.core.verdict import Ended

_STOPPING: Final[Mapping[str, Block]] = {Reason.SUSPENDED: SUSPENDED}


def wants_stop(snapshot: Snapshot) -> Block | None:
    """Why the attempt in progress must stop. None if it may run on."""
    return SUSPENDED if snapshot.conversion.suspend else None


def was_stopped(snapshot: Snapshot) -> Block | None:
    """Why the operator has stopped, or is to stop, the attempt that has ended. None if neither.

    The status says so from when the attempt is stopped until its end is recorded. Before and after
    that, the same reason says why the conversion waits.
    """
    status, last = snapshot.status, last_recorded_attempt(snapshot.status)
    stopping = status if last is not None and last.completion_time is None else None
    return wants_stop(snapshot) or (_STOPPING.get(stopping.reason) if stopping else None)


def plan_stop(snapshot: Snapshot, attempt_children: Children, why: Block) -> Plan:
    """The plan that stops the attempt. Its end is recorded once its pod has terminated."""
    orphans = (pod for pod in snapshot.children.orphan_pods if pod.live)
    actions = (*delete_live_jobs(attempt_children.jobs), *delete_pods(orphans))
    if snapshot.status and snapshot.status.reason == why.reason:
        return Plan(actions, requeue_after=STOP_RECHECK_INTERVAL)
    stopping = Transition.within_phase(snapshot, why.reason, f"stopping: {why.message}")
    stopping = stopping.with_attempt(attempt_children)
    return Plan(actions, stopping.status, STOP_RECHECK_INTERVAL)


def plan_after_stop(snapshot: Snapshot, attempt_children: Children, end: Ended, why: Block) -> Plan:
    """The plan for an attempt that the operator has stopped. No counter changes."""
    queued = Transition.to(snapshot, Phase.QUEUED, why.reason, why.message)
    queued = queued.with_attempt(attempt_children).with_result(end)
    queued = queued.with_attempt_closed(why.reason, why.message)
    return Plan(status=queued.status, requeue_after=backoff(snapshot.retries))
