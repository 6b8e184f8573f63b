"""Decides what to do about one conversion: ``decide(snapshot) -> Plan``.

Decisions are level-based: the same snapshot gives the same plan, whichever event led to it. The
caller carries out the actions, then makes at most one status write, then records Events. Nothing
here starts a Job: :mod:`conversion_operator.core.admission` decides that over all conversions.
"""

from __future__ import annotations

from dataclasses import replace

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import awaits_attempt, current_attempt
from conversion_operator.core.cleanup import clean_up
from conversion_operator.core.ending import cancel, end_attempt
from conversion_operator.core.model import Children, Conversion
from conversion_operator.core.plan import Plan, Snapshot, delete_pods, stop_jobs
from conversion_operator.core.running import run, start, wait_for_node
from conversion_operator.core.transitions import fit, owe_callback
from conversion_operator.core.verdict import Active, Ended, Unreachable, judge
from conversion_operator.core.waiting import end_without_attempt, wait


def decide(snapshot: Snapshot) -> Plan:
    """The plan for one conversion."""
    conversion = snapshot.conversion
    if conversion.finished:
        return clean_up(snapshot)
    if conversion.deleting:
        return Plan()
    plan = _decide_unfinished(snapshot)
    if plan.status is None:
        return plan
    url = callback_url(conversion, snapshot.policy.callback_url)
    return replace(plan, status=fit(owe_callback(plan.status, url)))


def decide_ownerless(children: Children) -> Plan:
    """The plan for the children of a conversion that no longer exists.

    Kubernetes garbage-collects its Jobs and their pods. It does not collect a pod whose owner
    reference somebody removed.
    """
    return Plan(delete_pods(children.orphan_pods))


def callback_url(conversion: Conversion, default: str) -> str:
    """The URL to call when the conversion ends, "" for no callback."""
    given = conversion.spec.notify if conversion.spec else None
    return given.url if given else default


def _decide_unfinished(snapshot: Snapshot) -> Plan:
    conversion, children = snapshot.conversion, snapshot.children
    if conversion.spec is None:
        return end_without_attempt(snapshot, Phase.FAILED, Reason.INVALID_SPEC, conversion.invalid)
    if awaits_attempt(conversion, children):
        return wait(snapshot)
    number = current_attempt(conversion, children)
    plan = _follow_attempt(snapshot, children.of_attempt(number))
    return replace(plan, actions=stop_jobs(children.orphan_jobs(number)) + plan.actions)


def _follow_attempt(snapshot: Snapshot, attempt: Children) -> Plan:
    """The plan for the attempt in progress. ``attempt`` has its Job and pods only."""
    verdict = judge(attempt, snapshot.warning, snapshot.now)
    match verdict:
        case Ended():
            return end_attempt(snapshot, attempt, verdict)
        case _ if snapshot.conversion.cancelled:
            return cancel(snapshot, attempt)
        case Active():
            return run(snapshot, attempt, verdict)
        case Unreachable():
            return wait_for_node(snapshot, attempt, verdict)
        case _:
            return start(snapshot, attempt, verdict)
