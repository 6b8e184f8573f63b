"""Which slots a conversion may take, and in which queue a slot counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.queues import StopPolicy
from conversion_operator.controller.family import Family
from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.capacity import Capacity
from conversion_operator.core.children import Children
from conversion_operator.core.conversion_queues import ConversionQueues, QueueLimits
from conversion_operator.core.identity import Evidence
from conversion_operator.core.work_class import WorkClass
from tests.unit.operator.builders import KEY, POLICY, UID, at, children, conversion, job, running
from tests.unit.operator.queueing import new_queue

VIDEO, IMAGE = WorkClass("q", False), WorkClass("q", True)
OTHER = WorkClass("default", False)


def capacity(
    held: dict[tuple[str, WorkClass], int], limit: int = 9, unseen: int = 0, **limits: Any
) -> Capacity:
    queues = ConversionQueues(limits={"q": QueueLimits(**limits)})
    policy = replace(POLICY, max_parallel=limit, queues=queues)
    return Capacity(policy, sum(held.values()) + unseen, held)


@pytest.mark.parametrize(
    ("made", "allowed"),
    [
        (capacity({}), (VIDEO, IMAGE, OTHER)),
        (capacity({("n", OTHER): 9}), ()),
        (capacity({("n", VIDEO): 2}, max_parallel=2), (OTHER,)),
        (capacity({("m", VIDEO): 2}, namespaces={"n": 1}), (VIDEO, IMAGE, OTHER)),
        (capacity({("n", VIDEO): 1}, namespaces={"n": 1}), (OTHER,)),
        (capacity({("n", VIDEO): 2}, 3, reserved=1), (IMAGE,)),
        (capacity({("n", VIDEO): 1, ("n", IMAGE): 1}, 3, reserved=1), (VIDEO, IMAGE, OTHER)),
        (capacity({}, 1, reserved=1), (VIDEO, IMAGE, OTHER)),
        (capacity({("n", VIDEO): 1}, 2, reserved=1, max_parallel=1), (OTHER,)),
        (capacity({}, stop=StopPolicy.HOLD), (OTHER,)),
        (capacity({}, 3, reserved=3, stop=StopPolicy.HOLD), (OTHER,)),
        (capacity({}, unseen=2, max_parallel=2), (OTHER,)),
    ],
    ids=[
        "all free",
        "no slot",
        "the queue is full",
        "another namespace is at its limit",
        "the namespace is at its limit",
        "the last slot is kept",
        "the reservation is used",
        "one video may run all the same",
        "a full queue keeps no slot",
        "held",
        "a held queue keeps no slot",
        "slots that are not seen",
    ],
)
def test_what_may_start(made: Capacity, allowed: tuple[WorkClass, ...]) -> None:
    assert tuple(w for w in (VIDEO, IMAGE, OTHER) if made.allows("n", w)) == allowed


def test_a_slot_counts_in_the_queue_of_its_pod_although_the_conversion_is_gone() -> None:
    parts = children(job(queue="q"), running(queue="q"))
    waiting = replace(conversion("uid-2", outputFile="b.mp4"), queue="q")
    queues = ConversionQueues(limits={"q": QueueLimits(max_parallel=1)})
    policy = replace(POLICY, queues=queues)
    queue = new_queue({"uid-2": waiting}, {UID: parts}, policy)
    assert AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(1).start == ()
    queue = new_queue({"uid-2": waiting}, {UID: Children()}, policy)
    assert AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(0).start == ("uid-2",)


def test_a_reservation_counts_in_the_queue_that_admitted_it() -> None:
    moved = replace(conversion(), queue="other")
    queue = new_queue({UID: moved}, {}, POLICY, {UID: "my-network"})
    assert queue.slots_by_class() == {("my-network", WorkClass("other", False)): 1}
    queue.reserved_conversion_queues = {UID: "q"}
    assert queue.slots_by_class() == {("my-network", VIDEO): 1}


def test_a_later_version_of_a_job_does_not_change_its_queue() -> None:
    """A tenant could otherwise move its slot to the account of another queue."""
    family = Family(Evidence("my-network", UID, exists=True, key=KEY))
    family.take(job(queue="q"))
    family.take(job(queue="other", version=2))
    assert [each.queue for each in family.children.jobs] == ["q"]
