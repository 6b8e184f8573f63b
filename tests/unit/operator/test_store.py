"""What is known never goes back to what it was, whatever comes late or twice."""

from __future__ import annotations

from typing import Any

import pytest

from conversion_operator.cluster.objects import ObjectList, Resource, WatchEvent
from conversion_operator.controller.store import Store
from conversion_operator.core.manifest import build_job
from tests.unit.operator.builders import POLICY, UID, conversion

NAMESPACE = "my-network"


def conversion_body(version: int, *, cancel: bool = False) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": "c",
            "uid": UID,
            "resourceVersion": str(version),
        },
        "spec": {
            "conversionType": "video_to_mp4",
            "inputFile": "input/a.mov",
            "outputFile": "output/a.mp4",
            **({"cancel": True} if cancel else {}),
        },
    }


def job_body(version: int, *, finished: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = build_job(conversion(), 1, POLICY, False)
    body["metadata"] |= {"uid": "job-1", "resourceVersion": str(version)}
    conditions = [{"type": "Complete", "status": "True"}] if finished else []
    return body | {"status": {"conditions": conditions}}


@pytest.fixture
def store() -> Store:
    return Store(lambda _: None)


def test_an_older_conversion_is_passed_over(store: Store) -> None:
    store.apply(Resource.CONVERSIONS, WatchEvent("MODIFIED", conversion_body(9, cancel=True)))
    store.apply(Resource.CONVERSIONS, WatchEvent("MODIFIED", conversion_body(5)))
    store.replace(Resource.CONVERSIONS, NAMESPACE, ObjectList((conversion_body(5),), "5"))
    known = store.conversion(UID)
    assert known
    assert known.cancelled


def test_a_deleted_conversion_does_not_come_back(store: Store) -> None:
    store.apply(Resource.CONVERSIONS, WatchEvent("ADDED", conversion_body(5)))
    store.apply(Resource.CONVERSIONS, WatchEvent("DELETED", conversion_body(9)))
    store.apply(Resource.CONVERSIONS, WatchEvent("MODIFIED", conversion_body(7)))
    assert store.conversion(UID) is None


def test_an_older_job_is_passed_over(store: Store) -> None:
    store.apply(Resource.JOBS, WatchEvent("MODIFIED", job_body(9, finished=True)))
    store.apply(Resource.JOBS, WatchEvent("MODIFIED", job_body(5)))
    assert not store.children(UID).live


def test_a_job_that_is_gone_does_not_come_back(store: Store) -> None:
    store.apply(Resource.JOBS, WatchEvent("ADDED", job_body(5)))
    store.apply(Resource.JOBS, WatchEvent("DELETED", job_body(9)))
    store.apply(Resource.JOBS, WatchEvent("MODIFIED", job_body(10)))
    assert not store.children(UID).live


def test_a_list_takes_away_what_it_does_not_have_and_nothing_newer(store: Store) -> None:
    store.apply(Resource.JOBS, WatchEvent("ADDED", job_body(5)))
    store.replace(Resource.JOBS, NAMESPACE, ObjectList((), "4"))
    assert store.children(UID).live
    store.replace(Resource.JOBS, NAMESPACE, ObjectList((), "6"))
    assert not store.children(UID).live


def test_nothing_is_complete_before_all_three_were_listed(store: Store) -> None:
    for resource in Resource:
        assert not store.complete([NAMESPACE])
        store.replace(resource, NAMESPACE, ObjectList((), "1"))
    assert store.complete([NAMESPACE])
    assert not store.complete([NAMESPACE, "another"])
