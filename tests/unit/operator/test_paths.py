"""Conversions that use the same files: which waits for which, and which fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import (
    Attempt,
    Condition,
    ConversionJobStatus,
    OutputStatus,
    Phase,
)
from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.core import paths
from conversion_operator.core.admission import Obstacles
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import Block, Snapshot
from conversion_operator.core.reconcile import decide
from conversion_operator.core.transitions import Transition
from media_converter.contract import OutputState
from tests.unit.operator.builders import POLICY, at, children, conversion, job
from tests.unit.operator.queueing import Built, build_queue

LATER = 100.0


def made(name: str, reads: str, writes: str, created: float = 0, **fields: Any) -> Conversion:
    subject = conversion(
        f"uid-{name}", created=at(created), inputFile=f"{reads}.mp4", outputFile=f"{writes}.mp4"
    )
    subject = replace(subject, arrival=1, key=replace(subject.key, name=name))
    return replace(subject, **fields)


def with_status(
    subject: Conversion, phase: Phase, reason: str = "x", ended: float | None = None
) -> Conversion:
    """With one attempt. ``ended`` is when its end was stored."""
    finished = [
        Condition(
            type=names.CONDITION_FINISHED,
            status="True",
            reason=reason,
            message="",
            last_transition_time=at(ended),
        )
        for ended in (() if ended is None else (ended,))
    ]
    attempt = Attempt(number=1, start_time=at(0), completion_time=at(0))
    status = ConversionJobStatus(
        phase=phase, conditions=finished, reason=reason, message="", attempts=[attempt]
    )
    return replace(subject, status=status)


def begun(subject: Conversion) -> Conversion:
    """One whose first attempt has ended, and that waits for the next one."""
    return with_status(subject, Phase.QUEUED, Reason.RETRY_BACKOFF)


def queue_of(*conversions: Conversion, parts: dict[str, Children] | None = None) -> Built:
    def writers(namespace: str, path: str) -> list[Conversion]:
        return [c for c in conversions if c.key.namespace == namespace and path in c.output_paths]

    return build_queue(conversions, parts or {}, Obstacles(), at(LATER), POLICY, writers)


def block_of(name: str, *conversions: Conversion, **options: Any) -> Block | None:
    return queue_of(*conversions, **options).blocks.get(f"uid-{name}")


@pytest.mark.parametrize("first", ["maker", "user"])
def test_an_input_that_will_be_made_is_waited_for_whichever_came_first(first: str) -> None:
    maker = made("maker", "a", "b", 0 if first == "maker" else 5)
    user = made("user", "b", "c", 5 if first == "maker" else 0)
    queue = queue_of(user, maker)
    assert queue.order == ("uid-maker",)
    block = queue.blocks["uid-user"]
    assert (block.reason, "maker" in block.message, "/b.mp4" in block.message) == (
        Reason.WAITING_FOR_INPUT,
        True,
        True,
    )


@pytest.mark.parametrize(
    "maker",
    [
        made("maker", "a", "b", 5, cancel=True),
        made("maker", "a", "b", 5, deleting=True),
        made("maker", "a", "b", 5, spec_error="spec.x"),
        made("maker", "a", "b", 5, unsupported="spec.x"),
        made("maker", "a", "b", 5, status_error="status.x"),
        begun(made("maker", "a", "b", 5)),
    ],
    ids=["cancelled", "deleted", "not valid", "not supported", "unreadable", "between attempts"],
)
def test_until_its_end_is_stored_a_conversion_may_write(maker: Conversion) -> None:
    block = block_of("user", made("user", "b", "c"), maker)
    assert block is not None
    assert block.reason == Reason.WAITING_FOR_INPUT


def test_the_input_of_a_conversion_that_has_begun_is_not_overwritten() -> None:
    user, maker = made("user", "b", "c", 5), made("maker", "a", "b", 0)
    for reader, parts in (
        (begun(user), {}),
        (user, {"uid-user": children(job(uid="uid-user"))}),
    ):
        block = block_of("maker", reader, maker, parts=parts)
        assert block is not None
        assert (block.reason, "still reads" in block.message) == (Reason.PATH_BUSY, True)
        assert block_of("user", reader, maker, parts=parts) is None


def test_of_two_that_have_begun_the_older_one_goes_first() -> None:
    user, maker = begun(made("user", "b", "c", 0)), begun(made("maker", "a", "b", 5))
    assert (block_of("user", user, maker), bool(block_of("maker", user, maker))) == (None, True)
    user, maker = begun(made("user", "b", "c", 5)), begun(made("maker", "a", "b", 0))
    assert (bool(block_of("user", user, maker)), block_of("maker", user, maker)) == (True, None)


def test_a_running_attempt_is_waited_for_even_by_one_that_has_begun() -> None:
    user, maker = begun(made("user", "b", "c", 0)), made("maker", "a", "b", 5)
    parts = {"uid-maker": children(job(uid="uid-maker"))}
    block = block_of("user", user, maker, parts=parts)
    assert block is not None
    assert block.reason == Reason.WAITING_FOR_INPUT


def test_a_conversion_whose_job_is_being_created_uses_its_files() -> None:
    reader, writer = made("user", "b", "c", 0), made("maker", "a", "b", 5)
    reserved = frozenset({"uid-user"})
    queue = build_queue([reader, writer], {}, Obstacles(), at(LATER), POLICY, reserved=reserved)
    assert "uid-user" not in queue.blocks
    why = Block(Reason.POD_REJECTED, "no")
    rejected = Obstacles(rejected={"uid-user": why})
    found = build_queue([reader], {}, rejected, at(LATER), POLICY, reserved=reserved)
    assert found.blocks == {"uid-user": why}
    assert (queue.order, queue.blocks["uid-maker"].reason) == ((), Reason.PATH_BUSY)


def test_a_later_writer_that_left_the_file_as_it_was_fails_nobody() -> None:
    user = made("user", "b", "c", 0)
    exists = with_status(made("m", "a", "b", 5), Phase.FAILED, "OutputExists", ended=LATER)
    cancelled = with_status(made("m", "a", "b", 5), Phase.CANCELLED, "Cancelled", ended=LATER)
    assert cancelled.status
    untried = cancelled.status.model_copy(update={"attempts": None})
    for maker in (exists, replace(cancelled, status=untried)):
        assert queue_of(user, maker).order == ("uid-user",)
    earlier = with_status(made("m", "a", "b", -5), Phase.CANCELLED, "Cancelled", ended=LATER)
    block = block_of("user", user, earlier)
    assert block is not None
    assert block.reason == Reason.INPUT_NOT_MADE


def test_paths_of_another_namespace_are_other_files() -> None:
    other = conversion("uid-maker", namespace="other", inputFile="a.mp4", outputFile="b.mp4")
    assert block_of("user", made("user", "b", "c"), other) is None


def ended(name: str, phase: Phase, stored: float, reason: str = "InputNotFound") -> Conversion:
    return with_status(made(name, "a", "b", -50), phase, reason, ended=stored)


@pytest.mark.parametrize(
    ("makers", "says"),
    [
        ([ended("maker", Phase.FAILED, 5)], "maker, which was to write the input /b.mp4, failed"),
        ([ended("maker", Phase.FAILED, 5)], "failed (InputNotFound)"),
        ([ended("maker", Phase.CANCELLED, 5)], "was cancelled"),
        ([ended("one", Phase.FAILED, 5), ended("two", Phase.CANCELLED, 6)], "conversion two"),
        ([ended("maker", Phase.SUCCEEDED, 5)], None),
        ([ended("one", Phase.SUCCEEDED, 5), ended("two", Phase.FAILED, 6)], None),
        ([ended("maker", Phase.FAILED, -5)], None),
        ([ended("maker", Phase.FAILED, 0)], None),
        ([replace(ended("maker", Phase.FAILED, 0), version=2)], "conversion maker"),
        ([replace(ended("maker", Phase.FAILED, -5), version=2)], None),
    ],
)
def test_a_conversion_fails_if_its_input_is_not_made_while_it_exists(
    makers: list[Conversion], says: str | None
) -> None:
    user = made("user", "b", "c")
    block = block_of("user", user, *makers)
    if says is None:
        assert block is None
        return
    assert block is not None
    assert (block.reason, says in block.message) == (Reason.INPUT_NOT_MADE, True)
    plan = decide(Snapshot(user, Children(), at(LATER), POLICY, block=block))
    assert plan.status is not None
    assert (plan.status.phase, plan.status.reason) == (Phase.FAILED, Reason.INPUT_NOT_MADE)
    assert plan.status.message == block.message


def test_the_makers_of_a_file_are_looked_at_once_for_all_that_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or many readers of one file with many makers that have failed would stop the event loop."""
    looked: list[Conversion] = []
    end_of = paths._end

    def count(writer: Conversion) -> datetime:
        looked.append(writer)
        return end_of(writer)

    monkeypatch.setattr(paths, "_end", count)
    makers = [ended(f"maker-{n}", Phase.FAILED, 5) for n in range(20)]
    readers = [made(f"reader-{n}", "b", f"out-{n}") for n in range(20)]
    assert block_of("reader-19", *readers, *makers) is not None
    # Once when the readers are seen, and once for each maker that has ended.
    assert len(looked) <= 2 * len(makers)


