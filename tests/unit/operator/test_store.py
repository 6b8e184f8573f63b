"""What is known never goes back to what it was, whatever comes late or twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conversion_operator.cluster.objects import ObjectList, Resource, WatchEvent
from conversion_operator.controller.store import Store
from conversion_operator.core.model import Conversion, Job
from tests.unit.operator.builders import KEY, UID, conversion, job

NAMESPACE = "my-network"


def conversion_at(version: int, *, cancel: bool = False) -> Conversion:
    return replace(conversion(cancel=cancel), version=version)


def job_at(version: int, *, finished: bool = False) -> Job:
    return replace(job(finished="Complete" if finished else None), version=version)


def event(kind: str, item: Conversion | Job) -> WatchEvent[Conversion | Job]:
    return WatchEvent(kind, str(item.version), item)


@pytest.fixture
def store() -> Store:
    store = Store(lambda _: None)
    store.use_key(KEY)
    return store


def test_an_older_conversion_is_passed_over(store: Store) -> None:
    store.apply(event("MODIFIED", conversion_at(9, cancel=True)))
    store.apply(event("MODIFIED", conversion_at(5)))
    store.replace(Resource.CONVERSIONS, NAMESPACE, ObjectList((conversion_at(5),), "5"))
    known = store.conversion(UID)
    assert known
    assert known.cancel_requested


def test_a_deleted_conversion_does_not_come_back(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(5)))
    store.apply(event("DELETED", conversion_at(9)))
    store.apply(event("MODIFIED", conversion_at(7)))
    assert store.conversion(UID) is None


def test_an_older_job_is_passed_over(store: Store) -> None:
    store.apply(event("MODIFIED", job_at(9, finished=True)))
    store.apply(event("MODIFIED", job_at(5)))
    assert not store.children(UID).live


def test_a_job_that_is_deleted_does_not_come_back(store: Store) -> None:
    store.apply(event("ADDED", job_at(5)))
    store.apply(event("DELETED", job_at(9)))
    store.apply(event("MODIFIED", job_at(10)))
    assert not store.children(UID).live


def test_a_list_deletes_what_it_does_not_contain_but_nothing_newer(store: Store) -> None:
    store.apply(event("ADDED", job_at(5)))
    store.replace(Resource.JOBS, NAMESPACE, ObjectList((), "4"))
    assert store.children(UID).live
    store.replace(Resource.JOBS, NAMESPACE, ObjectList((), "6"))
    assert not store.children(UID).live
