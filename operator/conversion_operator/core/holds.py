"""Why one conversion may not go on by itself, whatever the queue and the settings say.

A conversion that another release of the operator has begun, or that uses what this release does not
know, waits for an operator that knows more. Nothing is started, ended or deleted meanwhile.
"""

from __future__ import annotations

from conversion_operator.api.reasons import Reason
from conversion_operator.core.model import Children, Conversion
from conversion_operator.core.plan import (
    STOP_RECHECK_INTERVAL,
    Block,
    Plan,
    delete_live_jobs,
    delete_pods,
)


def hold(conversion: Conversion) -> Block | None:
    """Why the next attempt of this conversion waits. None if nothing in the object says so."""
    if conversion.unsupported:
        message = f"{conversion.unsupported}; upgrade the operator"
        return Block(Reason.UNSUPPORTED_FIELD, message)
    return None


def plan_unreadable(conversion: Conversion, children: Children) -> Plan:
    """The plan for a conversion whose status cannot be read: leave it alone.

    It may have begun, and its attempts are not known. If somebody cancels it, its Jobs and pods are
    stopped. An operator that can read the status then writes the end.
    """
    if not conversion.cancel_requested:
        return Plan()
    orphans = delete_pods(pod for pod in children.orphan_pods if pod.live)
    actions = delete_live_jobs(children.jobs) + orphans
    return Plan(actions, requeue_after=STOP_RECHECK_INTERVAL if actions else None)
