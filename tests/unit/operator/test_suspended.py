"""Suspended Jobs: slots, verdicts, attempts, and how many may wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Attempt, Phase
from conversion_operator.cluster.parse_children import parse_job
from conversion_operator.controller.family import Family
from conversion_operator.core.admission import Obstacles
from conversion_operator.core.children import Job, Pod, Suspension
from conversion_operator.core.identity import Evidence
from conversion_operator.core.plan import DeleteJob
from conversion_operator.core.reconcile import decide
from conversion_operator.core.start_limits import StartLimits
from conversion_operator.core.suspended import hold_back
from conversion_operator.core.sweep import SWEEP_ATTEMPT
from media_converter.contract import EXIT_CODES, ExitReason
from tests.unit.operator.builders import (
    KEY,
    POLICY,
    T0,
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
from tests.unit.operator.queueing import build_queue, new_queue, slots_held, started

FROM_START = Suspension(active=True, from_start=True)
LATER = Suspension(active=True)
OBSERVED = Suspension(active=True, observed_at=at(20))
EMPTY = Suspension(active=True, observed_at=at(20), no_pod_left=True)
NOT_SEEN = Suspension(observed_at=at(20))
RESUMED = Suspension(resumed_at=at(30))
TERMINATED = EXIT_CODES[ExitReason.TERMINATED]


def with_suspension(suspension: Suspension, **changes: Any) -> Job:
    return job(suspension=suspension, **changes)


def stopped(**changes: Any) -> Pod:
    """A pod that was deleted while its converter ran."""
    return ended(TERMINATED, "Error", deletion_timestamp=at(21), **changes)


@pytest.mark.parametrize(
    ("parts", "slots"),
    [
        ((with_suspension(FROM_START),), 0),
        ((with_suspension(LATER),), 1),
        ((with_suspension(OBSERVED),), 1),
        ((with_suspension(EMPTY),), 0),
        ((with_suspension(EMPTY), running(deletion_timestamp=at(21))), 1),
        ((with_suspension(FROM_START), running()), 1),
        ((with_suspension(NOT_SEEN),), 1),
        ((with_suspension(RESUMED),), 1),
        ((with_suspension(EMPTY), stopped()), 0),
        ((with_suspension(RESUMED), stopped()), 1),
        ((with_suspension(RESUMED), stopped(), replace(running(created=at(31)), uid="b")), 1),
        ((with_suspension(RESUMED), succeeded(created=at(31))), 0),
    ],
    ids=[
        "suspended from the start",
        "the Job controller may still create a pod",
        "there may be a pod that is not known",
        "a list has shown that there is none",
        "its pod still terminates",
        "a pod that must not exist",
        "resumed, and the Job controller has not seen it",
        "resumed",
        "its pod has ended",
        "resumed after its pod has ended",
        "resumed, and its next pod runs",
        "its next pod has ended",
    ],
)
def test_a_suspended_job_holds_no_slot_and_a_resumed_one_does(
    parts: tuple[Job | Pod, ...], slots: int
) -> None:
    assert slots_held({UID: children(*parts)}, ()) == slots


@pytest.mark.parametrize(
    ("own_job", "own_pod", "reason"),
    [
        (with_suspension(LATER), stopped(), Reason.JOB_SUSPENDED),
        (with_suspension(RESUMED), stopped(), Reason.JOB_SUSPENDED),
        (with_suspension(OBSERVED), running(deleted=True), Reason.JOB_SUSPENDED),
        (with_suspension(OBSERVED), pod(deleted=True), Reason.JOB_SUSPENDED),
        (
            with_suspension(OBSERVED),
            ended(137, "ContainerStatusUnknown", deletion_timestamp=at(21)),
            Reason.JOB_SUSPENDED,
        ),
        (with_suspension(RESUMED), stopped(created=at(31)), Reason.POD_DELETED),
        (with_suspension(Suspension()), stopped(), Reason.POD_DELETED),
        (with_suspension(LATER, deletion_timestamp=at(20)), stopped(), Reason.JOB_DELETED),
        (with_suspension(LATER), ended(137, "OOMKilled"), ExitReason.OUT_OF_MEMORY),
        (
            with_suspension(LATER),
            stopped(disruption="EvictionByEvictionAPI"),
            Reason.EVICTED,
        ),
        (
            with_suspension(LATER),
            ended(
                EXIT_CODES[ExitReason.DISK_FULL],
                "Error",
                bad_report(ExitReason.DISK_FULL),
                deletion_timestamp=at(21),
            ),
            ExitReason.DISK_FULL,
        ),
    ],
)
def test_the_end_of_a_pod_of_a_suspended_job(own_job: Job, own_pod: Pod, reason: str) -> None:
    _, later = step(conversion(), children(own_job, own_pod))
    attempts = status(later).attempts or []
    assert attempts[0].reason == reason
    counted = status(later).retries
    if reason == Reason.JOB_SUSPENDED:
        assert counted is None
        assert attempts[1].number == 2
        assert attempts[1].job_uid == own_job.uid
        assert (attempts[1].pod_uid, attempts[1].completion_time) == (None, None)
    else:
        assert len(attempts) == 1
        assert counted is not None


def test_it_waits_without_a_deadline_and_one_status_is_written() -> None:
    parts = children(with_suspension(FROM_START))
    plan, later = step(conversion(), parts)
    assert (status(later).phase, status(later).reason) == (Phase.QUEUED, Reason.JOB_SUSPENDED)
    plan, _ = step(later, parts, now=10**6)
    assert (plan.actions, plan.status, plan.requeue_after) == ((), None, None)


def test_another_image_does_not_replace_a_suspended_or_resumed_job() -> None:
    policy = replace(POLICY, image="my-converter:2")
    for suspension in (FROM_START, RESUMED):
        plan = decide(snapshot(conversion(), children(with_suspension(suspension)), policy=policy))
        assert not plan.actions


@pytest.mark.parametrize(
    ("suspension", "now", "deleted"),
    [(RESUMED, 329, False), (RESUMED, 331, True), (NOT_SEEN, 10**6, False)],
    ids=["in time", "too late", "the Job controller has not seen it"],
)
def test_the_start_timeout_begins_when_it_is_resumed(
    suspension: Suspension, now: float, deleted: bool
) -> None:
    plan = decide(snapshot(conversion(), children(with_suspension(suspension)), now))
    assert any(isinstance(action, DeleteJob) for action in plan.actions) is deleted


def test_the_next_pod_of_the_job_is_the_next_attempt() -> None:
    """Also if its mark and its label have the number of the first attempt."""
    first, second = stopped(), replace(running(created=at(31)), uid="pod-2")
    family = Family(Evidence("my-network", UID, exists=True, key=KEY))
    family.take(with_suspension(LATER))
    family.take(first)
    _, later = step(conversion(), family.children)
    family.take(replace(with_suspension(RESUMED), version=2))
    family.take(second)
    assert [p.duplicate for p in family.children.pods] == [False, True]
    family.use_attempts(True, {a.number: a for a in status(later).attempts or ()})
    found = {p.uid: (p.attempt, p.duplicate, p.job_name) for p in family.children.pods}
    name = job().name
    assert found == {first.uid: (1, False, name), "pod-2": (2, False, name)}
    assert [(j.attempt, j.name) for j in family.children.jobs] == [(2, name)]
    _, latest = step(later, family.children, now=40)
    assert (status(latest).phase, status(latest).job_name) == (Phase.RUNNING, name)
    assert [a.pod_uid for a in status(latest).attempts or ()] == [first.uid, "pod-2"]


def test_a_recorded_pod_that_is_gone_was_stopped_by_the_suspension() -> None:
    """The operator did not run then."""
    _, begun = step(conversion(), children(job(), running()))
    for suspension in (EMPTY, RESUMED):
        _, later = step(begun, children(with_suspension(suspension)), now=60)
        attempts = status(later).attempts or []
        assert [a.reason for a in attempts] == [Reason.JOB_SUSPENDED, None]
    before = Suspension(resumed_at=at(-5))
    _, later = step(begun, children(with_suspension(before)), now=60)
    assert len(status(later).attempts or ()) == 1


def test_a_suspended_job_whose_attempt_has_failed_is_deleted() -> None:
    report = bad_report(ExitReason.DISK_FULL)
    end = ended(EXIT_CODES[ExitReason.DISK_FULL], "Error", report, deletion_timestamp=at(21))
    parts = children(with_suspension(OBSERVED), end)
    _, waiting = step(conversion(), parts)
    assert any(isinstance(action, DeleteJob) for action in step(waiting, parts)[0].actions)


def test_the_uid_of_a_job_proves_it_when_its_first_attempt_is_no_longer_in_the_status() -> None:
    """And the key of the marks was lost."""
    recorded = {7: Attempt(number=7, start_time=T0, job_uid=job().uid)}
    family = Family(Evidence("my-network", UID, exists=True, attempts=recorded))
    family.take(with_suspension(RESUMED))
    assert [(j.attempt, j.duplicate) for j in family.children.jobs] == [(7, False)]


def test_a_pod_whose_job_is_gone_has_the_mark_of_the_first_attempt() -> None:
    recorded = {
        number: Attempt(number=number, start_time=T0, job_uid=job().uid) for number in (1, 2)
    }
    family = Family(Evidence("my-network", UID, exists=True, attempts=recorded, key=KEY))
    family.take(running())
    assert [(p.attempt, p.job_name) for p in family.children.pods] == [(2, job().name)]


def test_a_suspended_job_is_no_tombstone() -> None:
    """Somebody could resume it."""
    parts = children(with_suspension(OBSERVED), succeeded(deletion_timestamp=at(21)))
    _, done = step(conversion(), parts)
    assert status(done).phase is Phase.SUCCEEDED
    assert any(isinstance(action, DeleteJob) for action in step(done, parts)[0].actions)


def test_a_suspended_sweep_may_wait() -> None:
    _, done = step(conversion(maxRetries=0), children(job(), ended(137)))
    sweep = job(SWEEP_ATTEMPT, suspension=FROM_START)
    assert not decide(snapshot(done, children(sweep), now=1000)).actions
    assert decide(snapshot(done, children(sweep), now=3700)).actions
    assert decide(snapshot(done, children(replace(sweep, suspension=Suspension())), 1000)).actions


def test_a_suspended_job_without_a_pod_is_not_the_one_that_tries() -> None:
    refused, _ = _refused_and_suspended()
    other = conversion("0b3f0d52-7d1c-4a8e-9d0a-000000000002")
    parts = {other.key.uid: children(job(uid=other.key.uid, suspension=FROM_START))}
    assert build_queue([refused, other], parts, Obstacles(), at(11), POLICY).next_retry_at


def _refused_and_suspended() -> tuple[Any, Any]:
    warning = "FailedCreate: Error creating: pods is forbidden: exceeded quota: q"
    plan, refused = step(conversion(), children(job()), now=10, warning=warning)
    return refused, plan


@pytest.mark.parametrize(
    ("suspended", "reserved", "limit", "allowed"),
    [
        ({}, (), 3, "abcd"),
        ({"x": 10}, (), 3, "cd"),
        ({"x": 8}, (), 3, "abcd"),
        ({"x": 9}, (), 3, "acd"),
        ({"x": 8}, ("x",), 3, "acd"),
        ({"x": 8}, ("y", "y"), 3, "abcd"),
        ({"x": 10}, (), 12, "abcd"),
        ({"x": 5, "z": 5}, (), 3, "cd"),
    ],
)
def test_only_so_many_jobs_wait_suspended(
    suspended: dict[str, int], reserved: tuple[str, ...], limit: int, allowed: str
) -> None:
    policy = replace(POLICY, max_parallel=limit)
    namespaces = {"a": "x", "b": "x", "c": "y", "d": "y"}
    limits = StartLimits((), suspended, reserved, policy)
    assert "".join(started("abcd", namespaces, limits)) == allowed


def test_those_that_are_held_back_know_why() -> None:
    assert not hold_back({"x": 9}, POLICY)
    held = hold_back({"x": 10}, POLICY)
    assert held["x"].reason == Reason.WAITING_FOR_SLOT
    assert "10 Jobs are suspended" in held["x"].message
    own = children(with_suspension(FROM_START), job(2, deleted=True, suspension=FROM_START))
    queue = new_queue({}, {UID: own, "x": children(job())}, POLICY)
    assert queue.suspended() == {"my-network": 1}


def body(suspend: bool = True, generation: int = 2, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "j",
            "namespace": "my-network",
            "uid": "u",
            "resourceVersion": "1",
            "generation": generation,
        }
        | meta,
        "spec": {"suspend": suspend},
    }


def manager(name: str, time: str, **fields: Any) -> dict[str, Any]:
    return {"manager": name, "time": time, "fieldsV1": {"f:spec": {"f:suspend": {}} | fields}}


def test_what_a_job_says_about_being_suspended() -> None:
    fields = [
        manager("operator", "2026-01-01T12:00:03Z", **{"f:template": {}}),
        manager("kueue", "2026-01-01T12:00:02Z"),
        manager("kubectl-patch", "2026-01-01T12:00:01Z"),
        {"manager": "status", "fieldsV1": {"f:status": {}}},
    ]
    assert parse_job(body(generation=1, managedFields=fields)).suspension == FROM_START
    assert parse_job(body(managedFields=fields)).suspension == replace(LATER, manager="kueue")
    assert parse_job(body(deletionTimestamp="2026-01-01T12:00:00Z")).suspension == FROM_START
    assert parse_job(body(suspend=False)).suspension == Suspension()
    condition = {"type": "Suspended", "status": "True", "lastTransitionTime": T0.isoformat()}
    seen = body() | {"status": {"conditions": [condition]}}
    assert parse_job(seen).suspension == Suspension(active=True, observed_at=T0)
    again = body(suspend=False) | {"status": {"conditions": [condition | {"status": "False"}]}}
    assert parse_job(again).suspension == Suspension(resumed_at=T0)


def test_what_a_list_has_shown_holds_until_the_job_is_resumed() -> None:
    family = Family(Evidence("my-network", UID, exists=True, key=KEY))
    family.take(with_suspension(OBSERVED))
    family.take(with_suspension(OBSERVED, version=2))
    assert not family.children.jobs[0].holds_no_slot
    family.confirm_no_pod_left(job().uid)
    family.take(with_suspension(OBSERVED, version=3))
    assert family.children.jobs[0].holds_no_slot
    family.take(with_suspension(replace(OBSERVED, observed_at=at(50)), version=4))
    assert not family.children.jobs[0].holds_no_slot