def test_another_maker_is_waited_for_first() -> None:
    user, again = made("user", "b", "c"), made("again", "a", "b", 7)
    block = block_of("user", user, ended("maker", Phase.FAILED, 5), again)
    assert block is not None
    assert (block.reason, "again" in block.message) == (Reason.WAITING_FOR_INPUT, True)


def test_one_that_has_begun_does_not_fail_for_its_input() -> None:
    assert block_of("user", begun(made("user", "b", "c")), ended("m", Phase.FAILED, 5)) is None


def test_the_end_of_its_last_attempt_is_not_the_time_at_which_an_end_was_stored() -> None:
    maker = ended("maker", Phase.FAILED, -5)
    assert maker.status
    later = maker.status.model_copy(update={"completion_time": at(9)})
    assert block_of("user", made("user", "b", "c"), replace(maker, status=later)) is None


def failing(*conversions: Conversion) -> set[str]:
    blocks = queue_of(*conversions).blocks
    return {uid for uid, block in blocks.items() if block.reason == Reason.INPUT_CYCLE}


def test_the_last_one_of_a_cycle_fails() -> None:
    a, b, c = made("a", "x", "y", 1), made("b", "y", "z", 3), made("c", "z", "x", 2)
    assert failing(a, b, c) == {"uid-b"}
    assert failing(a, b) == failing(b, c) == set()
    block = block_of("b", a, b, c)
    assert block is not None
    assert "conversions a, b, c would wait for each other" in block.message
    assert failing(replace(a, created=at(3), arrival=2), b, c) == {"uid-a"}


