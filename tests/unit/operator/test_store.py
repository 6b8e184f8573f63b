"""What is known never goes back to what it was, whatever comes late or twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.status import Attempt
from conversion_operator.cluster.objects import Object, ObjectList, Resource, WatchEvent
from conversion_operator.controller import family
from conversion_operator.controller.list_history import HistoryWentBack
from conversion_operator.controller.store import Store
from conversion_operator.core.identity import KEY_BYTES, Identified, MarkKey, identify_pods
from conversion_operator.core.model import Children, Conversion, Job, Key, Pod, Policy, Suspension
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
from tests.unit.operator.queueing import slots_held

NAMESPACE = "my-network"
_MANY = 1000


def conversion_at(version: int, *, cancel: bool = False) -> Conversion:
    return replace(conversion(cancel=cancel), version=version)


def job_at(version: int, *, finished: bool = False) -> Job:
    return replace(job(finished="Complete" if finished else None), version=version)


def event(kind: str, item: Conversion | Job | Pod) -> WatchEvent[Conversion | Job | Pod]:
    return WatchEvent(kind, str(item.version), item)


@pytest.fixture
def store() -> Store:
    store = Store(lambda _: None)
    store.use_key(KEY)
    return store


def take_list(
    store: Store, resource: Resource, namespace: str, objects: ObjectList[Object]
) -> None:
    asyncio.run(store.replace(resource, namespace, objects))


def confirm_deleted(store: Store) -> None:
    for child in store.missing(UID):
        store.confirm(child, None)


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
    assert UID not in store._namespaces
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


def test_a_later_sweep_takes_the_place_of_an_earlier_one(store: Store) -> None:
    earlier, later = replace(job(0), uid="earlier"), replace(job(0), uid="later", version=3)
    store.adopt(conversion().key, 0, earlier)
    store.apply(event("DELETED", replace(earlier, version=2)))
    store.apply(event("ADDED", later))
    assert [job.duplicate for job in store.children(UID).jobs] == [False, True]
    store.adopt(conversion().key, 0, later)
    assert [job.uid for job in store.children(UID).jobs if not job.duplicate] == ["later"]


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


def test_the_mark_of_a_forgotten_pod_is_worth_nothing(store: Store) -> None:
    """The conversion is deleted, and then its Job and pod. Somebody has copied the mark."""
    for kind, version in (("ADDED", 1), ("DELETED", 2)):
        for item in (job(), running()):
            store.apply(event(kind, replace(item, version=version)))
    confirm_deleted(store)
    store.forget_deleted(UID)
    copy = replace(running(), uid="copy", controller=None)
    store.apply(event("ADDED", replace(copy, version=3)))
    store.apply(event("ADDED", replace(job(), uid="another", version=3)))
    assert store.children(UID).pods == ()
    assert [job.duplicate for job in store.children(UID).jobs] == [True]


def test_of_a_waiting_conversion_earlier_attempts_are_forgotten(store: Store) -> None:
    """Where pods are refused, it may have thousands."""
    for item in (job(1), job(2)):
        for kind, version in (("ADDED", 1), ("DELETED", 2)):
            store.apply(event(kind, replace(item, version=version)))
    confirm_deleted(store)
    store.forget_deleted(UID, before=2)
    assert [job.attempt for job in store.children(UID).jobs] == [2]


def test_a_pod_that_is_seen_before_its_job_counts_with_it(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(1)))
    store.apply(event("ADDED", running()))
    assert [pod.duplicate for pod in store.children(UID).pods] == [True]
    copy = replace(running(), uid="copy", controller=None, created=at(-1))
    store.apply(event("ADDED", copy))
    store.apply(event("ADDED", job_at(4)))
    assert store.children(UID) == children(job_at(4), running())
    assert store.foreign(UID) == (copy,)


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


def conversion_number(number: object, version: int = 5) -> Conversion:
    """One of many."""
    return replace(conversion(f"uid-{number}"), version=version)


def forged(name: str, version: int, **changes: Any) -> Pod:
    """A pod that names our Job as its controller. Its mark is copied unless ``mark`` says else."""
    return replace(running(), uid=name, name=name, version=version, **changes)


def pods_by_use(store: Store) -> tuple[list[str], list[str]]:
    """The uids of the pods that count, and of the duplicates."""
    pods = store.children(UID).pods
    return [p.uid for p in pods if not p.duplicate], [p.uid for p in pods if p.duplicate]


def test_forged_pods_of_our_job_hold_no_slot_and_cost_the_same_each(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mark they are foreign. With a copied one, all of them hold one slot."""
    compared: list[int] = []

    def counting(pods: Iterable[Pod], *rest: Any) -> Identified:
        compared.append(len(tuple(pods)))
        return identify_pods(pods, *rest)

    store.apply(event("ADDED", conversion_at(1)))
    store.apply(event("ADDED", job_at(2)))
    store.apply(event("ADDED", running()))
    monkeypatch.setattr(family, "identify_pods", counting)
    for number in range(50):
        store.apply(event("ADDED", forged(f"unmarked-{number}", 10 + number, mark="")))
    assert (pods_by_use(store), compared) == (([running().uid], []), [])
    for number in range(50):
        store.apply(event("ADDED", forged(f"marked-{number:02}", 100 + number)))
    assert pods_by_use(store) == ([running().uid], ["marked-00"])
    assert max(compared) <= 3
    assert slots_held(store.all_children(), ()) == 2
    store.apply(event("DELETED", forged("marked-00", 200)))
    confirm_deleted(store)
    assert pods_by_use(store) == ([running().uid], [])
    store.apply(event("MODIFIED", forged("marked-00", 201)))
    assert pods_by_use(store) == ([running().uid], [])


