"""The queue that events keep up to date: what an event costs, and what is told when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Attempt, Condition, ConversionJobStatus, Phase
from conversion_operator.controller.queued_statuses import REASONS_WRITTEN, QueuedStatuses
from conversion_operator.controller.store import Store
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion
from conversion_operator.core.namespace_queue import NamespaceQueue
from conversion_operator.core.queue import Queue
from conversion_operator.core.standing import Standing, find_standing
from tests.unit.operator.builders import POLICY, at, children, conversion, ended, job, pod, step
from tests.unit.operator.queueing import new_queue

MANY = 3_000
NOW = at(5000)


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
    queue.update(NOW)
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
        queue.note_change(uid)
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
    queue.note_change("u0")
    assert run_pass(queue) == ("u1",)
    assert visits.count <= 2


def test_a_mark_without_a_change_finds_no_standing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    conversions, reserved = waiting(2), dict[str, str]()
    queue = new_queue(conversions, {}, POLICY, reserved)
    run_pass(queue, 3)
    found: list[str] = []

    def counted(uid: str, *state: Any) -> Standing:
        found.append(uid)
        return find_standing(uid, *state)

    monkeypatch.setattr("conversion_operator.core.queue.find_standing", counted)
    queue.note_change("u0")
    assert (queue.update(NOW), found) == (False, [])
    reserved["u0"] = "my-network"
    conversions["u1"] = replace(conversions["u1"], cancel=True)
    queue.note_change("u0")
    queue.note_change("u1")
    assert (queue.update(NOW), found) == (True, ["u0", "u1"])
    queue.use_policy(replace(POLICY, enabled=False), ["u1"])
    queue.update(NOW)
    assert found == ["u0", "u1", "u1"]


def test_readers_of_one_file_do_not_visit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    conversions, parts = waiting(inputFile="in/film.mov"), dict[str, Children]()
    queue = new_queue(conversions, parts, POLICY)
    run_pass(queue, 3)
    visits = Visits(monkeypatch)
    parts["u0"] = children(job(uid="u0"))
    queue.note_change("u0")
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
    queue.note_change("u1")
    assert (queue.position(second), queue.block(second)) == (None, None)


def test_only_those_with_news_are_told() -> None:
    conversions = waiting(5)
    queue = new_queue(conversions, {}, POLICY)
    AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(3)
    assert sorted(queue.take_changed()) == sorted(conversions)
    del conversions["u0"]
    queue.note_change("u0")
    queue.update(NOW)
    AdmissionPass(queue, at(9), Obstacles(), queue.namespaces).select(3)
    assert queue.take_changed() == []
    paused = Obstacles(namespaces_without_claim=frozenset({"my-network"}))
    AdmissionPass(queue, at(9), paused, queue.namespaces).select(3)
    assert sorted(queue.take_changed()) == ["u1", "u2", "u3", "u4"]


def test_a_repair_finds_a_change_that_nobody_reported() -> None:
    conversions = waiting(3)
    queue = new_queue(conversions, {}, POLICY)
    assert queue.repair([*conversions], NOW) == []
    conversions["u1"] = replace(conversions["u1"], cancel=True)
    assert queue.repair([*conversions], NOW) == ["u1"]
    assert run_pass(queue) == ("u0", "u2")


@pytest.fixture
def positions() -> tuple[QueuedStatuses, WorkQueue, Store, Queue]:
    store, work = Store(lambda _: None), WorkQueue(lambda: 0.0)
    for subject in waiting(400).values():
        status = ConversionJobStatus(
            phase=Phase.QUEUED, reason="x", message="", conditions=[], queue_position=9999
        )
        store.update(replace(subject, status=status))
    queue = new_queue({c.key.uid: c for c in store.conversions()}, {}, POLICY)
    run_pass(queue, 3)
    return QueuedStatuses(queue, store, work, lambda: True, lambda: NOW), work, store, queue


async def test_the_lowest_positions_are_refreshed_first_and_a_few_at_a_time(
    positions: tuple[QueuedStatuses, WorkQueue, Store, Queue],
) -> None:
    refresh, work, _, _ = positions
    refresh._choose_positions()
    assert [await work.get() for _ in range(len(work))] == ["u0", "u1", "u2", "u3", "u4"]
    assert refresh.take_position("u0")
    assert not refresh.take_position("u0")
    refresh._choose_positions()
    assert [await work.get() for _ in range(len(work))] == ["u5", "u6", "u7", "u8", "u9"]


def paused(subject: Conversion) -> ConversionJobStatus:
    assert subject.status
    return subject.status.model_copy(update={"reason": "Paused"})


def waits_for_slot(store: Store, uid: str) -> Conversion:
    subject = store.conversion(uid)
    assert subject
    assert subject.status
    status = subject.status.model_copy(update={"reason": "WaitingForSlot"})
    return replace(subject, status=status)


async def test_few_reasons_that_all_share_are_written_in_a_second_and_the_heads_first(
    positions: tuple[QueuedStatuses, WorkQueue, Store, Queue],
) -> None:
    pace, work, store, _ = positions
    subjects = [waits_for_slot(store, f"u{number}") for number in reversed(range(400))]
    at_once = [s for s in subjects if not pace.must_wait(s, paused(s))]
    assert at_once == subjects[:REASONS_WRITTEN]
    rest = {s.key.uid: s for s in subjects[REASONS_WRITTEN:]}
    for turn in range(19):
        pace._choose_reasons()
        chosen = [await work.get() for _ in range(len(work))]
        assert chosen == [f"u{number}" for number in range(20 * turn, 20 * turn + 20)]
        assert not any(pace.must_wait(rest[uid], paused(rest[uid])) for uid in chosen)
    pace._choose_reasons()
    assert not len(work)
    # All are written, so the next one need not wait.
    assert not pace.must_wait(subjects[0], paused(subjects[0]))


def test_only_changes_of_shared_reasons_wait(
    positions: tuple[QueuedStatuses, WorkQueue, Store, Queue],
) -> None:
    pace, _, store, _ = positions
    for number in range(REASONS_WRITTEN + 1):
        last = waits_for_slot(store, f"u{number}")
        waits = pace.must_wait(last, paused(last))
    assert waits
    new = paused(last)
    assert not pace.must_wait(replace(last, status=None), new)
    assert not pace.must_wait(last, new.model_copy(update={"reason": "PathBusy"}))
    assert not pace.must_wait(last, new.model_copy(update={"phase": Phase.STARTING}))
    assert not pace.must_wait(last, new.model_copy(update={"observed_generation": 7}))
    assert not pace.must_wait(replace(last, status=new), new)
    assert pace.must_wait(last, new)
    pace.forget(last.key.uid)
    assert not pace._deferred


async def test_a_young_conversion_is_not_refreshed() -> None:
    store, work = Store(lambda _: None), WorkQueue(lambda: 0.0)
    status = ConversionJobStatus(
        phase=Phase.QUEUED, reason="x", message="", conditions=[], queue_position=9
    )
    store.update(replace(waiting(1)["u0"], status=status))
    queue = new_queue({c.key.uid: c for c in store.conversions()}, {}, POLICY)
    run_pass(queue, 3)
    for age, chosen in ((29, 0), (31, 1)):
        refresh = QueuedStatuses(queue, store, work, lambda: True, lambda age=age: at(age))  # type: ignore[misc]
        refresh._choose_positions()
        assert len(work) == chosen


def test_a_requested_position_is_written_however_late_its_turn_comes() -> None:
    """Thousands of new conversions may come first."""
    store = Store(lambda _: None)
    queue = new_queue({}, {}, POLICY)
    refresh = QueuedStatuses(queue, store, WorkQueue(lambda: 0.0), lambda: True, lambda: at(0))
    refresh.request_position("u0")
    refresh._chosen_at["u0"] -= 60
    refresh._choose_positions()
    assert (refresh.take_position("u0"), refresh.take_position("u0")) == (True, False)
    refresh.request_position("u0")
    refresh.forget("u0")
    assert not refresh.take_position("u0")


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


async def test_keys_with_low_priority_have_their_turns() -> None:
    work = WorkQueue(lambda: 0.0)
    work.add("low", low_priority=True)
    for number in range(20):
        work.add(f"k{number}")
    order = [await work.get() for _ in range(len(work))]
    assert order.index("low") == 8


async def test_a_key_that_fails_does_not_come_before_others() -> None:
    clock = [0.0]
    work = WorkQueue(lambda: clock[0])
    work.add_rate_limited("fails")
    clock[0] = 1.0
    work.add("end")
    assert await work.get() == "end"
    assert work.urgent == 0
    assert await work.get() == "fails"


async def test_a_key_that_fails_does_not_wait_for_all_keys_with_low_priority() -> None:
    """An end that could not be written at once was stored 15 minutes later: 40 conversions were
    created in a second."""
    clock = [0.0]
    work = WorkQueue(lambda: clock[0])
    for number in range(100):
        work.add(f"new-{number}", low_priority=True)
        work.add(f"runs-{number}")
    work.add_rate_limited("end")
    clock[0] = 1.0
    order = [await work.get() for _ in range(201)]
    assert len(set(order)) == 201
    assert order.index("end") < 20


async def test_failing_keys_keep_few_workers_from_others() -> None:
    """All writes of a namespace hang. New conversions of another one do not wait for them."""
    clock = [0.0]
    work = WorkQueue(lambda: clock[0])
    for number in range(100):
        work.add_rate_limited(f"fails-{number}")
        work.add(f"new-{number}", low_priority=True)
    clock[0] = 1.0
    first = [await work.get() for _ in range(90)]
    assert sum(key.startswith("fails") for key in first) == 10


def test_which_conversions_are_new() -> None:
    """The reconcile of others is urgent: they run, are cancelled, or cannot be admitted yet."""
    new = conversion()

    def is_new(*, with_job: bool = False, **fields: Any) -> bool:
        assert new.spec
        store = Store(lambda _: None)
        store.update(replace(new, spec=new.spec.model_copy(update=fields)))
        if with_job:
            store.adopt(new.key, 1, job())
        return store.is_new(new.key.uid)

    assert is_new()
    assert not is_new(cancel=True)
    assert not is_new(conversion_type=None, output_file=None, profile="web-video")
    assert not is_new(with_job=True)


async def test_an_end_does_not_wait_for_new_conversions() -> None:
    """Neither do new conversions for ever."""
    work = WorkQueue(lambda: 0.0)
    store = Store(lambda uid: work.add(uid, low_priority=store.is_new(uid)))
    for new in waiting(50).values():
        store.update(new)
    status = ConversionJobStatus(phase=Phase.RUNNING, reason="x", message="", conditions=[])
    store.update(replace(waiting(51)["u50"], status=status))
    assert work.urgent == 1
    assert await work.get() == "u50"
    assert await work.get() == "u0"


async def test_low_priority_keeps_the_delay_of_a_key() -> None:
    """Otherwise the time limit of a running conversion would wait for all other keys."""
    clock = [0.0]
    work = WorkQueue(lambda: clock[0])
    work.add_after("runs", 5)
    work.add("first", low_priority=True)
    work.add("runs", low_priority=True)
    clock[0] = 6.0
    assert await work.get() == "runs"
    work.add("later", low_priority=True)
    work.add_after("later", 1)
    clock[0] = 8.0
    assert await work.get() == "later"


def test_who_asks_too_early_is_told_later() -> None:
    """Its reconcile comes before the pass. The standing is equal, but nothing was written yet."""
    conversions = waiting(2, outputFile="out/a.mp4")
    queue = new_queue(conversions, {}, POLICY)
    run_pass(queue, 3)
    key = conversions["u1"].key
    queue.note_change("u1")
    assert (queue.position(key), queue.block(key)) == (None, None)
    assert queue.update(NOW)
    AdmissionPass(queue, NOW, Obstacles(), queue.namespaces).select(3)
    assert queue.take_changed() == ["u1"]
    assert queue.position(key) == 2
    queue.note_change("u1")
    assert not queue.update(NOW)


def test_a_fast_clock_of_a_node_does_not_matter() -> None:
    late = ended(0)
    assert late.terminated is not None
    late = replace(late, terminated=replace(late.terminated, finished_at=at(99_999)))
    parts = {"u": Children()}
    queue = new_queue({}, parts, POLICY)
    parts["u"] = children(late)
    queue.note_change("u")
    queue.update(NOW)
    assert queue.last_pod_end == NOW


def test_a_back_off_ends_with_a_pass() -> None:
    """Before, neither a position nor a block is known: a status would say the wrong reason."""
    first = step(waiting(1)["u0"], children(job(uid="u0"), pod(uid="u0", phase="Failed")), 4999.9)[
        1
    ]
    conversions = {"u0": first}
    queue = new_queue(conversions, {}, POLICY)
    run_pass(queue, 3)
    assert (queue.position(first.key), queue.block(first.key)) == (None, None)
    AdmissionPass(queue, at(9999), Obstacles(), queue.namespaces).select(3)
    assert queue.take_changed() == ["u0"]
    assert queue.position(first.key) == 1


def test_an_edit_of_the_priority_is_told() -> None:
    conversions = waiting(3)
    queue = new_queue(conversions, {}, POLICY)
    run_pass(queue, 3)
    urgent = conversions["u2"]
    assert urgent.spec
    spec = urgent.spec.model_copy(update={"priority": 9})
    conversions["u2"] = replace(urgent, spec=spec)
    queue.note_change("u2")
    queue.update(NOW)
    assert queue.take_reordered() == queue.take_changed() == ["u2"]


def test_a_message_that_changes_tells_nobody() -> None:
    conversions = waiting(3)
    queue = new_queue(conversions, {}, POLICY)
    for text, told in (("no", 3), ("still no", 0)):
        AdmissionPass(queue, NOW, Obstacles(outdated_crd=text), queue.namespaces).select(0)
        assert len(queue.take_changed()) == told


def test_a_repair_finds_a_deletion_that_nobody_reported() -> None:
    conversions = waiting(2)
    queue = new_queue(conversions, {}, POLICY)
    del conversions["u0"]
    assert queue.repair(queue.known_uids(), NOW) == ["u0"]


def test_an_old_sweep_keeps_no_namespace_busy() -> None:
    status = ConversionJobStatus(
        phase=Phase.FAILED,
        reason=Reason.NODE_LOST,
        message="",
        conditions=[],
        completion_time=at(0),
        attempts=[Attempt(number=1, start_time=at(0), completion_time=at(0))],
    )
    conversions = {"u0": replace(waiting(1)["u0"], status=status)}
    queue = new_queue(conversions, {}, POLICY)
    assert queue.namespaces_with_unfinished() == []
    for now, sweeps in ((at(10), ("u0",)), (at(3601), ())):
        found = AdmissionPass(queue, now, Obstacles(), queue.namespaces).select(0).sweeps
        assert found == sweeps


def test_one_that_is_about_to_fail_starts_if_the_other_failed_for_a_cycle_with_it() -> None:
    """The conversion that shows this may be seen later than the one that waits."""
    reader, between = waiting(2).values()
    reader = replace(reader, input_path="/r", output_paths=("/p",))
    between = replace(between, input_path="/p", output_paths=("/q",))
    finished = Condition(
        type=names.CONDITION_FINISHED,
        status="True",
        reason="x",
        message="",
        last_transition_time=at(100),
    )
    status = ConversionJobStatus(
        phase=Phase.FAILED, reason=Reason.INPUT_CYCLE, message="", conditions=[finished]
    )
    failed = replace(
        conversion("failed", created=at(-1)), input_path="/q", output_paths=("/r",), status=status
    )
    conversions = {"u0": reader}

    def writers(_: str, path: str) -> list[Conversion]:
        return [failed] if path == "/r" else []

    queue = new_queue(conversions, {}, POLICY, find_writers=writers)
    assert run_pass(queue) == ()
    assert queue.block(reader.key)
    conversions["u1"] = between
    queue.note_change("u1")
    assert run_pass(queue) == ("u0",)


def test_the_end_of_a_conversion_is_told_to_the_readers_of_each_output() -> None:
    """It may have ended before the queue has seen it."""
    (reader,) = waiting(1).values()
    reader = replace(reader, input_path="/q")
    finished = Condition(
        type=names.CONDITION_FINISHED,
        status="True",
        reason="x",
        message="",
        last_transition_time=at(100),
    )
    attempt = Attempt(number=1, start_time=at(50), completion_time=at(100))
    status = ConversionJobStatus(
        phase=Phase.FAILED, reason="x", message="", conditions=[finished], attempts=[attempt]
    )
    ended = replace(conversion("maker", created=at(-1)), output_paths=("/p", "/q"), status=status)
    conversions, found = {"u0": reader}, list[Conversion]()
    queue = new_queue(conversions, {}, POLICY, find_writers=lambda _, path: found)
    assert run_pass(queue) == ("u0",)
    conversions["maker"] = ended
    found.append(ended)
    queue.note_change("maker")
    assert run_pass(queue) == ()
    block = queue.block(reader.key)
    assert block
    assert block.reason == Reason.INPUT_NOT_MADE