def test_a_cycle_of_length_one_fails() -> None:
    block = block_of("a", made("a", "x", "x"))
    assert block is not None
    assert (block.reason, "choose another output" in block.message) == (Reason.INPUT_CYCLE, True)


def test_what_only_leads_into_or_out_of_a_cycle_does_not_fail() -> None:
    a, b = made("a", "x", "y", 1), made("b", "y", "x", 2)
    into, out = made("into", "w", "x", 3), made("out", "x", "v", 4)
    between = made("between", "w", "q", 9)
    assert failing(a, b, into, out, between) == {"uid-b"}
    # The search begins at the first one in the queue, which may be outside of the cycle.
    maker = made("maker", "q", "w", 5)
    assert into.spec
    urgent = replace(into, spec=into.spec.model_copy(update={"priority": 9}), created=at(6))
    assert failing(a, b, maker, urgent) == {"uid-b"}


def test_two_cycles_with_a_path_in_common_are_both_broken_in_the_end() -> None:
    a, b, c = made("a", "x", "y", 1), made("b", "y", "x", 2), made("c", "y", "x", 3)
    first = failing(a, b, c)
    left = [x for x in (a, b, c) if x.key.uid not in first]
    assert first | failing(*left) == {"uid-b", "uid-c"}


def test_no_cycle_with_a_conversion_that_has_begun() -> None:
    a, b = begun(made("a", "x", "y", 1)), made("b", "y", "x", 2)
    assert failing(a, b) == set()
    assert queue_of(a, b).order == ("uid-a",)
    assert block_of("b", a, b) is not None


def test_the_others_of_a_cycle_continue_but_who_needs_the_output_fails() -> None:
    a, c = made("a", "z", "x", 1), made("c", "x", "y", 2)
    last = with_status(made("b", "y", "z", 3), Phase.FAILED, Reason.INPUT_CYCLE, ended=5)
    user = made("user", "z", "u", 4)
    assert block_of("a", a, c, last, user) is None
    block = block_of("user", a, c, last, user)
    assert block is not None
    assert block.reason == Reason.INPUT_NOT_MADE


@st.composite
def namespaces(draw: st.DrawFn) -> list[Conversion]:
    """A namespace with conversions that use few paths."""
    path = st.sampled_from("abcdef")
    subjects = []
    for number in range(draw(st.integers(1, 7))):
        reads, writes = draw(path), draw(path)
        subject = made(str(number), reads, writes, draw(st.integers(0, 3)), arrival=number + 1)
        if subject.spec:
            given = subject.spec.model_copy(update={"priority": draw(st.integers(-1, 1))})
            subject = replace(subject, spec=given)
        subjects.append(begun(subject) if draw(st.booleans()) else subject)
    return subjects