def test_pods_of_the_same_second_count_once_they_are_told_apart(store: Store) -> None:
    """They are listed before their Job is known, so nothing says which one was first."""
    store.apply(event("ADDED", conversion_at(1)))
    for item in (forged("a", 3), running(), forged("z", 4)):
        store.apply(event("ADDED", item))
    store.apply(event("ADDED", job_at(2)))
    assert pods_by_use(store) == ([], ["a"])
    store.apply(event("ADDED", forged("same", 5)))
    store.apply(event("ADDED", forged("later", 6, created=at(1))))
    assert pods_by_use(store) == ([], ["a"])
    assert slots_held(store.all_children(), ()) == 1
    store.apply(event("DELETED", forged("z", 11)))
    store.apply(event("DELETED", forged("a", 12)))
    confirm_deleted(store)
    assert pods_by_use(store) == ([], [running().uid])
    store.apply(event("DELETED", forged("same", 13)))
    confirm_deleted(store)
    assert pods_by_use(store) == ([running().uid], ["later"])


def test_pods_of_the_same_second_do_not_count_once_older_attempts_are_forgotten(
    store: Store,
) -> None:
    store.apply(event("ADDED", conversion_at(1)))
    for item in (forged("a", 3), running(), job_at(5)):
        store.apply(event("ADDED", item))
    assert pods_by_use(store) == ([], ["a"])
    store.forget_deleted(UID, before=1)
    store.apply(event("DELETED", job_at(6)))
    confirm_deleted(store)
    assert pods_by_use(store)[0] == []


def test_what_is_remembered_of_old_attempts_is_bounded(store: Store) -> None:
    """Of those that the status no longer has, the uids of the last 20 are remembered."""
    waiting = status(step(conversion(), Children(), position=1)[1])
    for number in range(1, 101):
        store.apply(event("ADDED", replace(job(number), version=number)))
        last = Attempt(number=number, start_time=at(number), job_uid=job(number).uid)
        changed = waiting.model_copy(update={"attempts": [last]})
        store.apply(event("MODIFIED", replace(conversion(), status=changed, version=number)))
    family = store._families[NAMESPACE, UID]
    assert min(family.evidence.bound) == 79
    copied = replace(job(70), uid="copied", version=200)
    store.apply(event("ADDED", copied))
    assert copied.uid not in [job.uid for job in store.children(UID).jobs]


def test_an_older_pod_ends_a_tie(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(1)))
    for item in (forged("a", 3, created=at(1)), forged("b", 4, created=at(1)), job_at(5)):
        store.apply(event("ADDED", item))
    assert pods_by_use(store) == ([], ["a"])
    store.apply(event("ADDED", running()))
    assert pods_by_use(store) == ([running().uid], ["a"])


def test_a_tie_of_one_attempt_outlasts_pods_of_another(store: Store) -> None:
    store.apply(event("ADDED", conversion_at(1)))
    for item in (forged("a", 3), forged("b", 4), job_at(5), replace(job(2), version=6)):
        store.apply(event("ADDED", item))
    store.apply(event("ADDED", replace(running(2), version=7)))
    assert pods_by_use(store) == ([running(2).uid], ["a"])


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
