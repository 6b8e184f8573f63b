"""The queue that events keep up to date: what an event costs, and what is told when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.controller.position_refresh import PositionRefresh
from conversion_operator.controller.store import Store
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.model import Children, Conversion
from conversion_operator.core.namespace_queue import NamespaceQueue
from conversion_operator.core.queue import Queue
from tests.unit.operator.builders import POLICY, at, children, conversion, job
from tests.unit.operator.queueing import new_queue

MANY = 3_000


def waiting(count: int = MANY, **fields: str) -> dict[str, Conversion]:
    made = {}
    for number in range(count):
        paths: dict[str, Any] = {
            "inputFile": f"in/{number}",
            "outputFile": f"out/{number}",
        } | fields
        made[f"u{number}"] = conversion(f"u{number}", created=at(number), **paths)
    return made


class Visits:
    """Counts how many conversions get a new place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        settle = NamespaceQueue._settle

        def counted(queue: NamespaceQueue, uid: str, before: Any = None) -> None:
            self.count += 1
            settle(queue, uid, before)

        monkeypatch.setattr(NamespaceQueue, "_settle", counted)


def run_pass(queue: Queue, held: int = 0) -> tuple[str, ...]:
    queue.update()
    start = AdmissionPass(queue, at(5000), Obstacles(), queue.namespaces).select(held).start
    queue.take_changed()
    return start


def test_a_start_visits_only_the_conversions_that_start(monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: dict[str, str] = {}
    queue = new_queue(waiting(), {}, POLICY, reserved)
    run_pass(queue, 3)
    visits = Visits(monkeypatch)
    started = run_pass(queue)
    for uid in started:
        reserved[uid] = "my-network"
        queue.observe(uid)
    assert run_pass(queue, queue.slots_held()) == ()
    assert (started, visits.count) == (("u0", "u1", "u2"), 3)


def test_the_end_of_one_writer_visits_the_next_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """All write the same file. Each names the one directly ahead of it."""
    conversions = waiting(outputFile="out/a.mp4")
    queue = new_queue(conversions, {}, POLICY)
    assert run_pass(queue) == ("u0",)
    block = queue.block(conversions["u9"].key)
    assert block is not None
    assert (block.reason, block.message.split()[1]) == (
        Reason.PATH_BUSY,
        conversions["u8"].key.name,
    )
    visits = Visits(monkeypatch)
    del conversions["u0"]
    queue.observe("u0")
    assert run_pass(queue) == ("u1",)
    assert visits.count <= 2


def test_readers_of_one_file_do_not_visit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    conversions, parts = waiting(inputFile="in/film.mov"), dict[str, Children]()
    queue = new_queue(conversions, parts, POLICY)
    run_pass(queue, 3)
    visits = Visits(monkeypatch)
    parts["u0"] = children(job(uid="u0"))
    queue.observe("u0")
    run_pass(queue, 3)
    assert visits.count <= 2


def test_what_a_pass_has_not_seen_yet_has_no_position_and_no_block() -> None:
    """Otherwise a status would be written before a start, which may follow at once."""
    conversions = waiting(2, outputFile="out/a.mp4")
    queue = new_queue(conversions, {}, POLICY)
    second = conversions["u1"].key
    assert (queue.position(second), queue.block(second)) == (None, None)
    run_pass(queue)
    assert queue.position(second) == 2
    assert queue.block(second) is not None
    queue.observe("u1")
    assert (queue.position(second), queue.block(second)) == (None, None)


def test_only_those_with_news_are_told() -> None:
    conversions = waiting(5)
    queue = new_queue(conversions, {}, POLICY)
    AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(3)
    assert sorted(queue.take_changed()) == sorted(conversions)
    del conversions["u0"]
    queue.observe("u0")
    queue.update()
    AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(3)
    assert queue.take_changed() == []
    paused = Obstacles(namespaces_without_claim=frozenset({"my-network"}))
    AdmissionPass(queue, at(9), paused, queue.namespaces).select(3)
    assert sorted(queue.take_changed()) == ["u1", "u2", "u3", "u4"]


def test_a_repair_finds_a_change_that_nobody_reported() -> None:
    conversions = waiting(3)
    queue = new_queue(conversions, {}, POLICY)
    assert queue.repair([*conversions]) == []
    conversions["u1"] = replace(conversions["u1"], cancel=True)
    assert queue.repair([*conversions]) == ["u1"]
    assert run_pass(queue) == ("u0", "u2")


@pytest.fixture
def positions() -> tuple[PositionRefresh, WorkQueue, Store, Queue]:
    store, work = Store(lambda _: None), WorkQueue(lambda: 0.0)
    for subject in waiting(400).values():
        status = ConversionJobStatus(
            phase=Phase.QUEUED, reason="x", message="", conditions=[], queue_position=9999
        )
        store.update(replace(subject, status=status))
    queue = new_queue({c.key.uid: c for c in store.conversions()}, {}, POLICY)
    run_pass(queue, 3)
    return PositionRefresh(queue, store, work, lambda: True), work, store, queue


async def test_the_lowest_positions_are_refreshed_first_and_a_few_at_a_time(
    positions: tuple[PositionRefresh, WorkQueue, Store, Queue],
) -> None:
    refresh, work, _, _ = positions
    refresh._choose()
    assert [await work.get() for _ in range(len(work))] == ["u0", "u1", "u2", "u3", "u4"]
    assert refresh.take("u0")
    assert not refresh.take("u0")
    refresh._choose()
    assert [await work.get() for _ in range(len(work))] == ["u5", "u6", "u7", "u8", "u9"]


async def test_work_with_low_priority_waits_for_other_work() -> None:
    work = WorkQueue(lambda: 0.0)
    work.add("position", low_priority=True)
    work.add("both", low_priority=True)
    work.add("end")
    work.add("both")
    work.add("end", low_priority=True)
    assert (work.urgent, len(work)) == (2, 3)
    assert [await work.get() for _ in range(3)] == ["end", "both", "position"]
    work.add("end", low_priority=True)
    work.add("end")
    work.add("position", low_priority=True)
    work.done("end")
    work.done("position")
    assert (work.urgent, len(work)) == (1, 2)
