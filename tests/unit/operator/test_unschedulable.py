"""Pods without a node: when they give up their slot, and when the next attempt follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase, Retries
from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.children import Children, Job, Suspension
from conversion_operator.core.model import EPOCH, Conversion
from conversion_operator.core.plan import DeleteJob, Plan
from conversion_operator.core.reconcile import decide
from conversion_operator.core.retry import (
    backoff,
    count_ended_attempt,
    count_not_started,
    queue_timeout_exceeded,
)
from conversion_operator.core.verdict import Outcome
from tests.unit.operator.builders import (
    POLICY,
    at,
    children,
    conversion,
    job,
    pod,
    snapshot,
    status,
    step,
    succeeded,
)
from tests.unit.operator.queueing import build_queue, new_queue

STUCK = pod(unschedulable="0/2 nodes are available: 2 Insufficient memory.", node="")
OTHER = "0b3f0d52-7d1c-4a8e-9d0a-000000000002"
RESUMED = Suspension(resumed_at=at(0))


def gives_up(plan: Plan) -> bool:
    return any(isinstance(action, DeleteJob) for action in plan.actions)


@pytest.mark.parametrize(
    ("own_job", "now", "wanted", "given_up"),
    [
        (job(), 29, True, False),
        (job(), 30, True, True),
        (job(), 30, False, False),
        (job(), 10_000, False, False),
        (job(), 10_000, True, True),
        (job(suspension=RESUMED), 31, True, False),
        (job(suspension=RESUMED), 301, False, True),
    ],
    ids=[
        "not yet",
        "another one could use the slot",
        "nobody waits",
        "nobody waits for long",
        "somebody waits at last",
        "somebody has resumed the Job",
        "a resumed Job has the usual time",
    ],
)
def test_when_a_pod_without_a_node_gives_up_its_slot(
    own_job: Job, now: float, wanted: bool, given_up: bool
) -> None:
    plan = decide(snapshot(conversion(), children(own_job, STUCK), now, should_yield_slot=wanted))
    assert gives_up(plan) is given_up


def test_other_causes_keep_the_start_timeout() -> None:
    for stuck in (pod(waiting_reason="ErrImagePull"), pod()):
        plan = decide(snapshot(conversion(), children(job(), stuck), 200, should_yield_slot=True))
        assert not gives_up(plan)


def test_a_pod_that_stays_ends_with_the_queue_timeout() -> None:
    plan, later = step(conversion(), children(job(), STUCK), now=POLICY.queue_timeout)
    assert gives_up(plan)
    assert (status(later).phase, status(later).reason) == (Phase.FAILED, Reason.QUEUE_TIMEOUT)


def given_up_at_30() -> Conversion:
    _, later = step(conversion(), children(job(), STUCK), now=30, should_yield_slot=True)
    assert status(later).retries == Retries(unschedulable=1)
    assert (status(later).phase, status(later).reason) == (Phase.QUEUED, Reason.UNSCHEDULABLE)
    return later


def test_the_back_off_doubles_to_five_minutes() -> None:
    waits = [backoff(Retries(unschedulable=n)).total_seconds() for n in range(1, 7)]
    assert waits == [30, 60, 120, 240, 300, 300]
    ended = count_ended_attempt(Retries(unschedulable=3), Outcome.DISRUPTION)
    assert ended.unschedulable is None


def test_the_attempts_and_their_back_offs_add_up_to_the_queue_timeout() -> None:
    policy = replace(POLICY, queue_timeout=30 + 30 + 30 + 60)
    assert not queue_timeout_exceeded(Retries(unschedulable=1), policy)
    assert queue_timeout_exceeded(Retries(unschedulable=2), policy)


@pytest.mark.parametrize(
    ("ended_at", "changed_at", "order"),
    [
        (None, EPOCH, (OTHER,)),
        (20, EPOCH, (OTHER,)),
        (31, EPOCH, (OTHER, "own")),
        (None, at(20), (OTHER,)),
        (None, at(31), (OTHER, "own")),
    ],
    ids=["nothing new", "a pod had ended before", "a pod has ended", "changed before", "changed"],
)
def test_it_starts_early_if_there_may_be_more_room_and_after_all_others(
    ended_at: float | None, changed_at: datetime, order: tuple[str, ...]
) -> None:
    own = given_up_at_30()
    waiting = conversion(OTHER, created=at(25), outputFile="output/b.mp4")
    parts: dict[str, Children] = {}
    if ended_at is not None:
        done = succeeded()
        assert done.terminated is not None
        end = replace(done.terminated, finished_at=at(ended_at))
        parts["gone"] = children(replace(done, terminated=end))
    found = build_queue(
        [own, waiting], parts, Obstacles(policy_changed_at=changed_at), at(40), POLICY
    )
    assert found.order == tuple(own.key.uid if uid == "own" else uid for uid in order)
    later = build_queue([own, waiting], parts, Obstacles(), at(60), POLICY)
    assert later.order == (own.key.uid, OTHER)


def test_it_does_not_start_early_while_something_else_blocks_it() -> None:
    own, changed = given_up_at_30(), at(31)
    paused = replace(POLICY, enabled=False)
    found = build_queue([own], {}, Obstacles(policy_changed_at=changed), at(40), paused)
    assert not found.order
    assert found.next_retry_at == at(30) + timedelta(seconds=30)


def test_a_changed_setting_ends_the_back_off() -> None:
    assert backoff(count_not_started(Retries(unschedulable=5), setting_changed=True)) == timedelta(
        seconds=1
    )


def named(subject: Conversion, number: int, ended: float = 30) -> Conversion:
    key = replace(subject.key, uid=f"uid-{number}", name=f"c{number}")
    made = conversion(outputFile=f"out/{number}.mp4")
    stored = subject.status
    if stored and stored.attempts:
        last = stored.attempts[-1].model_copy(update={"completion_time": at(ended)})
        stored = stored.model_copy(update={"attempts": [last]})
    return replace(made, key=key, created=subject.created, status=stored)


def test_many_that_no_node_has_room_for_take_one_slot_from_others() -> None:
    """The one that waited longest has its own place. The others are behind all that may fit."""
    stuck = [named(given_up_at_30(), n, ended=30 - n) for n in range(3)]
    fits = replace(named(conversion(), 9), created=at(1))
    order = build_queue([*stuck, fits], {}, Obstacles(), at(600), POLICY).order
    assert order == ("uid-2", "uid-9", "uid-0", "uid-1")
    trying = {"uid-2": children(job(2, "uid-2"))}
    order = build_queue([*stuck, fits], trying, Obstacles(), at(600), POLICY).order
    assert order == ("uid-9", "uid-0", "uid-1")


def test_no_more_pods_give_up_their_slots_than_are_wanted() -> None:
    """The last ones in the queue do. The others keep their pods, so that nodes are added."""
    subjects = [replace(named(conversion(), n), created=at(n)) for n in range(4)]
    parts = {c.key.uid: children(job(uid=c.key.uid), STUCK) for c in subjects[:3]}
    parts["uid-3"] = children(job(uid="uid-3"), pod(node="n1"))

    def yielding(wanted: int) -> frozenset[str]:
        others = [named(conversion(), 10 + n) for n in range(wanted)]
        conversions = {c.key.uid: c for c in (*subjects, *others)}
        queue = new_queue(conversions, parts, POLICY)
        return AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(4).yielding

    assert yielding(0) == frozenset()
    assert yielding(1) == {"uid-2"}
    assert yielding(9) == {"uid-0", "uid-1", "uid-2"}
