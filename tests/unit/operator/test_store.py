"""What is known never goes back to what it was, whatever comes late or twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from conversion_operator.api.status import Attempt
from conversion_operator.cluster.objects import Object, ObjectList, Resource, WatchEvent
from conversion_operator.controller.store import Store
from conversion_operator.core.children import Children, Suspension
from conversion_operator.core.identity import KEY_BYTES, MarkKey
from conversion_operator.core.model import Key, Policy
from conversion_operator.core.plan import Snapshot
from conversion_operator.core.reconcile import decide
from tests.unit.operator.builders import (
    KEY,
    UID,
    at,
    children,
    conversion,
    job,
    running,
    status,
    step,
)
from tests.unit.operator.store_versions import (
    confirm_deleted,
    conversion_at,
    event,
    forged,
    job_at,
    pods_by_use,
)

NAMESPACE = "my-network"


def take_list(
    store: Store, resource: Resource, namespace: str, objects: ObjectList[Object]
) -> None:
    asyncio.run(store.replace(resource, namespace, objects))


def test_a_namespace_that_is_let_go_leaves_nothing_behind(store: Store) -> None:
    other = replace(conversion("uid-other"), key=Key("other", "other", "uid-other"))
    store.update(conversion_at(1))
    store.update(other)
    store.update(job_at(1))
    (path,) = other.output_paths
    assert (path,) == conversion_at(1).output_paths
    assert store.forget_namespaces(NAMESPACE.__eq__) == {UID}
    # The ConversionJob may be deleted while nothing watches its namespace.
    assert store.writers(NAMESPACE, path) == []
    assert [writer.key.uid for writer in store.writers("other", path)] == ["uid-other"]
    assert (store.conversion(UID), store.children(UID)) == (None, Children())
    assert UID not in store._families._namespaces
    store.update(conversion_at(1))
    assert [writer.key.uid for writer in store.writers(NAMESPACE, path)] == [UID]


def test_our_mark_tells_who_runs_the_latest_attempt(store: Store) -> None:
    theirs = MarkKey(bytes(KEY_BYTES)).mark(NAMESPACE, UID, 2)
    assert not store.is_marked(UID)
    store.update(job_at(1))
    assert store.is_marked(UID)
    # An attempt of another installation that is in the status. Its Job counts by its uid.
    attempts = [
        Attempt(number=number, start_time=at(0), job_uid=f"job-{UID}-{number}") for number in (1, 2)
    ]
    known = step(conversion(), children(job(), running()))[1]
    store.update(
        replace(known, version=2, status=status(known).model_copy(update={"attempts": attempts}))
    )
    store.update(replace(job(2), version=3, mark=theirs))
    assert [child.attempt for child in store.children(UID).jobs] == [1, 2]
    assert store.is_marked(UID)  # our Job may still run
    store.update(replace(job(finished="Failed"), version=4))
    assert not store.is_marked(UID)


def test_the_job_of_several_attempts_keeps_its_mark(store: Store) -> None:
    """Somebody has suspended and resumed it."""
    known = step(conversion(), children(job(), running()))[1]
    attempts = [
        Attempt(number=number, start_time=at(0), job_uid=f"job-{UID}-1") for number in (1, 2)
    ]
    store.update(
        replace(known, version=2, status=status(known).model_copy(update={"attempts": attempts}))
    )
    store.update(job_at(3))
    assert [child.attempt for child in store.children(UID).jobs] == [2]
    assert store.is_marked(UID)


def test_an_older_conversion_is_passed_over(store: Store) -> None:
    store.apply(event("MODIFIED", conversion_at(9, cancel=True)))
    store.apply(event("MODIFIED", conversion_at(5)))
    take_list(store, Resource.CONVERSIONS, NAMESPACE, ObjectList((conversion_at(5),), "5"))
    known = store.conversion(UID)
    assert known
    assert known.cancel_requested


def test_a_deleted_conversion_does_not_come_back(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(5)))
    store.apply(event("DELETED", conversion_at(9)))
    store.apply(event("MODIFIED", conversion_at(7)))
    assert store.conversion(UID) is None


def test_the_first_version_stays_the_arrival(store: Store) -> None:
    """The object may change before its status has the arrival."""
    store.apply(event("ADDED", replace(conversion_at(5), arrival=5)))
    store.apply(event("MODIFIED", replace(conversion_at(9), arrival=9)))
    changed = store.conversion(UID)
    assert changed
    assert (changed.version, changed.arrival) == (9, 5)


def test_conversions_are_found_by_their_output(store: Store) -> None:
    def found(path: str, namespace: str = NAMESPACE) -> list[str]:
        return [writer.key.uid for writer in store.writers(namespace, path)]

    first = replace(conversion("first", outputFile="out/a.mp4"), version=1)
    second = replace(conversion("second", outputFile="/out/a.mp4"), version=2)
    for item in (first, second):
        store.update(item)
    assert found("/out/a.mp4") == ["first", "second"]
    assert found("/out/a.mp4", "other") == found("/out/b.mp4") == []
    repaired = replace(conversion("second", outputFile="out/b.mp4"), version=3)
    store.update(repaired)
    assert (found("/out/a.mp4"), found("/out/b.mp4")) == (["first"], ["second"])
    store.apply(WatchEvent("DELETED", "4", replace(first, version=4)))
    take_list(store, Resource.CONVERSIONS, NAMESPACE, ObjectList((), "5"))
    assert found("/out/a.mp4") == found("/out/b.mp4") == []


def test_an_older_job_is_passed_over(store: Store) -> None:
    store.apply(event("MODIFIED", job_at(9, finished=True)))
    store.apply(event("MODIFIED", job_at(5)))
    assert not store.children(UID).live


def test_a_job_that_is_deleted_does_not_come_back(store: Store) -> None:
    store.apply(event("ADDED", job_at(5)))
    store.apply(event("DELETED", job_at(9)))
    confirm_deleted(store)
    store.apply(event("MODIFIED", job_at(10)))
    assert not store.children(UID).live


def test_a_child_in_another_namespace_belongs_to_nobody(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(1)))
    elsewhere = replace(job_at(5), namespace="another", mark=KEY.mark("another", UID, 1))
    store.apply(event("ADDED", elsewhere))
    assert store.children(UID) == Children()
    assert store.foreign(UID) == ()


def test_foreign_objects_are_told_apart(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(1)))
    forged = replace(job_at(5), uid="forged", attempt=99)
    store.apply(event("ADDED", job_at(4)))
    store.apply(event("ADDED", forged))
    assert store.children(UID).jobs == (job_at(4),)
    assert store.all_children() == {UID: store.children(UID)}
    assert (store.foreign(UID), store.foreign_count()) == ((forged,), 1)
    store.apply(event("DELETED", replace(forged, version=6)))
    store.apply(event("MODIFIED", replace(forged, version=7)))
    assert (store.foreign(UID), store.foreign_count()) == ((), 0)


def test_labels_and_marks_cannot_be_changed_later(store: Store) -> None:
    store.apply(event("ADDED", job_at(4)))
    for change in ({"conversion_uid": "another"}, {"attempt": 2}, {"mark": ""}):
        version = max(job.version for job in store.children(UID).jobs) + 1
        store.apply(event("MODIFIED", replace(job_at(version), **change)))
        assert store.children(UID).jobs == (job_at(version),)
    assert store.children("another") == Children()


def test_a_foreign_object_does_not_become_ours_by_its_labels(store: Store) -> None:
    store.apply(event("ADDED", replace(job_at(4), attempt=2)))
    store.apply(event("MODIFIED", job_at(5)))
    assert store.children(UID) == Children()


def test_a_job_without_a_mark_counts_when_its_uid_is_recorded(store: Store) -> None:
    unmarked = replace(job_at(4), mark="")
    store.apply(event("ADDED", unmarked))
    store.apply(event("ADDED", running()))
    assert store.children(UID) == Children()
    store.apply(event("ADDED", conversion_at(1)))
    assert store.foreign_count() == 2
    plan = decide(Snapshot(conversion_at(1), children(unmarked, running()), at(5), Policy()))
    store.apply(event("MODIFIED", replace(conversion_at(6), status=plan.status)))
    assert store.children(UID) == children(unmarked, running())
    assert store.foreign_count() == 0
    store.apply(event("DELETED", conversion_at(9)))
    assert store.children(UID) == children(unmarked, running())


def test_a_recorded_uid_counts_after_its_conversion_is_deleted(store: Store) -> None:
    """The Job is seen only then."""
    unmarked = replace(job_at(4), mark="")
    store.apply(event("ADDED", replace(job_at(3), uid="forged", attempt=99)))
    plan = decide(Snapshot(conversion_at(1), children(unmarked), at(5), Policy()))
    store.apply(event("ADDED", replace(conversion_at(6), status=plan.status)))
    store.apply(event("DELETED", conversion_at(7)))
    store.apply(event("ADDED", unmarked))
    assert store.children(UID).jobs == (unmarked,)


def test_a_job_without_a_mark_counts_when_a_create_request_returns_it(store: Store) -> None:
    """An admission webhook removed the mark, and the watch was faster than the response."""
    unmarked = replace(job_at(4), mark="")
    store.apply(event("ADDED", unmarked))
    assert store.children(UID) == Children()
    store.adopt(conversion().key, 1, unmarked)
    assert store.children(UID).jobs == (unmarked,)


def test_marks_count_once_there_is_a_key() -> None:
    changed: list[str] = []
    store = Store(changed.append)
    store.apply(event("ADDED", job_at(4)))
    store.apply(event("ADDED", running()))
    assert store.children(UID) == Children()
    changed.clear()
    store.use_key(KEY)
    assert store.children(UID) == children(job_at(4), running())
    assert changed == [UID]


def test_a_version_that_says_nothing_new_is_known_and_reported_to_nobody() -> None:
    """The Job controller counts in the status of a Job. Each report leads to a reconcile."""
    changed: list[str] = []
    store = Store(changed.append)
    store.use_key(KEY)
    store.update(job_at(1))
    store.update(replace(running(), version=2))
    changed.clear()
    store.update(job_at(3))
    store.update(replace(running(), version=4))
    known = store.children(UID)
    assert [child.version for child in (*known.jobs, *known.pods)] == [3, 4]
    assert not changed
    store.update(job_at(5, finished=True))
    assert changed == [UID]


def test_each_version_of_several_pods_is_reported() -> None:
    """Their order depends on their versions."""
    changed: list[str] = []
    store = Store(changed.append)
    store.use_key(KEY)
    store.update(job_at(1))
    pods = [replace(running(), uid=uid, name=uid) for uid in ("a", "b")]
    for version, pod in enumerate(pods, 2):
        store.update(replace(pod, version=version))
    changed.clear()
    store.update(replace(pods[0], version=9))
    assert changed == [UID]


def test_each_version_of_a_suspended_job_is_reported_until_its_pods_are_known() -> None:
    """Its pods are listed for one version of it. If there is a newer one, they are listed again."""
    changed: list[str] = []
    store = Store(changed.append)
    store.use_key(KEY)
    suspended = replace(job(), suspension=Suspension(active=True, observed_at=at(5)))
    store.update(replace(suspended, version=1))
    changed.clear()
    store.update(replace(suspended, version=2))
    assert changed == [UID]
    store.confirm_no_pod_left(store.children(UID).jobs[0])
    changed.clear()
    store.update(replace(suspended, version=3))
    assert not changed
    assert store.children(UID).jobs[0].holds_no_slot


def test_a_late_response_does_not_replace_a_newer_version(store: Store) -> None:
    store.apply(event("ADDED", job_at(4)))
    store.apply(event("MODIFIED", job_at(9, finished=True)))
    store.adopt(conversion().key, 1, job_at(4))
    assert store.children(UID).jobs == (job_at(9, finished=True),)


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_late_response_does_not_bring_a_deleted_job_back(store: Store, forgotten: bool) -> None:
    store.apply(event("ADDED", job_at(4)))
    store.apply(event("DELETED", job_at(9)))
    confirm_deleted(store)
    if forgotten:
        store.forget_deleted(UID)
    store.adopt(conversion().key, 1, job_at(4))
    assert not store.children(UID).live


def test_a_late_response_does_not_bring_a_deleted_foreign_job_back(store: Store) -> None:
    """An admission webhook has removed its mark."""
    store.apply(event("ADDED", replace(job_at(4), mark="")))
    store.apply(event("DELETED", replace(job_at(9), mark="")))
    store.adopt(conversion().key, 1, replace(job_at(4), mark=""))
    assert store.children(UID) == Children()


def test_a_late_response_keeps_the_pod_that_was_seen(store: Store) -> None:
    """An older pod with a copied mark does not take its place."""
    store.apply(event("ADDED", job_at(2)))
    store.apply(event("ADDED", running()))
    store.apply(event("ADDED", forged("older", 5, created=at(-1))))
    assert pods_by_use(store) == ([running().uid], ["older"])
    store.adopt(conversion().key, 1, job_at(2))
    assert pods_by_use(store) == ([running().uid], ["older"])


def test_each_of_several_outputs_has_its_writers(store: Store) -> None:
    first = replace(conversion_at(1), output_paths=("/p", "/q", "/p"))
    store.update(first)
    assert [len([*store.writers(NAMESPACE, path)]) for path in ("/p", "/q", "/r")] == [1, 1, 0]
    store.update(replace(first, version=2, output_paths=("/q", "/r")))
    assert [len([*store.writers(NAMESPACE, path)]) for path in ("/p", "/q", "/r")] == [0, 1, 1]
    store.apply(event("DELETED", replace(first, version=3)))
    assert [len([*store.writers(NAMESPACE, path)]) for path in ("/p", "/q", "/r")] == [0, 0, 0]
