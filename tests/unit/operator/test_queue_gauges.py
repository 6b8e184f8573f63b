"""The gauges of the ConversionQueues: what tenants write adds no labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
from prometheus_client import CollectorRegistry

from conversion_operator.api.queues import NamespaceCounts, StopPolicy
from conversion_operator.controller import queue_gauges
from conversion_operator.controller.queue_gauges import QueueGauges, QueueNumbers, queue_numbers
from conversion_operator.core.admission import Obstacles
from conversion_operator.core.conversion_queues import ConversionQueues, QueueLimits
from conversion_operator.core.model import Policy
from conversion_operator.core.namespace_queue import NamespaceQueue
from conversion_operator.core.queue_status import MISSING, count, queues_with_room
from tests.unit.operator.builders import at, children, conversion, job, running
from tests.unit.operator.queueing import build_queue

LIMITS = {
    "bulk": QueueLimits(max_parallel=2),
    "wide": QueueLimits(max_parallel=99),
    "held": QueueLimits(stop=StopPolicy.HOLD),
}
POLICY = Policy(max_parallel=5, queues=ConversionQueues(LIMITS))


def counts(queued: int = 0, running: int = 0, blocked: int = 0) -> dict[str, NamespaceCounts]:
    name = "my-network"
    return {name: NamespaceCounts(name=name, queued=queued, running=running, blocked=blocked)}


def test_each_queue_has_its_numbers_and_its_limit() -> None:
    found = queue_numbers({"bulk": counts(3, 2, 1), "held": counts(4)}, LIMITS, POLICY)
    assert found == {
        "default": QueueNumbers(limit=5, may_start=True),
        "bulk": QueueNumbers(3, 1, 2, 2, may_start=True),
        "wide": QueueNumbers(limit=5, may_start=True),
        "held": QueueNumbers(4, limit=5, may_start=False),
    }


def test_nothing_may_start_while_the_operator_is_paused() -> None:
    paused = Policy(max_parallel=5, enabled=False, queues=POLICY.queues)
    assert not any(each.may_start for each in queue_numbers({}, LIMITS, paused).values())


def test_the_queues_that_a_free_slot_is_for_are_told() -> None:
    found = queue_numbers({"bulk": counts(1)}, LIMITS, POLICY, with_room=("bulk",))
    assert [name for name, each in found.items() if each.has_room] == ["bulk"]


@pytest.mark.parametrize(("reserved", "room"), [(0, {"default"}), (1, set())])
def test_a_slot_that_is_kept_for_light_conversions_is_no_room_for_a_film(
    reserved: int, room: set[str]
) -> None:
    """An alert on free slots alone would fire in this healthy configuration."""
    limits = ConversionQueues({"default": QueueLimits(reserved=reserved)})
    policy = Policy(max_parallel=2, queues=limits)
    films = [conversion(name, outputFile=f"output/{name}.mp4") for name in ("runs", "waits")]
    runs = {"runs": children(job(uid="runs"), running(uid="runs"))}
    built = build_queue(films, runs, Obstacles(), at(5), policy)
    assert queues_with_room(built.queue, policy, 1) == room
    assert queues_with_room(built.queue, policy, 2) == set()


def test_nothing_may_start_while_the_operator_starts_nothing_at_all() -> None:
    found = queue_numbers({}, LIMITS, POLICY, blocked=True)
    assert not any(each.may_start for each in found.values())


def test_queues_that_do_not_exist_have_one_label() -> None:
    asked = {f"any-{number}": counts(blocked=2) for number in range(1000)}
    found = queue_numbers(asked, LIMITS, POLICY)
    assert found.pop(MISSING) == QueueNumbers(blocked=2000)
    assert set(found) == {"default", *LIMITS}


class Uncounted(dict[str, Any]):
    """Names that users have chosen: too many to visit each."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("visits each name")

    items = values = keys = __iter__


def test_the_number_of_names_that_users_choose_costs_nothing() -> None:
    queue, one = SimpleNamespace(), NamespaceQueue(lambda *_: ())
    one.waiting = Uncounted({f"any-{number}": [number] for number in range(1000)} | {"bulk": [1]})
    one.waiting_in_all = 1001
    queue.namespaces, queue.slots_by_class = {"my-network": one}, dict
    assert count(cast("Any", queue), LIMITS) == {
        "bulk": counts(blocked=1),
        MISSING: counts(blocked=1000),
    }


def test_the_oldest_queues_have_labels_and_the_others_one() -> None:
    limits = {f"queue-{number:03}": QueueLimits(max_parallel=1) for number in range(150)}
    policy = Policy(max_parallel=5, queues=ConversionQueues(limits))
    found = queue_numbers({name: counts(1) for name in limits}, limits, policy)
    others = found.pop(queue_gauges.OTHERS)
    assert list(found) == ["default", *list(limits)[: queue_gauges.MOST_QUEUES - 1]]
    assert others == QueueNumbers(queued=51, limit=51, may_start=True)


def test_the_gauges_show_the_numbers_as_they_are_now() -> None:
    registry = CollectorRegistry()
    gauges = QueueGauges(registry)
    gauges.numbers = {"bulk": QueueNumbers(3, 1, 2, 4, may_start=True)}

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"converter_queue_{name}", {"queue": "bulk"})

    names = ("queued", "blocked", "running", "limit", "may_start")
    assert [value(name) for name in names] == [3, 1, 2, 4, 1]
    gauges.numbers = {}
    assert [value(name) for name in names] == [None] * 5
