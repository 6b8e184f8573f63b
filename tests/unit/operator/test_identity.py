"""Whose Job, whose pod: by recorded uids, by marks, by controllers, and never by labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from conversion_operator.api.status import Attempt
from conversion_operator.cluster.mark_key import (
    KEY_ANNOTATION,
    UNMARKED_BEFORE_ANNOTATION,
    format_key,
    parse_key,
)
from conversion_operator.controller.leadership import Leadership
from conversion_operator.core.children import CONVERSION_KIND, JOB_KIND, Controller, Job, Pod
from conversion_operator.core.identity import (
    KEY_BYTES,
    Bound,
    Evidence,
    MarkKey,
    identify_job,
    identify_pods,
)
from conversion_operator.core.manifest import sweep_name
from tests.unit.operator.builders import KEY, T0, UID, at, job, pod

NAMESPACE = "my-network"
ANOTHER = "0b3f0d52-7d1c-4a8e-9d0a-000000000002"
UPGRADED = replace(KEY, unmarked_before=at(60))


def attempt(number: int = 1, job_uid: str | None = None, pod_uid: str | None = None) -> Attempt:
    return Attempt(number=number, start_time=T0, job_uid=job_uid, pod_uid=pod_uid)


def evidence(*recorded: Attempt, key: MarkKey | None = KEY, **bound: Bound) -> Evidence:
    """``attempt_1=Bound(…)`` is what this process has seen of attempt 1."""
    seen = {int(name.removeprefix("attempt_")): value for name, value in bound.items()}
    return Evidence(NAMESPACE, UID, True, {a.number: a for a in recorded}, seen, key)


NOTHING = evidence()
RECORDED = evidence(attempt(1, "job-recorded"))

OWN: Mapping[str, tuple[Job, Evidence]] = {
    "marked": (job(), NOTHING),
    "marked, its attempt is in the status without a uid": (job(), evidence(attempt())),
    "marked, another attempt is recorded": (job(2), RECORDED),
    "marked, lost its owner": (job(controller=None), NOTHING),
    "a sweep": (job(0), NOTHING),
    "recorded": (job(), evidence(attempt(1, job().uid))),
    "recorded, without a mark": (job(mark=""), evidence(attempt(1, job().uid))),
    "recorded, without a key": (job(mark=""), evidence(attempt(1, job().uid), key=None)),
    "seen": (job(mark=""), evidence(attempt_1=Bound(job().uid))),
    "recorded, without our label": (job(managed=False), evidence(attempt(1, job().uid))),
    "seen, without our label": (job(managed=False), evidence(attempt_1=Bound(job().uid))),
    "of a former release, in the status": (job(mark=""), evidence(attempt(), key=UPGRADED)),
    "of a former release, older than the status says": (
        job(mark="", created=at(-1)),
        evidence(attempt(), key=UPGRADED),
    ),
    "of a former release, not in the status": (job(mark=""), evidence(key=UPGRADED)),
    "of a former release, the next": (job(2, mark=""), evidence(attempt(), key=UPGRADED)),
}


@pytest.mark.parametrize(("child", "known"), OWN.values(), ids=OWN.keys())
def test_an_own_job(child: Job, known: Evidence) -> None:
    assert identify_job(child, known) == child


OTHER_CONTROLLER = Controller(CONVERSION_KIND, ANOTHER)

FOREIGN: Mapping[str, tuple[Job, Evidence]] = {
    "no mark": (job(mark=""), NOTHING),
    "a false mark": (job(mark="0" * 64), NOTHING),
    "marked, without our label": (job(managed=False), NOTHING),
    "marked, without our label, another is recorded": (job(managed=False), RECORDED),
    "of a former release, without our label": (
        job(mark="", managed=False),
        evidence(attempt(), key=UPGRADED),
    ),
    "not a mark": (job(mark="é"), NOTHING),
    "the mark of another attempt": (job(2, mark=job().mark), NOTHING),
    "the mark of another conversion": (job(mark=job(uid=ANOTHER).mark), NOTHING),
    "the mark of another key": (job(), evidence(key=MarkKey(b"x" * KEY_BYTES))),
    "no key yet": (job(), evidence(key=None)),
    "another name": (job(name="evil"), NOTHING),
    "the name of another attempt": (job(name=job(2).name), NOTHING),
    "the name of the sweep": (job(name=sweep_name(UID)), NOTHING),
    "another namespace": (job(namespace="other"), NOTHING),
    "the label of another conversion": (job(conversion_uid=ANOTHER), NOTHING),
    "another controller": (job(controller=OTHER_CONTROLLER), NOTHING),
    "a controller of another kind": (job(controller=Controller(JOB_KIND, UID)), NOTHING),
    "another is recorded, no mark": (job(mark=""), RECORDED),
    "recorded for another name": (job(name="evil"), evidence(attempt(1, job().uid))),
    "of a former release, younger than the status says": (
        job(mark="", created=at(1)),
        evidence(attempt(), key=UPGRADED),
    ),
    "of a former release, younger than the key": (
        job(mark="", created=at(60)),
        evidence(key=UPGRADED),
    ),
    "of a former release, a later attempt": (
        job(3, mark=""),
        evidence(attempt(), key=UPGRADED),
    ),
    "of a former release, no owner": (job(mark="", controller=None), evidence(key=UPGRADED)),
    "of a former release, another is recorded": (
        job(mark=""),
        replace(RECORDED, key=UPGRADED),
    ),
    "of a former release, the conversion does not exist": (
        job(mark=""),
        replace(evidence(key=UPGRADED), exists=False),
    ),
}


@pytest.mark.parametrize(("child", "known"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_job(child: Job, known: Evidence) -> None:
    assert identify_job(child, known) is None


@pytest.mark.parametrize(
    "known", [RECORDED, evidence(attempt_1=Bound("job-seen"))], ids=["recorded", "seen"]
)
def test_a_second_job_with_our_mark_is_a_duplicate(known: Evidence) -> None:
    assert identify_job(job(), known) == job(duplicate=True)


JOB = job()
OWNED = pod()
UNOWNED = pod(controller=None)
DELETED_JOB = job(deleted=True)


def younger(base: Pod, uid: str = "pod-younger", seconds: float = 1) -> Pod:
    return replace(base, uid=uid, name=f"{base.name}{uid}", created=at(seconds))


PODS: Mapping[str, tuple[list[Pod], list[Job], Evidence, list[str], list[str]]] = {
    # name: pods, own Jobs, evidence, uids that count, uids of duplicates
    "controlled": ([OWNED], [JOB], NOTHING, [OWNED.uid], []),
    "controlled, no mark": ([pod(mark="")], [JOB], NOTHING, [], []),
    "controlled, a false mark": ([pod(mark="0" * 64)], [JOB], NOTHING, [], []),
    "controlled, the mark of another attempt": ([pod(mark=pod(2).mark)], [JOB], NOTHING, [], []),
    "controlled, no mark, but recorded": (
        [pod(mark="")], [JOB], evidence(attempt(1, JOB.uid, OWNED.uid)), [OWNED.uid], [],
    ),
    "controlled by a recorded Job": (
        [OWNED], [], evidence(attempt(1, JOB.uid)), [OWNED.uid], [],
    ),
    "controlled by a recorded Job, no mark": (
        [pod(mark="")], [], evidence(attempt(1, JOB.uid)), [], [],
    ),
    "the key was lost, but the Job is recorded and has the same mark": (
        [pod(mark="lost")], [job(mark="lost")], evidence(attempt(1, JOB.uid)), [OWNED.uid], [],
    ),
    "neither the recorded Job nor its pod has a mark": (
        [pod(mark="")], [job(mark="")], evidence(attempt(1, JOB.uid)), [], [],
    ),
    "controlled, without our label": ([pod(managed=False)], [JOB], NOTHING, [], []),
    "controlled by a recorded Job, without our label": (
        [pod(managed=False)], [], evidence(attempt(1, JOB.uid)), [], [],
    ),
    "recorded, without our label": (
        [pod(managed=False)], [JOB], evidence(attempt(1, JOB.uid, OWNED.uid)), [OWNED.uid], [],
    ),
    "marked, its Job is unknown, without our label": (
        [pod(managed=False, controller=None)], [], NOTHING, [], [],
    ),
    "controlled, false label": ([replace(OWNED, attempt=7)], [JOB], NOTHING, [OWNED.uid], []),
    "marked while its Job exists": ([UNOWNED], [JOB], NOTHING, [], []),
    "marked, its Job is deleted": ([UNOWNED], [DELETED_JOB], NOTHING, [], [OWNED.uid]),
    "marked, its Job is unknown": ([UNOWNED], [], NOTHING, [], [OWNED.uid]),
    "marked, controlled by an unknown Job": ([OWNED], [], NOTHING, [], [OWNED.uid]),
    "marked, controlled by something else": (
        [pod(controller=Controller("apps/ReplicaSet", "r"))], [], NOTHING, [], [],
    ),
    "marked, controlled by a foreign Job": (
        [pod(controller=Controller(JOB_KIND, "foreign"))], [], NOTHING, [], [],
    ),
    "no mark, no Job": ([pod(mark="")], [], NOTHING, [], []),
    "the mark of another attempt": (
        [pod(2, controller=None, mark=pod().mark)], [], NOTHING, [], [],
    ),
    "a mark counts once": (
        [younger(UNOWNED), UNOWNED], [], NOTHING, [], [OWNED.uid],
    ),
    "a mark does not count beside a controlled pod": (
        [younger(UNOWNED, seconds=-1), OWNED], [DELETED_JOB], NOTHING, [OWNED.uid], [],
    ),
    "a mark does not count after another pod": (
        [UNOWNED], [DELETED_JOB], evidence(attempt(1, JOB.uid, "pod-recorded")), [], [],
    ),
    "a recorded pod that lost its Job": (
        [younger(UNOWNED), UNOWNED], [], evidence(attempt(1, JOB.uid, OWNED.uid)), [OWNED.uid], [],
    ),
    "a known pod with another label and another owner": (
        [replace(OWNED, attempt=2, mark="", controller=Controller(JOB_KIND, job(2).uid))],
        [JOB, job(2)], evidence(attempt(1, JOB.uid, OWNED.uid)), [OWNED.uid], [],
    ),
    "a seen pod that lost its owner": (
        [UNOWNED], [JOB], evidence(attempt_1=Bound(JOB.uid, OWNED.uid)), [OWNED.uid], [],
    ),
    "the Job controls two: the older counts": (
        [younger(OWNED), OWNED], [JOB], NOTHING, [OWNED.uid], ["pod-younger"],
    ),
    "the Job controls two of the same second: none counts": (
        [younger(OWNED, seconds=0), OWNED], [JOB], NOTHING, [], [OWNED.uid],
    ),
    "the Job controls two of the same second: the one that lives holds the slot": (
        [younger(OWNED, seconds=0), replace(OWNED, phase="Failed")], [JOB], NOTHING,
        [], ["pod-younger"],
    ),
    "the Job controls two of the same second: one is deleted": (
        [younger(OWNED, seconds=0), replace(OWNED, deleted=True)], [JOB], NOTHING,
        ["pod-younger"], [OWNED.uid],
    ),
    "the Job controls two of the same second: one has no mark": (
        [younger(pod(mark=""), "a", 0), OWNED], [JOB], NOTHING, [OWNED.uid], [],
    ),
    "the Job controls many: one is a duplicate": (
        [OWNED, *(younger(OWNED, f"pod-{n}", n) for n in range(1, 5))], [JOB], NOTHING,
        [OWNED.uid], ["pod-1"],
    ),
    "the recorded one and many forged ones": (
        [OWNED, *(younger(pod(mark=""), f"pod-{n}", n) for n in range(5))], [JOB],
        evidence(attempt(1, JOB.uid, OWNED.uid)), [OWNED.uid], [],
    ),
    "the Job controls two: the recorded counts": (
        [younger(OWNED), OWNED], [JOB], evidence(attempt(1, JOB.uid, "pod-younger")),
        ["pod-younger"], [OWNED.uid],
    ),
    "the recorded one is deleted": (
        [OWNED], [JOB], evidence(attempt(1, JOB.uid, "pod-recorded")), [], [OWNED.uid],
    ),
    "the pod of a duplicate": ([OWNED], [replace(JOB, duplicate=True)], NOTHING, [], [OWNED.uid]),
    "the pods of a duplicate": (
        [OWNED, younger(OWNED)], [replace(JOB, duplicate=True)], NOTHING, [], [OWNED.uid],
    ),
    "the pod of a duplicate, no mark": (
        [pod(mark="")], [replace(JOB, duplicate=True)], NOTHING, [], [],
    ),
    "another namespace": ([pod(namespace="other")], [JOB], NOTHING, [], []),
    "another conversion": ([pod(conversion_uid=ANOTHER)], [JOB], NOTHING, [], []),
    "of a former release, its Job deleted": (
        [pod(mark="")], [], evidence(attempt(), key=UPGRADED), [], [OWNED.uid],
    ),
    "of a former release, its Job is known": (
        [pod(mark="")], [job(mark="")], evidence(attempt(1, JOB.uid), key=UPGRADED),
        [OWNED.uid], [],
    ),
    "of a former release, started after the upgrade": (
        [pod(mark="", created=at(70))], [job(mark="")],
        evidence(attempt(1, JOB.uid), key=UPGRADED), [OWNED.uid], [],
    ),
    "no mark, although its Job has one, before the upgrade": (
        [pod(mark="")], [JOB], evidence(attempt(1, JOB.uid), key=UPGRADED), [], [],
    ),
    "of a former release, too young": (
        [pod(mark="", created=at(60))], [], evidence(attempt(), key=UPGRADED), [], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("pods", "jobs", "known", "counting", "duplicates"), PODS.values(), ids=PODS.keys()
)
def test_pods(
    pods: list[Pod],
    jobs: list[Job],
    known: Evidence,
    counting: list[str],
    duplicates: list[str],
) -> None:
    own = identify_pods(pods, {job.uid: job for job in jobs}, {"foreign"}, known).pods
    assert [pod.uid for pod in own if not pod.duplicate] == counting
    assert [pod.uid for pod in own if pod.duplicate] == duplicates
    assert all((pod.attempt, pod.job_name) == (1, JOB.name) for pod in own)


def test_a_mark_depends_on_namespace_uid_and_attempt() -> None:
    marks = {
        KEY.mark(namespace, uid, number)
        for namespace in ("a", "b")
        for uid in ("1", "2")
        for number in (1, 2, 12)
    }
    assert len(marks) == 12
    assert all(len(mark) == 64 for mark in marks)


@pytest.mark.parametrize("key", [KEY, UPGRADED])
def test_a_key_on_the_lease(key: MarkKey) -> None:
    assert parse_key(format_key(key)) == key
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "G" * 64, None, 7])
def test_what_is_not_a_key(text: object) -> None:
    assert parse_key({KEY_ANNOTATION: text}) is None


def test_a_time_that_is_not_one_proves_nothing() -> None:
    annotations = format_key(UPGRADED) | {UNMARKED_BEFORE_ANNOTATION: "tomorrow"}
    assert parse_key(annotations) == KEY


def test_times_of_the_key_are_whole_seconds() -> None:
    precise = replace(KEY, unmarked_before=at(60) + timedelta(milliseconds=500))
    assert parse_key(format_key(precise)) == UPGRADED


def test_late_jobs_of_a_release_without_marks_count() -> None:
    """The time on the Lease is the one that this leader uses."""
    cluster: Any = SimpleNamespace(now=lambda: at(10) + timedelta(milliseconds=900))
    lead = Leadership(cluster, "my-network", "op-a", lambda _: None, lambda _: None)
    key = lead._new_key_after_upgrade()
    assert key.unmarked_before == at(85)
    assert parse_key(format_key(key)) == key
