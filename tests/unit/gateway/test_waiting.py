"""Why conversions wait, before the operator has written it into all their statuses."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from conversion_operator.cluster.conversions import parse_conversion
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway.estimates import UNKNOWN
from converter_gateway.records import Record, record_of
from converter_gateway.store import Store
from converter_gateway.waiting import reason_now
from tests.unit.gateway.test_listing import body

SLOT = "WaitingForSlot"


def waiting(number: int, reason: str, version: int, queue: str = "default") -> Any:
    """A conversion that waits at a place of its queue. Without a reason, it has no status."""
    made = body(f"w{number}", number, "Queued" if reason else "", queue=queue)
    made["metadata"]["resourceVersion"] = str(version)
    if reason:
        made["status"] |= {"reason": reason, "message": "m"}
    return made


def store_of(*bodies: Any) -> Store:
    """A store that has these from a list."""
    store = Store()
    records = [record_of(parse_conversion(each)) for each in bodies]
    store.replace(ObjectList(tuple(records), str(max(record.version for record in records))))
    return store


def tell(store: Store, made: Any) -> None:
    """A watch event."""
    version = made["metadata"]["resourceVersion"]
    store.apply(WatchEvent("MODIFIED", version, parse_conversion(made)))


def known(store: Store, name: str) -> Record:
    found = store.get(name)
    assert found is not None
    return found


def reasons(store: Store) -> list[str]:
    """As the responses have them."""
    told = []
    for position, name, place in store.queue():
        record = known(store, name)
        assert store.reason(record) == place.reason
        response = orjson.loads(record.response(position, reason=place.reason))
        assert response.get("reason", "") == place.reason
        told.append(place.reason)
    return told


@pytest.mark.parametrize("shared", ["Paused", "QueueHeld", "ClaimMissing"])
async def test_what_stops_the_first_one_stops_all_behind_it(shared: str) -> None:
    store = store_of(*(waiting(number, SLOT, 10 + number) for number in range(20)))
    assert reasons(store) == [SLOT] * 20
    tell(store, waiting(0, shared, 40))
    assert reasons(store) == [shared] * 20
    for number in range(20):
        assert store.estimate(f"w{number}") == UNKNOWN
    # The pause ends. The operator writes the status of the first one first.
    for number in range(1, 20):
        tell(store, waiting(number, shared, 40 + number))
    tell(store, waiting(0, SLOT, 70))
    assert reasons(store) == [SLOT] * 20


async def test_a_new_conversion_at_the_head_says_nothing_yet() -> None:
    store = store_of(*(waiting(number, "Paused", 10 + number) for number in range(1, 4)))
    tell(store, waiting(0, "", 40))
    assert reasons(store) == ["Paused"] * 4


async def test_the_status_that_was_written_last_is_right() -> None:
    """The first one has gone after a pause. Only one behind it tells that the pause is over."""
    store = store_of(*(waiting(number, "Paused", 10 + number) for number in range(4)))
    store.apply(WatchEvent("DELETED", "41", parse_conversion(waiting(0, "Paused", 41))))
    assert reasons(store) == ["Paused"] * 3, "nothing is known yet"
    tell(store, waiting(2, SLOT, 42))
    assert reasons(store) == [SLOT] * 3


async def test_a_new_label_tells_no_reason() -> None:
    store = store_of(*(waiting(number, "Paused", 10 + number) for number in range(4)))
    tell(store, waiting(0, SLOT, 40))
    assert reasons(store) == [SLOT] * 4
    tell(store, waiting(2, "Paused", 41))
    assert reasons(store) == [SLOT] * 4
    tell(store, waiting(0, "Paused", 42))
    assert reasons(store) == ["Paused"] * 4


async def test_what_no_longer_waits_has_the_reason_of_its_own_status() -> None:
    """The API server has told a caller more than the watch has told the store."""
    store = store_of(waiting(0, SLOT, 10), waiting(1, SLOT, 11))
    ended = body("w1", 1, "Failed")
    assert store.reason(record_of(parse_conversion(ended))) is None
    newer = record_of(parse_conversion(waiting(1, "QuotaExceeded", 20)))
    assert store.reason(newer) == "QuotaExceeded"


async def test_a_cause_of_its_own_and_another_queue_stay() -> None:
    store = store_of(
        waiting(0, SLOT, 10),
        waiting(1, "InputAwaited", 11),
        waiting(2, "QuotaExceeded", 12),
        waiting(3, SLOT, 13, "other"),
    )
    tell(store, waiting(0, "QueueHeld", 20))
    assert reasons(store) == ["QueueHeld", "InputAwaited", "QuotaExceeded", SLOT]


@pytest.mark.parametrize(
    ("stored", "shared", "now"),
    [
        (SLOT, "Paused", "Paused"),
        ("", "Paused", "Paused"),
        ("Pending", "QueueHeld", "QueueHeld"),
        ("Paused", "QueueHeld", "QueueHeld"),
        ("Paused", SLOT, SLOT),
        ("", SLOT, ""),
        (SLOT, "", SLOT),
        ("Paused", "", "Paused"),
        ("RetryBackoff", "Paused", "RetryBackoff"),
        ("InputAwaited", "Paused", "InputAwaited"),
    ],
)
def test_the_reason_now(stored: str, shared: str, now: str) -> None:
    assert reason_now(stored, shared) == now


async def test_a_text_of_a_caller_is_no_reason() -> None:
    made = waiting(0, SLOT, 10)
    made["spec"]["inputFile"] = f'a","reason":"{SLOT}","x":".mov'
    store = store_of(made)
    response = orjson.loads(known(store, "w0").response(1, reason="Paused"))
    assert (response["input_file"], response["reason"]) == (made["spec"]["inputFile"], "Paused")


async def test_the_reason_is_found_once_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response about thousands of conversions must not look at the first ones for each."""
    store = store_of(*(waiting(number, "Paused", 10 + number) for number in range(20)))
    looked: list[str] = []
    get = store._waiting._get

    def count(name: str) -> Record | None:
        looked.append(name)
        return get(name)

    monkeypatch.setattr(store._waiting, "_get", count)
    reasons(store)
    assert len(looked) == 8
