"""Which pods of an attempt count: forged ones, ties, and those of earlier attempts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.status import Attempt
from conversion_operator.controller import family
from conversion_operator.controller.store import Store
from conversion_operator.core.children import Children, Pod
from conversion_operator.core.identity import Identified, identify_pods
from tests.unit.operator.builders import (
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
from tests.unit.operator.store_versions import (
    confirm_deleted,
    conversion_at,
    event,
    forged,
    job_at,
    pods_by_use,
)

NAMESPACE = "my-network"


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
    family = store._families.find(NAMESPACE, UID)
    assert family is not None
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
