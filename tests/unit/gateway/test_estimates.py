"""When conversions start and end, about: from those that have ended and those that run."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import estimates
from converter_gateway.estimates import (
    KEPT,
    LEAST,
    PLANNED,
    Estimate,
    Held,
    Pace,
    RunTimes,
    plan_starts,
)
from converter_gateway.outlook import Outlook
from converter_gateway.records import record_of
from converter_gateway.store import Store

NOW = datetime(2026, 1, 2, 4, 0, 0, tzinfo=UTC)


def text(seconds: float) -> str:
    """So many seconds after NOW."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def conversion(name: str, status: dict[str, Any] | None, version: int = 3, **spec: Any) -> Any:
    body = {"conversionType": "video_to_mp4", "inputFile": "a.mov", "outputFile": f"{name}.mp4"}
    metadata = {
        "name": name,
        "namespace": "n",
        "uid": f"u-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    base = {"conditions": [], "message": "m"}
    stored = {"status": base | status} if status else {}
    return parse_conversion({"metadata": metadata, "spec": body | spec} | stored)


def ended(name: str, seconds: float, ago: float = 300, **spec: Any) -> Conversion:
    """A conversion that has held its slot for so long."""
    began = {"number": 1, "startTime": text(-ago - seconds), "completionTime": text(-ago)}
    status = {
        "phase": "Succeeded",
        "reason": "Completed",
        "startTime": text(-ago - seconds),
        "completionTime": text(-ago),
        "durationMilliseconds": round(1000 * seconds),
        "attempts": [began],
    }
    return conversion(name, status, **spec)  # type: ignore[no-any-return]


def running(name: str, left: float | None, began: float = -60, **spec: Any) -> Conversion:
    progress = {} if left is None else {"estimatedEndTime": text(left)}
    attempt = {"number": 1, "startTime": text(began - 2)}
    status = {
        "phase": "Running",
        "reason": "Running",
        "startTime": text(began),
        "attempts": [attempt],
        "progress": {"percent": 20} | progress,
    }
    return conversion(name, status, **spec)  # type: ignore[no-any-return]


def queued(name: str, reason: str = "WaitingForSlot", **spec: Any) -> Conversion:
    return conversion(name, {"phase": "Queued", "reason": reason}, **spec)  # type: ignore[no-any-return]


def store_of(*conversions: Conversion) -> Store:
    store = Store(lambda: NOW)
    store.replace(ObjectList(tuple(map(record_of, conversions)), "9"))
    return store


def history(seconds: float = 100, count: int = LEAST, **spec: Any) -> list[Conversion]:
    kind = spec.get("conversionType", "video")
    return [ended(f"old-{kind}-{n}", seconds, **spec) for n in range(count)]


def told(store: Store, name: str) -> tuple[str | None, str | None]:
    fields = store.estimate(name).fields
    return fields["estimated_start_at"], fields["estimated_end_at"]


@given(st.lists(st.floats(0.1, 1e5), min_size=LEAST, max_size=3 * KEPT))
def test_the_median_is_that_of_the_latest(seconds: list[float]) -> None:
    times = RunTimes()
    for number, each in enumerate(seconds):
        assert (times.median("a") is None) == (number < LEAST)
        times.add("a", each)
    assert times.median("a") == statistics.median_high(seconds[-KEPT:])
    assert times.median("b") is None


def test_kinds_do_not_add_up_without_end() -> None:
    times = RunTimes()
    for number in range(1000):
        for _ in range(LEAST):
            times.add(str(number), number)
    assert (times.median("0"), times.median("999")) == (None, 999)
    assert sum(times.median(str(number)) is not None for number in range(1000)) == 256


def test_each_waiting_conversion_takes_the_slot_that_is_free_first() -> None:
    plan = plan_starts(1000, [10, 10, 10, None, 10], [1005, 1030], 2)
    assert plan.starts == (1005, 1015, 1025, 1030, 1030)
    assert [plan.start(position) for position in (1, 3, 5)] == [1005, 1025, 1030]


def test_those_behind_the_planned_ones_follow_at_the_mean_pace() -> None:
    plan = plan_starts(0, [10.0, 20.0], [0.0, 0.0, 0.0], 3)
    assert (plan.starts, plan.start(4)) == ((0, 0), 0 + 2 * 5)


def test_an_end_that_is_overdue_counts_as_now() -> None:
    assert plan_starts(1000, [10], [900], 1).starts == (1000,)


def test_without_a_slot_nothing_is_known() -> None:
    assert plan_starts(1000, [10, 10], [], 0).start(1) is None


def test_the_pace_of_short_conversions_shows_their_slots() -> None:
    pace = Pace()
    for second in range(60):
        for _ in range(3):
            pace.add(Held("a", second, 1.0))
    assert (pace.slots(59), pace.slots(59 + 61)) == (3, 0)


async def test_a_running_conversion_ends_when_its_converter_says() -> None:
    store = store_of(*history(), running("a", 90), running("b", None, began=-20))
    assert told(store, "a") == (None, text(90))
    assert told(store, "b") == (None, text(80)), "the median, without an estimate of its own"


@pytest.mark.parametrize("left", [0, -1, -3600])
async def test_an_estimate_is_never_in_the_past(left: int) -> None:
    assert told(store_of(running("a", left)), "a") == (None, None)
    assert told(store_of(*history(), running("a", None, began=left - 100)), "a") == (None, None)


async def test_a_waiting_conversion_waits_for_those_ahead() -> None:
    store = store_of(*history(), running("r", 90), *(queued(f"w{n}") for n in range(3)))
    assert [told(store, f"w{n}") for n in range(3)] == [
        (text(90 + 100 * n), text(190 + 100 * n)) for n in range(3)
    ]


async def test_four_of_a_type_say_nothing() -> None:
    waits = running("r", 90), queued("w")
    assert told(store_of(*history(count=LEAST - 1), *waits), "w") == (None, None)
    other = history(conversionType="video_to_webm")
    assert told(store_of(*other, *waits), "w") == (None, None), "of another type"
    failed = [
        conversion(f"f{n}", {"phase": "Failed", "reason": "R", "completionTime": text(-9)})
        for n in range(9)
    ]
    assert told(store_of(*failed, *waits), "w") == (None, None), "one that failed says nothing"


@pytest.mark.parametrize("reason", ["Paused", "QueueHeld", "ClaimMissing", "QueueMissing"])
async def test_what_holds_all_of_a_queue_leaves_no_estimate_in_it(reason: str) -> None:
    store = store_of(*history(), running("r", 90), queued("a", reason), queued("b"))
    assert (told(store, "a"), told(store, "b")) == ((None, None), (None, None))
    assert told(store, "r") != (None, None)


@pytest.mark.parametrize(
    "reason", ["PathBusy", "WaitingForInput", "QuotaExceeded", "ProfileMissing", "Suspended"]
)
async def test_what_is_held_has_no_estimate_and_delays_nobody(reason: str) -> None:
    store = store_of(*history(), running("r", 90), queued("a", reason), queued("b"))
    assert (told(store, "a"), told(store, "b")) == ((None, None), (text(90), text(190)))


async def test_a_queue_in_which_nothing_runs_promises_nothing() -> None:
    store = store_of(*history(), running("r", 90, queue="other"), queued("w"))
    assert told(store, "w") == (None, None)


def backing_off(name: str, reason: str) -> Conversion:
    attempt = {"number": 1, "startTime": text(-30), "completionTime": text(-1)}
    status = {
        "phase": "Queued",
        "reason": reason,
        "attempts": [attempt | {"reason": "ContainerKilled"}],
        "retries": {"failures": 3},
    }
    return conversion(name, status)  # type: ignore[no-any-return]


@pytest.mark.parametrize("reason", ["Paused", "QueueHeld", "PathBusy", "WaitingForInput"])
async def test_what_is_held_in_its_back_off_has_no_estimate_either(reason: str) -> None:
    store = store_of(*history(), running("r", 90), backing_off("a", reason), queued("b"))
    assert [name for _, name, place in store.queue() if place.not_before] == ["a"]
    shared = reason in ("Paused", "QueueHeld")
    other = (None, None) if shared else (text(90), text(190))
    assert (told(store, "a"), told(store, "b")) == ((None, None), other)


async def test_a_back_off_delays_the_start() -> None:
    store = store_of(*history(), running("r", 10), backing_off("w", "RetryBackoff"))
    (place,) = [place for _, _, place in store.queue()]
    assert place.not_before is not None
    later = (place.not_before - NOW).total_seconds()
    assert later > 10
    assert told(store, "w") == (text(later), text(later + 100))


async def test_an_end_changes_the_estimates_of_the_others() -> None:
    store = store_of(*history(count=LEAST - 1), running("r", 90), queued("w"))
    store.apply(WatchEvent("MODIFIED", "10", ended("old-new", 100, version=10)))
    assert told(store, "w") == (text(90), text(190))
    # An end that is told again counts once.
    again = store_of(*history(count=LEAST - 2), running("r", 90), queued("w"))
    for version in (10, 11):
        done = ended("old-new", 100, version=version)
        again.apply(WatchEvent("MODIFIED", str(version), done))
    assert told(again, "w") == (None, None)


async def test_a_list_that_repeats_what_is_known_teaches_nothing() -> None:
    conversions = [*history(count=LEAST - 1), running("r", 90), queued("w")]
    store = store_of(*conversions)
    store.replace(ObjectList(tuple(map(record_of, conversions)), "20"))
    assert told(store, "w") == (None, None)


async def test_after_a_restart_the_latest_count() -> None:
    old = [ended(f"old-{n}", 1000, ago=9000) for n in range(KEPT)]
    new = [ended(f"new-{n}", 100, ago=300 + n) for n in range(KEPT)]
    store = store_of(*new, *old, running("r", 90), queued("w"))
    assert told(store, "w") == (text(90), text(190))


async def test_a_plan_visits_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converter_gateway.outlook.PLANNED", 10)
    visited: list[str] = []
    needs = Outlook._needs

    def counted(self: Outlook, record: Any, typical: float) -> float | None:
        visited.append(record.name)
        return needs(self, record, typical)

    monkeypatch.setattr(Outlook, "_needs", counted)
    store = store_of(*history(), running("r", 0), *(queued(f"w{n:03}") for n in range(300)))
    for number in range(300):
        assert told(store, f"w{number:03}") == (text(100 * number), text(100 * number + 100))
    assert len(visited) == 10
    assert PLANNED >= 100


async def test_the_response_has_both_fields_until_the_end() -> None:
    estimate = Estimate(None, NOW.timestamp())
    answer = orjson.loads(record_of(running("a", 0)).response(estimate=estimate))
    assert (answer["estimated_start_at"], answer["estimated_end_at"]) == (None, text(0))
    over = orjson.loads(record_of(ended("a", 9)).response(estimate=estimates.UNKNOWN))
    assert "estimated_end_at" not in over


async def test_events_have_the_estimate() -> None:
    store = store_of(*history(), running("r", 90))
    for version, kind, one in ((10, "ADDED", queued), (11, "MODIFIED", ended)):
        made = one("w", version=version) if one is queued else ended("w", 50, version=version)
        store.apply(WatchEvent(kind, str(version), made))
    waits, over = (entry.block for entry in store.log.events_after(0))
    assert f'"estimated_start_at":"{text(90)}"'.encode() in waits
    assert b"estimated" not in over