@given(namespaces(), st.randoms(use_true_random=False))
def test_all_end_and_no_two_use_a_path_that_one_of_them_writes(
    subjects: list[Conversion], random: Any
) -> None:
    """One at a time starts or ends. Those that have begun together do not conflict."""
    unfinished = {c.key.uid: c for c in subjects}
    done: dict[str, Conversion] = {}
    running: dict[str, Conversion] = {}
    clock = 1000.0
    while unfinished:
        clock += 1
        parts = {uid: children(job(uid=uid)) for uid in running}
        queue = queue_of(*unfinished.values(), *done.values(), parts=parts)
        fatal = [
            u
            for u, b in queue.blocks.items()
            if b.reason in (Reason.INPUT_CYCLE, Reason.INPUT_NOT_MADE)
        ]
        assert queue.order or fatal or running, queue.blocks
        for uid in fatal:
            ending, reason = unfinished.pop(uid), queue.blocks[uid].reason
            done[uid] = with_status(ending, Phase.FAILED, reason, ended=clock)
        together = [*running.values(), *(unfinished[uid] for uid in queue.order)]
        for one in together:
            for other in together:
                if one is not other:
                    assert not {*one.output_paths} & {other.input_path, *other.output_paths}
        if queue.order and random.random() < 0.7:
            running[queue.order[0]] = unfinished[queue.order[0]]
        elif running:
            uid = random.choice(sorted(running))
            phase = random.choice([Phase.SUCCEEDED, Phase.FAILED])
            done[uid] = with_status(unfinished.pop(uid), phase, "x", ended=clock)
            del running[uid]


