"""One conversion at a time tries to start where the API server refuses pods."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from conversion_operator.core.admission import Obstacles
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import DeleteJob
from conversion_operator.core.sweep import SWEEP_ATTEMPT
from tests.unit.operator.builders import (
    POLICY,
    at,
    children,
    conversion,
    ended,
    job,
    pod,
    retries,
    running,
    status,
    step,
)
from tests.unit.operator.queueing import Built, build_queue

DENIED = "FailedCreate: Error creating: failed calling webhook w: connection refused"
FULL = 'FailedCreate: Error creating: pods "x" is forbidden: exceeded quota: q'
REFUSED_AT = 5


def waiting(number: int, namespace: str = "my-network") -> Conversion:
    made = conversion(outputFile=f"out/{namespace}-{number}.mp4")
    key = replace(made.key, name=f"c{number}", uid=f"{namespace}-{number}", namespace=namespace)
    return replace(made, key=key, created=at(number))


def refuse(subject: Conversion, now: float = REFUSED_AT, warning: str = DENIED) -> Conversion:
    """Its Job has no pod, because the API server refused it."""
    mine = job(1, subject.key.uid, namespace=subject.key.namespace)
    plan, stored = step(subject, children(mine), now, warning=warning)
    assert plan.actions == (DeleteJob(mine, foreground=True),)
    return stored


def queue(*subjects: Conversion, now: float, parts: dict[str, Children] | None = None) -> Built:
    return build_queue(subjects, parts or {}, Obstacles(), at(now), POLICY)


def order(found: Built) -> list[str]:
    return list(found.order)


A, B, C = waiting(1), waiting(2), waiting(3)
OTHER = waiting(4, "theirs")
REFUSED = refuse(A)


@pytest.mark.parametrize(("warning", "reason"), [(DENIED, "PodRejected"), (FULL, "QuotaExceeded")])
def test_a_refused_pod_releases_the_slot_at_once_and_does_not_count(
    warning: str, reason: str
) -> None:
    stored = refuse(A, 2, warning)
    assert (status(stored).phase, status(stored).reason) == ("Queued", reason)
    assert warning.removeprefix("FailedCreate: ") in status(stored).message
    assert retries(stored).not_started == 0


def test_a_pod_that_exists_was_not_refused() -> None:
    """The Event may be older than the pod."""
    plan, _ = step(A, children(job(1, A.key.uid), pod(1, A.key.uid)), 4, warning=DENIED)
    assert plan.actions == ()


def test_the_others_of_the_namespace_wait_with_the_servers_words() -> None:
    found = queue(REFUSED, B, C, OTHER, now=7)
    assert order(found) == [OTHER.key.uid]
    assert {uid: block.reason for uid, block in found.blocks.items()} == {
        A.key.uid: "PodRejected",
        B.key.uid: "PodRejected",
        C.key.uid: "PodRejected",
    }
    assert "failed calling webhook" in found.blocks[B.key.uid].message
    assert found.next_retry_at == at(REFUSED_AT + 15)


def test_after_15_seconds_one_of_the_namespace_tries() -> None:
    """Not the same again: the refusal of a large conversion says nothing about a small one."""
    found = queue(REFUSED, B, C, OTHER, now=REFUSED_AT + 15)
    assert order(found) == [B.key.uid, OTHER.key.uid]
    again = refuse(B, 30)
    assert order(queue(REFUSED, again, C, now=45)) == [C.key.uid]
    assert order(queue(REFUSED, again, refuse(C, 50), now=65)) == [A.key.uid]


def test_while_one_tries_the_others_wait() -> None:
    trying = {B.key.uid: children(job(1, B.key.uid, created=at(20)))}
    found = queue(REFUSED, B, C, now=100, parts=trying)
    assert order(found) == []
    assert found.next_retry_at is None


@pytest.mark.parametrize(("created", "starts"), [(at(21), [A.key.uid, C.key.uid]), (at(1), [])])
def test_a_new_pod_shows_that_pods_are_accepted(created: datetime, starts: list[str]) -> None:
    found = {B.key.uid: children(job(1, B.key.uid), running(1, uid=B.key.uid, created=created))}
    assert order(queue(REFUSED, B, C, now=REFUSED_AT + 14, parts=found)) == starts


def test_the_end_of_a_pod_may_have_made_room() -> None:
    end = ended(0, uid=B.key.uid, job_name=job(1, B.key.uid).name)
    assert end.converter_end == at(11)
    done = {B.key.uid: children(job(1, B.key.uid, finished="Complete"), end)}
    assert order(queue(REFUSED, C, now=12, parts=done)) == [C.key.uid]
    assert order(queue(refuse(A, 11.5), C, now=12, parts=done)) == []


def test_a_refusal_in_a_full_queue_costs_no_retry() -> None:
    subject, now = A, 0.0
    for attempt in range(1, 200):
        now += 20
        mine = job(attempt, A.key.uid, created=at(now - 2))
        subject = step(subject, children(mine), now, warning=FULL)[1]
    assert status(subject).phase == "Queued"
    assert timedelta(seconds=now) > timedelta(hours=1)


def test_while_the_only_refused_one_tries_others_wait() -> None:
    """Its status still ends with the refused attempt until its pod exists."""
    trying = {A.key.uid: children(job(2, A.key.uid, created=at(20)))}
    assert order(queue(REFUSED, B, C, now=21, parts=trying)) == []


@pytest.mark.parametrize(
    "waits_in_vain", [{"attempt": SWEEP_ATTEMPT}, {"deletion_timestamp": at(7)}]
)
def test_a_job_that_shows_nothing_about_pods_keeps_nobody_waiting(
    waits_in_vain: dict[str, Any],
) -> None:
    other = {C.key.uid: children(replace(job(1, C.key.uid), **waits_in_vain))}
    assert order(queue(REFUSED, B, now=REFUSED_AT + 15, parts=other)) == [B.key.uid]


def test_a_job_under_a_status_that_cannot_be_read_keeps_nobody_waiting() -> None:
    """The operator leaves such a Job alone, so it never gets a pod."""
    unreadable = replace(C, status_error="a later release wrote it")
    parts = {C.key.uid: children(job(1, C.key.uid))}
    found = queue(REFUSED, B, unreadable, now=REFUSED_AT + 15, parts=parts)
    assert order(found) == [B.key.uid]


def test_events_are_read_as_soon_as_a_pod_is_late() -> None:
    plan, _ = step(A, children(job(1, A.key.uid)), 0.5)
    assert plan.requeue_after == timedelta(seconds=1.5)
