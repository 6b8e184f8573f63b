"""The admission policy: order, positions, path conflicts and slots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.core.admission import AdmissionPass, Obstacles, unseen_slots
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.start_limits import MAX_ADMISSIONS, MAX_NAMESPACES, StartLimits
from tests.unit.operator.builders import (
    POLICY,
    UID,
    at,
    children,
    conversion,
    ended,
    job,
    pod,
    running,
    step,
)
from tests.unit.operator.queueing import (
    Built,
    build_queue,
    new_queue,
    slots_by_namespace,
    slots_held,
    started,
)


def many(count: int, **changes: Any) -> list[Conversion]:
    return [
        conversion(
            f"uid-{n:04}",
            created=at(n),
            inputFile=f"in/{n}.mov",
            outputFile=f"out/{n}.mp4",
            **changes,
        )
        for n in range(count)
    ]


def queue_of(
    conversions: list[Conversion],
    parts: dict[str, Children] | None = None,
    obstacles: Obstacles | None = None,
    policy: Policy = POLICY,
    now: float = 100,
) -> Built:
    return build_queue(conversions, parts or {}, obstacles or Obstacles(), at(now), policy)


def admitted(conversions: list[Conversion], held: int, policy: Policy = POLICY) -> int:
    queue = new_queue({c.key.uid: c for c in conversions}, {}, policy)
    selection = AdmissionPass(queue, at(100), Obstacles(), queue.namespaces).select(held)
    return len(selection.start)


def test_the_oldest_is_first() -> None:
    assert queue_of(list(reversed(many(3)))).order == ("uid-0000", "uid-0001", "uid-0002")


def test_at_the_same_age_the_arrival_decides() -> None:
    twins = [replace(c, created=at(0), arrival=9 - n) for n, c in enumerate(many(3))]
    assert queue_of(twins).order == ("uid-0002", "uid-0001", "uid-0000")
    older = replace(twins[0], created=at(-1))
    assert queue_of([*twins[1:], older]).order == ("uid-0000", "uid-0002", "uid-0001")


def test_at_the_same_arrival_the_name_decides_then_the_uid() -> None:
    twins = [replace(c, created=at(0)) for c in many(3)]
    named = [
        replace(c, key=replace(c.key, name=name))
        for c, name in zip(twins, ("b", "a", "a"), strict=True)
    ]
    assert queue_of(named).order == ("uid-0001", "uid-0002", "uid-0000")


def test_a_step_of_priority_is_worth_a_minute() -> None:
    old, young = many(2)
    raised = replace(young, created=at(59), spec=_with(young, priority=1))
    late = replace(young, created=at(61), spec=_with(young, priority=1))
    assert queue_of([old, raised]).order == ("uid-0001", "uid-0000")
    assert queue_of([old, late]).order == ("uid-0000", "uid-0001")


def _with(subject: Conversion, **changes: Any) -> ConversionJobSpec:
    assert subject.spec
    return subject.spec.model_copy(update=changes)


def test_position() -> None:
    a, b, c = subjects = many(3)
    queue = queue_of(subjects)
    assert [queue.position(each.key) for each in subjects] == [1, 2, 3]
    assert queue.position(many(4)[3].key) is None
    other = replace(b, key=replace(b.key, namespace="other"))
    queue = queue_of([a, other, c])
    assert [queue.position(each.key) for each in (a, other, c)] == [1, 1, 2]


def test_what_is_blocked_keeps_its_position() -> None:
    a, b, c = subjects = many(3)
    same = replace(b, output_paths=a.output_paths)
    queue = queue_of([a, same, c])
    assert set(queue.blocks) == {b.key.uid}
    assert [queue.position(each.key) for each in subjects] == [1, 2, 3]
    paused = queue_of(subjects, policy=replace(POLICY, enabled=False))
    assert [paused.position(each.key) for each in subjects] == [1, 2, 3]


@pytest.mark.parametrize(("held", "free"), [(0, 3), (2, 1), (3, 0), (7, 0)])
def test_free_slots_are_filled(held: int, free: int) -> None:
    assert admitted(many(10), held) == free


def test_limit_zero_starts_nothing() -> None:
    assert admitted(many(2), 0, replace(POLICY, max_parallel=0)) == 0


@pytest.mark.parametrize(
    ("failing", "reserved", "limit", "allowed"),
    [
        (set(), [], 3, "abcxy"),
        (set(), ["n", "n", "n"], 3, "abcxy"),
        ({"n"}, [], 3, "abxy"),
        ({"n"}, ["n"], 3, "axy"),
        ({"n"}, ["m"], 3, "abxy"),
        ({"n"}, ["n", "n"], 3, "xy"),
        # Reservations from before the first failure.
        ({"n"}, ["n", "n", "n"], 3, "xy"),
        ({"n"}, [], 100, "abxy"),
        # One slot is left for others.
        ({"n"}, [], 2, "axy"),
        ({"n"}, ["n"], 2, "xy"),
        ({"n"}, [], 1, "axy"),
        ({"n"}, ["n"], 1, "xy"),
        # Failing namespaces leave it together.
        ({"n", "m"}, [], 3, "ab"),
        ({"n", "m"}, [], 4, "abx"),
        ({"n", "m"}, ["n", "m"], 3, ""),
        ({"n", "m"}, ["n", "n", "m"], 3, ""),
        ({"n", "m"}, ["k", "k"], 3, "ab"),
    ],
)
def test_a_namespace_whose_requests_fail_has_few_reservations(
    failing: set[str], reserved: list[str], limit: int, allowed: str
) -> None:
    namespaces = {"a": "n", "b": "n", "c": "n", "x": "m", "y": "m"}
    policy = replace(POLICY, max_parallel=limit)
    limits = StartLimits(failing, {}, reserved, policy)
    assert "".join(started("abcxy", namespaces, limits)) == allowed


def test_the_lease_has_room_for_some_admissions_and_some_namespaces() -> None:
    listed = [f"n-{number}" for number in range(MAX_NAMESPACES - 1)]
    namespaces = {"a": "new", "b": "another", "c": "n-1", "d": "new"}
    limits = StartLimits((), {}, (), POLICY, listed)
    assert "".join(started("abcd", namespaces, limits)) == "acd"
    limits = StartLimits((), {}, listed, POLICY)
    assert "".join(started("abcd", namespaces, limits)) == "a"
    limits = StartLimits((), {}, ["new"] * (MAX_ADMISSIONS - 2), POLICY)
    assert "".join(started("abcd", namespaces, limits)) == "ab"


def test_nothing_starts_in_a_namespace_for_which_the_lease_has_no_room() -> None:
    policy = replace(POLICY, max_parallel=10 * MAX_NAMESPACES)
    busy = {f"u-{n}": children(job(namespace=f"n-{n}")) for n in range(MAX_NAMESPACES)}
    waiting = {
        name: conversion(name, namespace=name, outputFile=f"{name}.mp4") for name in ("n-7", "new")
    }
    queue = new_queue(waiting, busy, policy, {})
    selection = AdmissionPass(queue, at(1), Obstacles(), queue.namespaces).select(MAX_NAMESPACES)
    assert selection.start == ("n-7",)


@pytest.mark.parametrize(
    ("parts", "slots"),
    [
        (children(job()), 1),
        (children(job(), pod()), 1),
        (children(job(), running()), 1),
        (children(running()), 1),  # an orphan, or its Job is not seen yet
        (children(job(finished="Complete"), ended(0)), 0),
        # the pod is still terminating
        (children(job(finished="Failed"), running(deletion_timestamp=at(1))), 1),
        (children(job(deletion_timestamp=at(1))), 1),
        (children(job(), running(), replace(running(), uid="another")), 2),
        (children(job(deleted=True), running(deleted=True)), 0),
        (children(job(), job(2), running()), 2),
        # a sidecar runs longer than the converter
        (children(job(), ended(0, phase="Running")), 0),
        (children(job(), ended(0, phase="Running", deleted=True)), 0),
        (children(ended(0, phase="Running")), 0),
        (children(job(), ended(0, phase="Running"), replace(running(), uid="another")), 1),
        # whose pod has ended is not known: its creator wrote its status
        (children(job(), ended(0, phase="Running", duplicate=True)), 1),
    ],
)
def test_slots_are_counted_on_what_exists(parts: Children, slots: int) -> None:
    assert slots_held({"x": parts}, ()) == slots
    assert slots_held({"x": parts}, ("x",)) == max(
        slots, 1
    )  # a reservation and its Job take one slot


def test_slots_of_several_conversions() -> None:
    live = children(job())
    assert slots_held({"x": live, "y": live}, ("z",)) == 3
    assert slots_held({"x": live, "y": live}, ("z",), lost_with_node={"x"}) == 2


def test_slots_by_namespace() -> None:
    ours, theirs = children(job(), pod()), children(running(namespace="theirs"))
    known = {"x": ours, "y": theirs, "z": theirs}
    assert slots_by_namespace(known, ()) == {"my-network": 1, "theirs": 2}
    assert slots_by_namespace(known, {"y"}) == {"my-network": 1, "theirs": 1}
    assert "my-network" not in slots_by_namespace(known, (), {"x"})


def test_an_unknown_namespace_counts_with_what_was_recorded() -> None:
    assert unseen_slots({}, {"ours": 2}) == 0
    assert unseen_slots({"theirs": 2, "more": 1}, {"ours": 5}) == 3
    assert unseen_slots({"theirs": 2}, {"theirs": 1}) == 1
    assert unseen_slots({"theirs": 2}, {"theirs": 3}) == 0


def test_a_running_conversion_does_not_queue() -> None:
    first, second = many(2)
    queue = queue_of([first, second], {first.key.uid: children(job(uid=first.key.uid))})
    assert queue.order == (second.key.uid,)


def test_an_open_attempt_does_not_queue_before_its_job_is_seen() -> None:
    subject = step(many(1)[0], children(job(uid="uid-0000")))[1]
    assert queue_of([subject]).order == ()


def test_a_conversion_with_a_live_pod_does_not_queue() -> None:
    assert queue_of(many(1), {"uid-0000": children(running(uid="uid-0000"))}).order == ()


def test_finished_cancelled_deleted_and_invalid_do_not_queue() -> None:
    a, b, c, d = many(4)
    a = step(replace(a, spec=_with(a, cancel=True)), Children())[1]
    b = replace(b, spec=_with(b, cancel=True))
    queue = queue_of([a, b, replace(c, deleting=True), replace(d, spec=None)])
    assert (queue.order, dict(queue.blocks)) == ((), {})


def test_an_attempt_whose_spec_cannot_be_read_keeps_its_paths_busy() -> None:
    first, second = many(2)
    running_one = replace(first, spec=None, output_paths=("/out/1.mp4",))
    queue = queue_of([running_one, second], {first.key.uid: children(job(uid=first.key.uid))})
    assert queue.order == ()
    assert queue.blocks[second.key.uid].reason == Reason.PATH_BUSY


def test_what_is_deleted_with_orphan_propagation_does_not_queue() -> None:
    (subject,) = many(1)
    assert queue_of([replace(subject, deleting=True, orphans_dependents=True)]).order == ()


def test_paused() -> None:
    queue = queue_of(many(2), policy=replace(POLICY, enabled=False))
    assert queue.order == ()
    assert {block.reason for block in queue.blocks.values()} == {Reason.PAUSED}


def test_missing_claim_stops_its_namespace_only() -> None:
    a, b = many(2)
    b = replace(b, key=replace(b.key, namespace="other"))
    queue = queue_of([a, b], obstacles=Obstacles(frozenset({"my-network"})))
    assert queue.order == (b.key.uid,)
    assert queue.blocks[a.key.uid].reason == Reason.CLAIM_MISSING
    assert POLICY.claim_name in queue.blocks[a.key.uid].message


def test_a_rejected_conversion_does_not_block_the_next() -> None:
    block = Block(Reason.POD_REJECTED, "no")
    queue = queue_of(many(2), obstacles=Obstacles(rejected={"uid-0000": block}))
    assert queue.order == ("uid-0001",)
    assert queue.blocks["uid-0000"] == block


def test_a_pause_between_attempts_lets_others_go_first() -> None:
    first, second = many(2)
    parts = children(job(uid="uid-0000"), pod(uid="uid-0000", phase="Failed", reason="Evicted"))
    first = step(first, parts, 100)[1]
    queue = queue_of([first, second], now=100.5)
    assert (queue.order, queue.next_retry_at) == (("uid-0001",), at(101))
    assert queue_of([first, second], now=101).order == ("uid-0000", "uid-0001")


class TestPaths:
    def pair(self, first: dict[str, Any], second: dict[str, Any]) -> Built:
        a = conversion("uid-0000", created=at(0), **first)
        b = conversion("uid-0001", created=at(1), **second)
        return queue_of([b, a])

    @pytest.mark.parametrize(
        ("second", "words"),
        [
            ({"inputFile": "x.mov", "outputFile": "out/a.mp4"}, "also writes"),
            ({"inputFile": "x.mov", "outputFile": "/out/a.mp4"}, "also writes"),
        ],
    )
    def test_the_older_conversion_goes_first(self, second: dict[str, str], words: str) -> None:
        queue = self.pair({"inputFile": "a.mov", "outputFile": "out/a.mp4"}, second)
        assert queue.order == ("uid-0000",)
        assert queue.blocks["uid-0001"].reason == Reason.PATH_BUSY
        assert words in queue.blocks["uid-0001"].message

    def test_two_conversions_may_read_the_same_input(self) -> None:
        queue = self.pair(
            {"inputFile": "a.mov", "outputFile": "b.mp4"},
            {"inputFile": "a.mov", "outputFile": "c.mp4"},
        )
        assert queue.blocks == {}

    def test_a_running_conversion_counts_as_older(self) -> None:
        young = conversion("uid-0000", created=at(9))
        old = conversion("uid-0001", created=at(0))
        queue = queue_of([young, old], {"uid-0000": children(job(uid="uid-0000"))})
        assert queue.blocks["uid-0001"].reason == Reason.PATH_BUSY

    def test_paths_in_another_namespace_do_not_conflict(self) -> None:
        a = conversion("uid-0000", created=at(0))
        b = conversion("uid-0001", created=at(1), namespace="other")
        assert queue_of([a, b]).order == ("uid-0000", "uid-0001")


def test_a_conversion_whose_status_cannot_be_read_is_not_in_the_queue() -> None:
    """It may have ended. Its paths stay in use."""
    odd = replace(conversion(), status_error="status.phase")
    later = conversion("b" * 36, created=at(1))
    queue = build_queue([odd, later], {}, Obstacles(), at(5), POLICY)
    assert queue.order == ()
    assert queue.blocks["b" * 36].reason == "PathBusy"


def test_what_is_not_supported_blocks_a_conversion() -> None:
    queue = build_queue(
        [replace(conversion(), unsupported="spec.new", spec_error="spec.old")],
        {},
        Obstacles(),
        at(5),
        POLICY,
    )
    assert (queue.order, queue.blocks[UID].reason) == ((), "UnsupportedField")
