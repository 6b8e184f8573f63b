"""What a replica knows: lists, watch events and its own writes, in any order."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_operator.cluster.conversions import Conversion, queue_place
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway.records import record_of
from converter_gateway.store import Store
from converter_gateway.translate import to_response
from tests.unit.gateway.positions import queue_positions

QUEUED = {"phase": "Queued", "reason": "WaitingForSlot"}
ENDED = {"phase": "Succeeded", "reason": "Completed", "durationSeconds": 4}
RUNS = {"number": 1, "startTime": "2026-01-02T03:04:06Z"}
ENDED_ATTEMPT = RUNS | {"completionTime": "2026-01-02T03:04:07Z", "reason": "Evicted"}


def conversion(
    name: str,
    version: int,
    status: dict[str, Any] | None = None,
    uid: str = "",
    meta: dict[str, Any] | None = None,
    **spec: Any,
) -> Conversion:
    body = {"conversionType": "video_to_mp4", "inputFile": "a.mov", "outputFile": f"{name}.mp4"}
    base = {"conditions": [], "message": "m", "reason": "R"}
    metadata = {
        "name": name,
        "namespace": "n",
        "uid": uid or f"u-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    stored = {"status": base | status} if status else {}
    return parse_conversion({"metadata": metadata | (meta or {}), "spec": body | spec} | stored)


def listed(version: int, *conversions: Conversion) -> ObjectList[Any]:
    return ObjectList(tuple(map(record_of, conversions)), str(version))


def event(kind: str, told: Conversion) -> WatchEvent[Conversion]:
    return WatchEvent(kind, str(told.version), told)


def known(store: Store) -> dict[str, int]:
    return {record.name: record.version for record in store.records()}


def store_of(version: int, *conversions: Conversion) -> Store:
    store = Store()
    store.replace(listed(version, *conversions))
    return store


def log_of(store: Store) -> list[tuple[int, str]]:
    return [(entry.version, entry.job_id) for entry in store.log.events_after(0)]


async def test_what_this_replica_wrote_is_visible_at_once_and_told_later() -> None:
    store = store_of(5)
    store.take(conversion("a", 7))
    assert (known(store), store.position("a"), store.told(ended=True)) == ({"a": 7}, 1, ())
    assert log_of(store) == [], "the watch tells the listeners"
    store.apply(event("ADDED", conversion("a", 7)))
    assert log_of(store) == [(7, "a")]


async def test_the_state_for_listeners_is_what_has_not_ended_or_everything() -> None:
    """As the watch has told it, because the log goes on from there."""
    store = store_of(5, conversion("b", 5), conversion("c", 4, ENDED), conversion("a", 3, QUEUED))
    store.take(conversion("a", 8, ENDED))
    store.take(conversion("d", 7))

    def told(*, ended: bool) -> list[tuple[str, int]]:
        return [(record.name, record.version) for record in store.told(ended=ended)]

    assert told(ended=False) == [("a", 3), ("b", 5)]
    assert told(ended=True) == [("a", 3), ("c", 4), ("b", 5)]
    versions = {name: (told_of := store.told_of(name)) and told_of.version for name in "abcde"}
    assert versions == {"a": 3, "b": 5, "c": 4, "d": None, "e": None}


async def test_an_older_watch_event_does_not_replace_a_newer_object() -> None:
    store = store_of(5, conversion("a", 4))
    store.take(conversion("a", 8, QUEUED, cancel=True))
    store.apply(event("MODIFIED", conversion("a", 6, QUEUED)))
    assert (known(store), store.position("a")) == ({"a": 8}, None)
    assert log_of(store) == [(6, "a")], "but listeners are told it"
    store.apply(event("MODIFIED", conversion("a", 9, ENDED)))
    assert known(store) == {"a": 9}
    assert log_of(store) == [(6, "a"), (9, "a")]


async def test_a_late_response_does_not_bring_back_a_deleted_object() -> None:
    store = store_of(5)
    store.apply(event("ADDED", conversion("a", 6)))
    store.apply(event("DELETED", conversion("a", 7)))
    assert store.take(conversion("a", 6)).version == 6
    assert known(store) == {}


async def test_the_deletion_of_a_namesake_leaves_the_new_one() -> None:
    store = store_of(5, conversion("a", 4))
    store.take(conversion("a", 8, uid="new"))
    store.apply(event("DELETED", conversion("a", 7)))
    assert known(store) == {"a": 8}
    store.apply(event("ADDED", conversion("a", 8, uid="new")))
    assert log_of(store) == [(7, "a"), (8, "a")]


async def test_events_that_the_watch_repeats_change_nothing() -> None:
    store = store_of(5)
    store.apply(event("ADDED", conversion("a", 7)))
    store.apply(event("MODIFIED", conversion("a", 6, ENDED)))
    store.apply(event("ADDED", conversion("a", 7)))
    assert (known(store), log_of(store), store.version) == ({"a": 7}, [(7, "a")], 7)


async def test_nothing_is_kept_before_the_first_list() -> None:
    """A namespace of which one object is known looks like one with one object."""
    store = Store()
    assert store.take(conversion("a", 7)).name == "a"
    assert known(store) == {}


async def test_what_was_written_during_the_first_list_is_visible_after_it() -> None:
    """The list may be older. The watch tells it later."""
    store = Store()
    store.begin_list()
    store.take(conversion("a", 7))
    store.take(conversion("b", 4))
    assert known(store) == {}
    store.replace(listed(5, conversion("c", 3)))
    assert (known(store), store.told_of("a")) == ({"a": 7, "c": 3}, None)
    store.apply(event("ADDED", conversion("a", 7)))
    assert log_of(store) == [(7, "a")]


async def test_a_late_answer_about_a_namesake_is_not_taken_for_the_new_one() -> None:
    store = store_of(5, conversion("a", 4, uid="new"))
    assert store.take(conversion("a", 3, ENDED, uid="old")).uid == "new"


async def test_a_list_replaces_all_but_what_is_newer() -> None:
    store = store_of(5, conversion("a", 3), conversion("b", 4))
    store.take(conversion("c", 9))
    log = store.log
    store.replace(listed(8, conversion("b", 7, QUEUED)))
    assert known(store) == {"b": 7, "c": 9}
    assert (log.alive, store.log.start_version, store.version) == (False, 8, 8)
    assert [name for _, name, _ in store.queue()] == ["b", "c"]
    store.replace(listed(2, conversion("a", 1)))
    assert (known(store), store.version) == ({"a": 1}, 2), "etcd was restored"


async def test_whoever_waits_for_a_conversion_learns_of_each_change() -> None:
    store = store_of(5, conversion("a", 3))
    changes: list[Callable[[], object]] = [
        lambda: store.apply(event("MODIFIED", conversion("a", 6, QUEUED))),
        lambda: store.take(conversion("a", 8, cancel=True)),
        lambda: store.apply(event("DELETED", conversion("a", 9))),
        lambda: store.replace(listed(10)),
    ]
    for change in changes:
        future = store.change_of("a")
        assert store.change_of("a") is future
        change()
        assert future.done()


async def test_an_audit_of_a_good_watch_disturbs_nobody() -> None:
    store = store_of(5, conversion("a", 3), conversion("b", 4))
    store.begin_audit()
    objects = listed(7, conversion("a", 3), conversion("b", 6, QUEUED), conversion("c", 7))
    store.apply(event("MODIFIED", conversion("b", 6, QUEUED)))
    store.apply(event("ADDED", conversion("c", 7)))
    store.apply(event("DELETED", conversion("a", 8)))  # after the list
    store.apply(event("ADDED", conversion("d", 9)))
    log = store.log
    assert store.audit(objects)
    assert known(store) == {"b": 6, "c": 7, "d": 9}
    assert store.log is log


@pytest.mark.parametrize(
    "objects",
    [
        listed(9, conversion("a", 3), conversion("b", 4), conversion("c", 8)),
        listed(9, conversion("a", 3), conversion("b", 8, QUEUED)),
        listed(9, conversion("a", 3)),
    ],
    ids=["added", "modified", "deleted"],
)
async def test_an_audit_repairs_what_the_watch_missed(objects: ObjectList[Any]) -> None:
    store = store_of(5, conversion("a", 3), conversion("b", 4))
    store.begin_audit()
    log, waiting = store.log, [store.change_of(name) for name in "abc"]
    store.apply(WatchEvent("BOOKMARK", "9"))
    assert not store.audit(objects)
    assert known(store) == {record.name: record.version for record in objects.items}
    assert (log.alive, store.log.start_version) == (False, 9), "listeners get the state again"
    assert [future.done() for future in waiting].count(True) == 1
    store.begin_audit()
    assert store.audit(objects), "once is enough"


async def test_an_audit_finds_an_event_that_listeners_missed() -> None:
    store = store_of(5)
    store.take(conversion("a", 7))
    store.begin_audit()
    store.apply(WatchEvent("BOOKMARK", "9"))
    assert not store.audit(listed(9, conversion("a", 7)))


WAITS: dict[str, Any] = {
    "new": (None, {}, {}),
    "queued": (QUEUED, {}, {}),
    "paused": ({"phase": "Queued", "reason": "Paused"}, {}, {}),
    "path busy": ({"phase": "Queued", "reason": "PathBusy"}, {}, {}),
    "back-off": (QUEUED | {"attempts": [ENDED_ATTEMPT], "retries": {"failures": 1}}, {}, {}),
    "unsupported": (None, {}, {"colour": "red"}),
}
DOES_NOT: dict[str, Any] = {
    "ended": (ENDED, {}, {}),
    "attempt": ({"phase": "Starting", "attempts": [RUNS]}, {}, {}),
    "between": (QUEUED | {"attempts": [RUNS]}, {}, {}),
    "cancelled": (QUEUED, {}, {"cancel": True}),
    "deleting": (QUEUED, {"deletionTimestamp": "2026-01-02T03:04:09Z"}, {}),
    "invalid": (None, {}, {"inputFile": 7}),
    "unreadable": ({"phase": "Queued", "retries": 7}, {}, {}),
}


@pytest.mark.parametrize(
    ("state", "waits"), [(s, True) for s in WAITS] + [(s, False) for s in DOES_NOT]
)
def test_who_waits_for_an_attempt(state: str, waits: bool) -> None:
    status, meta, spec = (WAITS | DOES_NOT)[state]
    assert bool(queue_place(conversion("a", 3, status, "", meta, **spec))) is waits


def test_the_end_of_a_back_off_is_known() -> None:
    status, _, _ = WAITS["back-off"]
    place = queue_place(conversion("a", 3, status))
    assert place is not None
    assert place.not_before is not None
    assert str(place.not_before) > "2026-01-02 03:04:07"


STATUSES = [status for status, _, _ in (WAITS | DOES_NOT).values()]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["watch", "take", "delete", "list"]),
        st.sampled_from(STATUSES),
        st.integers(-3, 3),
        st.sampled_from([None, "bulk", "other"]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(CHANGES)
async def test_the_indexes_agree_with_the_objects(changes: list[Any]) -> None:
    """Whatever happens in which order, they are what a scan of all objects would find."""
    store, versions = store_of(1), itertools.count(2)
    objects: dict[str, Conversion] = {}
    for name, kind, status, priority, queue in changes:
        spec = {"priority": priority} | ({"queue": queue} if queue else {})
        new = conversion(name, next(versions), status, **spec)
        if kind == "delete" and name in objects:
            del objects[name]
            store.apply(event("DELETED", new))
            continue
        objects[name] = new
        if kind == "watch":
            store.apply(event("MODIFIED", new))
        elif kind == "take":
            store.take(new)
        else:
            store.replace(listed(new.version, *objects.values()))
    assert known(store) == {name: one.version for name, one in objects.items()}
    positions = queue_positions(objects.values())
    assert {name: store.position(name) for name in objects} == {
        name: positions.get(one.key.uid) for name, one in objects.items()
    }
    assert {name: position for position, name, _ in store.queue()} == {
        one.key.name: positions[one.key.uid] for one in objects.values() if one.key.uid in positions
    }
    assert store.phases.total() == len(objects)
    assert {record.name for record in store.unfinished()} == {
        record.name for record in store.records() if not record.finished
    }
    assert store.positions() == {name: position for position, name, _ in store.queue()}
    ended = [one for one in store.records() if one.seconds is not None]
    assert (store.succeeded_timed, store.succeeded_seconds) == (len(ended), 4 * len(ended))


async def test_a_record_answers_as_the_object_would() -> None:
    for status in STATUSES:
        one = conversion("a", 3, status)
        record = record_of(one)
        assert orjson.loads(record.response()) == orjson.loads(orjson.dumps(to_response(one)))
        with_place = orjson.loads(record.response(position=3))
        assert with_place == orjson.loads(orjson.dumps(to_response(one, 3)))


def test_a_record_is_small() -> None:
    """20 000 of them fit into a replica. A parsed ConversionJob has 14 KB."""
    number = 500
    bodies = [conversion(f"job-{n}", 3, STATUSES[0]) for n in range(number)]
    tracemalloc.start()
    try:
        records = [record_of(body) for body in bodies]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(records) == number
    assert size / number < 1500
