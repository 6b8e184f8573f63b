"""The evaluation of the audit log notices violations."""

from __future__ import annotations

import json
from typing import Any

from conversion_operator.api import names
from tests.load import audit


def pod(
    uid: str,
    version: int | None,
    conversion: str,
    phase: str = "Running",
    job: tuple[str, str] = ("j", "1"),
    **meta: Any,
) -> dict[str, Any]:
    stored = {} if version is None else {"resourceVersion": str(version)}
    owner = {"kind": "Job", "name": job[0], "uid": job[1]}
    metadata = {"uid": uid, "labels": {names.UID_LABEL: conversion}, "ownerReferences": [owner]}
    return {
        "stage": "ResponseComplete",
        "verb": "patch",
        "responseStatus": {"code": 200},
        "objectRef": {"resource": "pods", "namespace": "n", "name": uid},
        "responseObject": {
            "kind": "Pod",
            "metadata": metadata | stored | meta,
            "status": {"phase": phase},
        },
    }


def job(name: str, code: int = 201, time: str = "2026-01-31T09:05:01.000001Z") -> dict[str, Any]:
    return {
        "stage": "ResponseComplete",
        "stageTimestamp": time,
        "verb": "create",
        "responseStatus": {"code": code},
        "objectRef": {"resource": "jobs", "namespace": "n", "name": name},
    }


def peak_of(*records: dict[str, Any]) -> tuple[int, int]:
    found = audit.peak(audit.lives(records, ("n",)))
    return found.pods, found.of_one


def test_a_pod_created_after_the_end_of_another_does_not_overlap_it() -> None:
    assert peak_of(pod("a", 1, "x"), pod("a", 2, "x", "Failed"), pod("b", 3, "x")) == (1, 1)


def test_two_pods_of_one_conversion_are_noticed() -> None:
    assert peak_of(pod("a", 1, "x"), pod("b", 2, "x"), pod("a", 3, "x", "Failed")) == (2, 2)
    assert peak_of(pod("a", 1, "x"), pod("b", 2, "y"), pod("a", 3, "x", "Failed")) == (2, 1)


def test_records_are_ordered_by_version_not_by_line() -> None:
    assert peak_of(pod("b", 3, "x"), pod("a", 2, "x", "Failed"), pod("a", 1, "x")) == (1, 1)


def test_a_force_deleted_pod_lives_until_its_last_finalizer_is_removed() -> None:
    held = pod("a", 2, "x", deletionGracePeriodSeconds=0, finalizers=["f"])
    freed = pod("a", 4, "x", deletionGracePeriodSeconds=0)
    assert peak_of(pod("a", 1, "x"), held, pod("b", 3, "x"), freed) == (2, 2)
    assert peak_of(pod("a", 1, "x"), held, freed, pod("b", 5, "x")) == (1, 1)


def test_a_graceful_delete_does_not_end_a_pod() -> None:
    asked = pod("a", 2, "x", deletionGracePeriodSeconds=10)
    assert peak_of(pod("a", 1, "x"), asked, pod("b", 3, "x"), pod("a", 4, "x")) == (2, 2)


def test_an_answer_without_version_is_ordered_by_its_place_in_the_log() -> None:
    deleted = pod("a", None, "x", deletionGracePeriodSeconds=0)
    assert peak_of(pod("a", 1, "x"), pod("c", 2, "y"), deleted, pod("b", 3, "x")) == (2, 1)


def test_a_pod_whose_end_is_not_in_the_log_has_no_end() -> None:
    (life,) = audit.lives([pod("a", 1, "x"), pod("a", 5, "x")], ("n",))
    assert (life.ended, life.until) == (None, 6)


def test_the_peaks_of_queues_and_of_namespaces_in_them() -> None:
    bulk, fast = ({names.QUEUE_ANNOTATION: queue} for queue in ("bulk", "fast"))
    other = pod("c", 3, "z", annotations=bulk)
    other["objectRef"]["namespace"] = "m"
    found = audit.peak(
        audit.lives(
            [
                pod("a", 1, "x", annotations=bulk),
                pod("b", 2, "y", annotations=fast),
                other,
                pod("a", 4, "x", "Failed", annotations=bulk),
                pod("d", 5, "v", annotations=bulk),
                pod("e", 6, "w"),
            ],
            ("n", "m"),
        )
    )
    assert found.queues == {"bulk": 2, "fast": 1, "": 1}
    assert found.shares == {("bulk", "n"): 1, ("fast", "n"): 1, ("bulk", "m"): 1, ("", "n"): 1}
    assert found.pods == 2


def test_a_job_created_twice_is_noticed() -> None:
    assert audit.jobs_made([job("j-1"), job("j-2"), job("j-1")], ("n",)) == {"j-1": 2, "j-2": 1}


def test_a_job_created_twice_is_noticed_when_one_answer_was_lost() -> None:
    records = [pod("a", 1, "x", job=("j-1", "u1")), job("j-1"), pod("b", 2, "x", job=("j-1", "u2"))]
    assert audit.jobs_made(records, ("n",)) == {"j-1": 2}


def test_rejected_requests_and_incomplete_lines_are_not_changes() -> None:
    lines = [json.dumps(job("j-1", 409)), json.dumps(job("j-1")), json.dumps(job("j-2"))[:40]]
    assert list(audit.changes(lines, since="")) == [job("j-1")]


def test_changes_before_the_time_are_left_out() -> None:
    times = ("2026-01-31T09:04:59.999999Z", "2026-01-31T09:05:00.000000Z")
    before, after = (job("j-1", time=time) for time in times)
    lines = [json.dumps(before), json.dumps(after)]
    assert list(audit.changes(lines, since="2026-01-31T09:05:00.000000")) == [after]
