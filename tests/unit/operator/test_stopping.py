"""spec.suspend: the conversion waits, and an attempt that runs is stopped without being counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase, Retries
from conversion_operator.core.admission import Obstacles
from conversion_operator.core.attempts import next_attempt_at
from conversion_operator.core.children import Children, Job, Pod, Suspension
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import DeleteJob
from conversion_operator.core.reconcile import decide
from media_converter.contract import EXIT_CODES, ExitReason
from tests.unit.operator.builders import (
    POLICY,
    UID,
    at,
    bad_report,
    children,
    conversion,
    ended,
    job,
    pod,
    running,
    snapshot,
    status,
    step,
    succeeded,
)
from tests.unit.operator.queueing import Built, build_queue

FAILURES = Retries(failures=5)
TERMINATED = EXIT_CODES[ExitReason.TERMINATED]


def suspended(given: Conversion) -> Conversion:
    return replace(given, suspend=True)


def deleting(**changes: Any) -> Job:
    return job(deletion_timestamp=at(20), **changes)


def stopped(code: int = TERMINATED, report: str = "", **changes: Any) -> Pod:
    return ended(code, "Error", report, deletion_timestamp=at(50), **changes)


def test_it_waits_and_says_why_and_keeps_its_place() -> None:
    held, other = (
        suspended(conversion()),
        conversion("0b3f0d52-7d1c-4a8e-9d0a-000000000002", outputFile="other.mp4"),
    )
    built = build_queue([held, other], {}, Obstacles(), at(1), POLICY)
    assert built.order == (other.key.uid,)
    assert built.position(held.key) == 1
    assert built.blocks[UID].reason == Reason.SUSPENDED
    plan = decide(snapshot(held, position=1, block=built.blocks[UID]))
    assert plan.status
    assert (plan.status.phase, plan.status.reason) == (Phase.QUEUED, Reason.SUSPENDED)
    assert plan.status.queue_position == 1


@pytest.mark.parametrize(
    "parts",
    [(job(),), (job(), pod()), (job(), running()), (job(suspension=Suspension(active=True)),)],
    ids=["no pod yet", "starting", "running", "its Job is suspended, too"],
)
def test_an_attempt_is_stopped_and_the_status_says_so(parts: tuple[Job | Pod, ...]) -> None:
    plan, stopping = step(suspended(conversion()), children(*parts))
    assert [type(action) for action in plan.actions] == [DeleteJob]
    assert status(stopping).reason == Reason.SUSPENDED
    assert [a.completion_time for a in status(stopping).attempts or ()] == [None]
    # It is said once, and the Job is deleted once.
    again, _ = step(stopping, children(deleting(), *parts[1:]), now=21)
    assert (again.actions, again.status) == ((), None)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    "parts",
    [(deleting(), stopped()), (deleting(), stopped(137)), (), (stopped(deleted=True),)],
    ids=["stopped", "killed", "everything is gone", "its Job is gone"],
)
def test_a_stopped_attempt_counts_for_nothing(resumed: bool, parts: tuple[Job | Pod, ...]) -> None:
    _, begun = step(conversion(), children(job(), running()))
    _, stopping = step(suspended(begun), children(job(), running()), now=20)
    stopping = replace(stopping, suspend=not resumed)
    _, waiting = step(stopping, children(*parts), now=60)
    assert (status(waiting).phase, status(waiting).reason) == (Phase.QUEUED, Reason.SUSPENDED)
    assert status(waiting).retries is None
    [attempt] = status(waiting).attempts or []
    assert (attempt.reason, attempt.completion_time) == (Reason.SUSPENDED, at(60))


@pytest.mark.parametrize(
    ("end", "phase", "reason"),
    [
        (succeeded(), Phase.SUCCEEDED, ExitReason.COMPLETED),
        (
            stopped(EXIT_CODES[ExitReason.INPUT_DAMAGED], bad_report(ExitReason.INPUT_DAMAGED)),
            Phase.FAILED,
            ExitReason.INPUT_DAMAGED,
        ),
        (
            stopped(EXIT_CODES[ExitReason.DISK_FULL], bad_report(ExitReason.DISK_FULL)),
            Phase.QUEUED,
            Reason.RETRY_BACKOFF,
        ),
    ],
)
def test_an_attempt_that_has_ended_by_itself_has_its_own_end(
    end: Pod, phase: Phase, reason: str
) -> None:
    _, stopping = step(suspended(conversion()), children(job(), running()))
    _, later = step(stopping, children(deleting(), end), now=60)
    assert (status(later).phase, status(later).reason) == (phase, reason)


def test_another_disruption_after_it_was_resumed_counts() -> None:
    _, waiting = step(suspended(conversion()), children(job(), running()))
    _, waiting = step(waiting, children(deleting(), stopped()), now=60)
    resumed = replace(waiting, suspend=False)
    _, later = step(resumed, children(job(2), stopped(attempt=2)), now=90)
    assert status(later).reason == Reason.RETRY_BACKOFF
    assert (status(later).retries or POLICY) != POLICY
    counted = status(later).retries
    assert counted
    assert counted.disruptions == 1


def test_a_cancel_comes_first() -> None:
    given = replace(suspended(conversion()), cancel=True)
    _, later = step(given, children(job(), running()))
    assert status(later).reason == Reason.CANCELLING
    _, later = step(given, children())
    assert status(later).phase is Phase.CANCELLED


LOST = 30 + POLICY.lost_timeout
"""When a pod that has been terminating since 30 counts as lost."""


def lost_while_suspended(*, first: bool = True) -> tuple[Conversion, Pod]:
    """A conversion whose node did not come back. Suspended first, or after its node was lost."""
    lost = running(deletion_timestamp=at(30))
    if first:
        _, stopping = step(suspended(conversion()), children(job(), running()))
    else:
        _, stopping = step(conversion(), children(job(), running()))
    _, later = step(stopping, children(deleting(), lost), now=200)
    assert status(later).reason == Reason.NODE_UNREACHABLE
    return step(suspended(later), children(deleting(), lost), now=LOST)[1], lost


@pytest.mark.parametrize("first", [True, False])
def test_a_lost_node_does_not_end_a_suspended_conversion(first: bool) -> None:
    waiting, lost = lost_while_suspended(first=first)
    assert (status(waiting).phase, status(waiting).reason) == (Phase.QUEUED, Reason.SUSPENDED)
    assert "did not respond" in status(waiting).message
    assert status(waiting).retries is None
    [attempt] = status(waiting).attempts or []
    assert (attempt.reason, attempt.completion_time) == (Reason.NODE_LOST, at(LOST))
    # It waits on, and nothing is written again and again.
    plan, waiting = step(waiting, children(deleting(), lost), now=LOST + 60)
    plan, waiting = step(waiting, children(deleting(), lost), now=LOST + 120)
    assert (plan.actions, plan.status, plan.requeue_after) == ((), None, None)
    # The node comes back, or the pod is deleted by force.
    _, resumed = step(replace(waiting, suspend=False), children(), now=LOST + 1000)
    assert status(resumed).phase is Phase.QUEUED
    assert build_queue([resumed], {}, Obstacles(), at(LOST + 1000), POLICY).order == (UID,)


def test_a_lost_pod_of_a_suspended_conversion_takes_no_slot_and_nothing_else_starts() -> None:
    waiting, lost = lost_while_suspended()
    parts = children(deleting(), lost)

    def built(given: Conversion, now_children: Children) -> Built:
        return build_queue([given], {UID: now_children}, Obstacles(), at(LOST + 60), POLICY)

    assert built(waiting, parts).queue.slots_held() == 0
    assert built(replace(waiting, suspend=False), parts).order == ()
    # Nothing else is left out: another pod of the Job, or a Job that is not being deleted.
    second = replace(lost, uid="another")
    assert built(waiting, children(deleting(), lost, second)).queue.slots_held() == 1
    assert built(waiting, children(job(), lost)).queue.slots_held() == 1
    assert built(waiting, children(job(2), lost)).queue.slots_held() == 1
    assert built(waiting, children(deleting(), running())).queue.slots_held() == 1


def test_a_resumed_conversion_fails_while_its_lost_pod_exists() -> None:
    waiting, lost = lost_while_suspended()
    resumed = replace(waiting, suspend=False)
    _, later = step(resumed, children(deleting(), lost), now=LOST + 60)
    assert (status(later).phase, status(later).reason) == (Phase.FAILED, Reason.NODE_LOST)


def test_a_lost_node_does_not_end_a_conversion_that_is_suspended_while_it_waits() -> None:
    """The pod did not start in time, so its attempt has ended."""
    _, begun = step(conversion(), children(job()))
    _, waiting = step(begun, children(job(), pod()), now=300)
    lost = pod(deletion_timestamp=at(330))
    parts, then = children(deleting(), lost), 330 + POLICY.lost_timeout
    assert status(waiting).phase is Phase.QUEUED
    _, held = step(suspended(waiting), parts, now=then)
    assert (status(held).phase, status(held).reason) == (Phase.QUEUED, Reason.SUSPENDED)
    built = build_queue([held], {UID: parts}, Obstacles(), at(then), POLICY)
    assert built.queue.slots_held() == 0
    plan, _ = step(step(held, parts, now=then + 60)[1], parts, now=then + 120)
    assert (plan.actions, plan.status, plan.requeue_after) == ((), None, None)


def test_the_next_attempt_does_not_wait_for_the_back_off_of_earlier_ones() -> None:
    _, failed = step(conversion(), children(job(), ended(137)))
    failed = replace(failed, status=status(failed).model_copy(update={"retries": FAILURES}))
    _, stopping = step(suspended(failed), children(job(2), running(2)), now=1000)
    _, waiting = step(stopping, children(job(2, deletion_timestamp=at(1000))), now=1000)
    _, waiting = step(waiting, children(), now=1010)
    assert status(waiting).retries == FAILURES
    assert next_attempt_at(status(waiting)) == at(1011)


def test_the_reason_of_the_stop_outlives_a_node_that_does_not_respond() -> None:
    _, stopping = step(suspended(conversion()), children(job(), running()))
    lost = running(deletion_timestamp=at(30))
    _, later = step(stopping, children(deleting(), lost), now=200)
    assert status(later).reason == Reason.NODE_UNREACHABLE
    resumed = replace(later, suspend=False)
    _, waiting = step(resumed, children(deleting(), stopped()), now=300)
    assert (status(waiting).phase, status(waiting).reason) == (Phase.QUEUED, Reason.SUSPENDED)
    assert status(waiting).retries is None
