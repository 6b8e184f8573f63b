"""A list replaces what is known, and nothing that is newer than the list."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from conversion_operator.cluster.objects import Object, ObjectList, Resource
from conversion_operator.controller.list_history import HistoryWentBack
from conversion_operator.controller.store import Store
from conversion_operator.core.children import Job, Pod
from tests.unit.operator.builders import (
    UID,
    conversion,
    job,
    running,
)
from tests.unit.operator.store_versions import (
    confirm_deleted,
    conversion_number,
    event,
    job_at,
)

NAMESPACE = "my-network"
_MANY = 1000


def take_list(
    store: Store, resource: Resource, namespace: str, objects: ObjectList[Object]
) -> None:
    asyncio.run(store.replace(resource, namespace, objects))


def test_a_list_deletes_what_it_does_not_contain_but_nothing_newer(store: Store) -> None:
    store.apply(event("ADDED", job_at(5)))
    take_list(store, Resource.JOBS, NAMESPACE, ObjectList((), "4"))
    assert store.children(UID).live
    assert not store.missing(UID)
    take_list(store, Resource.JOBS, NAMESPACE, ObjectList((), "6"))
    confirm_deleted(store)
    assert not store.children(UID).live


@pytest.mark.parametrize("listed", [True, False], ids=["list", "watch"])
@pytest.mark.parametrize("child", [job_at(5), replace(running(), version=5)], ids=["job", "pod"])
def test_what_looks_deleted_counts_while_it_exists(
    store: Store, child: Job | Pod, listed: bool
) -> None:
    store.apply(event("ADDED", child))
    hidden = replace(child, version=6, managed=False, conversion_uid="", attempt=0)

    def hide(version: int) -> None:
        if listed:
            resource = Resource.JOBS if isinstance(child, Job) else Resource.PODS
            take_list(store, resource, NAMESPACE, ObjectList((), str(version)))
        else:
            store.apply(event("DELETED", replace(child, version=version)))

    hide(6)
    assert store.children(UID).live
    store.confirm(child, hidden)
    hide(7)
    assert store.children(UID).live
    assert [missing.uid for missing in store.missing(UID)] == [child.uid]
    store.confirm(child, replace(hidden, version=8, managed=True))
    assert store.children(UID).live
    assert not store.missing(UID)
    hide(9)
    store.confirm(child, replace(hidden, uid="another"))
    assert not store.children(UID).live
    assert not store.missing(UID)


def test_what_has_ended_and_looks_deleted_is_not_asked_for(store: Store) -> None:
    store.apply(event("ADDED", job_at(5, finished=True)))
    store.apply(event("DELETED", job_at(6, finished=True)))
    assert not store.missing(UID)
    assert [job.deleted for job in store.children(UID).jobs] == [True]


def test_a_later_sweep_takes_the_place_of_an_earlier_one(store: Store) -> None:
    earlier, later = replace(job(0), uid="earlier"), replace(job(0), uid="later", version=3)
    store.adopt(conversion().key, 0, earlier)
    store.apply(event("DELETED", replace(earlier, version=2)))
    store.apply(event("ADDED", later))
    assert [job.duplicate for job in store.children(UID).jobs] == [False, True]
    store.adopt(conversion().key, 0, later)
    assert [job.uid for job in store.children(UID).jobs if not job.duplicate] == ["later"]


def test_versions_that_went_back_are_noticed(store: Store) -> None:
    """As after a restore of etcd. Otherwise everything restored would be ignored as old."""
    take_list(store, Resource.JOBS, NAMESPACE, ObjectList((job_at(5),), "9"))
    take_list(store, Resource.JOBS, "another", ObjectList((), "3"))
    take_list(store, Resource.JOBS, NAMESPACE, ObjectList((job_at(5),), "9"))
    with pytest.raises(HistoryWentBack, match="version 8 after 9"):
        take_list(store, Resource.JOBS, NAMESPACE, ObjectList((job_at(5),), "8"))


def test_an_older_version_in_a_newer_list_is_noticed(store: Store) -> None:
    store.apply(event("ADDED", job_at(20)))
    take_list(store, Resource.JOBS, NAMESPACE, ObjectList((job_at(15),), "19"))  # requested earlier
    with pytest.raises(HistoryWentBack):
        take_list(store, Resource.JOBS, NAMESPACE, ObjectList((job_at(15),), "20"))


async def test_others_run_while_a_list_is_taken(store: Store) -> None:
    """Whoever has many objects must not stop the event loop with them."""
    many = ObjectList(tuple(conversion_number(n) for n in range(_MANY)), "7")
    steps, most = 0, 0
    taking = asyncio.create_task(store.replace(Resource.CONVERSIONS, NAMESPACE, many))
    while not taking.done():
        before = sum(1 for _ in store.conversions())
        await asyncio.sleep(0)
        most = max(most, sum(1 for _ in store.conversions()) - before)
        steps += 1
    assert most <= 200
    nothing: ObjectList[Object] = ObjectList((), "8")
    taking = asyncio.create_task(store.replace(Resource.CONVERSIONS, NAMESPACE, nothing))
    while not taking.done():
        before = sum(1 for _ in store.conversions())
        await asyncio.sleep(0)
        most = max(most, before - sum(1 for _ in store.conversions()))
    assert not [*store.conversions()]
    assert most <= 200


async def test_what_happens_while_a_list_is_taken_counts(store: Store) -> None:
    """What is newer than the list is not in it, and yet exists. What was deleted stays deleted."""
    for number in range(_MANY):
        store.update(conversion_number(number))
    last, new = f"uid-{_MANY - 1}", "uid-new"
    kept = ObjectList((conversion_number(0), conversion_number(_MANY - 2)), "7")
    taking = asyncio.create_task(store.replace(Resource.CONVERSIONS, NAMESPACE, kept))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not taking.done()
    store.apply(event("MODIFIED", conversion_number(_MANY - 1, version=8)))
    store.apply(event("ADDED", conversion_number("new", version=9)))
    store.apply(event("DELETED", conversion_number(_MANY - 2, version=10)))
    await taking
    assert {known.key.uid for known in store.conversions()} == {"uid-0", last, new}