@pytest.mark.parametrize(
    ("status", "arrival"),
    [
        (None, 5),
        ({"phase": "Pending", "arrival": 3}, 3),
        ({"phase": "Queued", "arrival": 3}, 3),
        ({"phase": "Queued", "arrival": "x"}, 5),
        ({"phase": "Queued", "arrival": 0}, 5),
        ("x", 5),
    ],
)
def test_the_arrival_is_in_the_status_or_the_version(status: object, arrival: int) -> None:
    metadata = {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": "5"}
    assert parse_conversion({"metadata": metadata, "status": status}).arrival == arrival


def test_the_first_status_keeps_the_arrival_and_later_ones_do_not_change_it() -> None:
    subject = replace(conversion(), arrival=7)
    first = Transition.to(
        Snapshot(subject, Children(), at(0), POLICY), Phase.QUEUED, "x", ""
    ).status
    assert first.arrival == 7
    later = replace(subject, status=first, arrival=9)
    second = Transition.to(Snapshot(later, Children(), at(1), POLICY), Phase.QUEUED, "y", "").status
    assert second.arrival == 7


def several(name: str, reads: str, *writes: str, created: float = 0, **fields: Any) -> Conversion:
    """A conversion with several outputs."""
    subject = conversion(
        f"uid-{name}",
        created=at(created),
        inputFile=f"{reads}.mp4",
        conversionType=None,
        outputFile=None,
        outputs=[
            {"conversionType": "video_to_mp4", "outputFile": f"{path}.mp4"} for path in writes
        ],
    )
    subject = replace(subject, arrival=1, key=replace(subject.key, name=name))
    return replace(subject, **fields)


def with_outputs(subject: Conversion, *states: str, phase: Phase = Phase.FAILED) -> Conversion:
    """It has ended at 50. Each state may have a reason after a colon."""
    ended = with_status(subject, phase, "DiskFull", 50)
    assert ended.status
    parts = [each.partition(":") for each in states]
    listed = [OutputStatus(state=OutputState(s), reason=reason or None) for s, _, reason in parts]
    return replace(ended, status=ended.status.model_copy(update={"outputs": listed}))


def test_each_of_several_outputs_makes_others_wait() -> None:
    first = several("first", "a", "p", "q", created=0)
    second = several("second", "b", "r", "q", created=1)
    reader = made("reader", "p", "x", created=2)
    queue = queue_of(first, second, reader)
    assert queue.order == ("uid-first",)
    assert queue.blocks["uid-second"].reason == Reason.PATH_BUSY
    assert "/q.mp4" in queue.blocks["uid-second"].message
    assert queue.blocks["uid-reader"].reason == Reason.WAITING_FOR_INPUT


@pytest.mark.parametrize(
    ("states", "reads", "message"),
    [
        (("Succeeded", "Failed:DiskFull"), "p", ""),
        (("Succeeded", "Failed:DiskFull"), "q", "failed (DiskFull)"),
        (("Pending", "Succeeded"), "p", "failed (DiskFull)"),
        (("Failed:OutputExists", "Succeeded"), "p", ""),
        (("Failed:OutputExists", "Pending"), "q", "failed (DiskFull)"),
        ((), "p", "failed (DiskFull)"),
    ],
)
def test_a_failed_conversion_may_have_made_an_input(
    states: tuple[str, ...], reads: str, message: str
) -> None:
    maker = with_outputs(several("maker", "a", "p", "q"), *states)
    block = block_of("reader", made("reader", reads, "x", created=1), maker)
    assert message in (block.message if block else "")
    assert bool(block) == bool(message)


@pytest.mark.parametrize(("reads", "message"), [("p", "left it out (NoVideoStream)"), ("q", "")])
def test_a_conversion_that_succeeds_may_have_left_out_an_input(reads: str, message: str) -> None:
    states = "Skipped:NoVideoStream", "Succeeded"
    maker = with_outputs(several("maker", "a", "p", "q"), *states, phase=Phase.SUCCEEDED)
    block = block_of("reader", made("reader", reads, "x", created=1), maker)
    assert message in (block.message if block else "")
    assert bool(block) == bool(message)


def test_two_readers_of_one_writer_learn_of_their_own_inputs() -> None:
    maker = with_outputs(several("maker", "a", "p", "q"), "Succeeded", "Pending")
    readers = made("one", "p", "x", created=1), made("two", "q", "y", created=2)
    queue = queue_of(maker, *readers)
    assert queue.order == ("uid-one",)
    assert queue.blocks["uid-two"].reason == Reason.INPUT_NOT_MADE


def test_two_that_would_wait_for_each_other_because_both_write_a_file() -> None:
    """The reader is ahead in the queue, so the maker of its input would wait for it."""
    reader = several("reader", "p", "q", "x", created=0)
    maker = several("maker", "a", "p", "x", created=1)
    queue = queue_of(reader, maker)
    assert queue.order == ()
    block = queue.blocks["uid-maker"]
    assert block.reason == Reason.INPUT_CYCLE
    assert "maker, reader would wait for each other: each reads or writes" in block.message
    refused = with_status(maker, Phase.FAILED, Reason.INPUT_CYCLE, 50)
    assert refused.status
    refused = replace(refused, status=refused.status.model_copy(update={"attempts": None}))
    # The other one starts as if this one had never been created.
    assert queue_of(reader, refused).order == ("uid-reader",)
    # In the other order, nothing is wrong.
    ahead = several("maker", "a", "p", "x", created=-1)
    assert queue_of(reader, ahead).order == ("uid-maker",)


def test_a_longer_cycle_through_files_that_two_write() -> None:
    reader = several("reader", "p", "q", "x", created=0)
    between = several("between", "b", "x", "y", created=1)
    maker = several("maker", "a", "p", "y", created=2)
    queue = queue_of(reader, between, maker)
    assert queue.blocks["uid-maker"].reason == Reason.INPUT_CYCLE
    assert queue_of(reader, between).order == ("uid-reader",)


@pytest.mark.parametrize("stage", ["fresh", "begun", "running"])
def test_nobody_waits_for_a_dry_run(stage: str) -> None:
    dry = made("dry", "a", "b", dry_run=True, output_paths=())
    dry = begun(dry) if stage == "begun" else dry
    parts = {"uid-dry": children(job(uid="uid-dry"))} if stage == "running" else {}
    others = made("same", "s", "b", 1), made("reader", "b", "c", 2), made("writer", "w", "a", 3)
    queue = queue_of(dry, *others[:1], others[2], parts=parts)
    assert {"uid-same", "uid-writer"} <= {*queue.order}
    # It waits for its own input, also before another attempt.
    assert ("uid-dry" in queue.blocks) == (stage != "running")
    assert queue_of(dry, others[1], parts=parts).order[-1] == "uid-reader"


def test_a_dry_run_that_has_ended_made_no_input() -> None:
    dry = with_status(made("dry", "a", "b"), Phase.SUCCEEDED, Reason.PLANNED, 50)
    dry = replace(dry, dry_run=True, output_paths=())
    failed = with_status(made("maker", "a", "b"), Phase.FAILED, "DiskFull", 40)
    block = block_of("reader", made("reader", "b", "c", 1), dry, failed)
    assert block
    assert block.reason == Reason.INPUT_NOT_MADE


def test_one_failed_conversion_is_enough_for_a_cycle() -> None:
    """Whoever only waits for a conversion of the cycle does not fail."""
    first = several("first", "p", "q", "z", created=0)
    second = made("second", "q", "p", created=1)
    behind = made("behind", "r", "q", created=2)
    queue = queue_of(first, second, behind)
    assert queue.blocks["uid-second"].reason == Reason.INPUT_CYCLE
    assert queue.blocks["uid-behind"].reason == Reason.PATH_BUSY
