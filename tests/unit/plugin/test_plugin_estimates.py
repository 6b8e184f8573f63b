"""When conversions start and end, about, as list, watch and describe show it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.cluster.objects import ObjectList
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway.records import record_of
from converter_gateway.store import Store
from kubectl_conversion import estimates, model, progress
from kubectl_conversion.describe import describe
from kubectl_conversion.estimates import UNKNOWN, Estimate
from kubectl_conversion.model import Conversion

NOW = datetime(2026, 11, 28, 12, 10, tzinfo=UTC)


def text(seconds: float) -> str:
    """So many seconds after NOW."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def body(name: str, status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    wanted = {"conversionType": "video_to_mp4", "inputFile": "a.mov", "outputFile": f"{name}.mp4"}
    metadata = {
        "name": name,
        "namespace": "media",
        "uid": f"uid-of-{name}",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-28T12:00:00Z",
    }
    stored = {"conditions": [], "message": "m"} | status
    return {"metadata": metadata, "spec": wanted | spec, "status": stored}


def ended(name: str, seconds: float, ago: float = 300, **spec: Any) -> dict[str, Any]:
    times = {"startTime": text(-ago - seconds), "completionTime": text(-ago)}
    status = times | {
        "phase": "Succeeded",
        "reason": "Completed",
        "durationMilliseconds": round(1000 * seconds),
        "attempts": [times | {"number": 1}],
    }
    return body(name, status, **spec)


def running(name: str, left: float | None, began: float = -60) -> dict[str, Any]:
    guess = {} if left is None else {"estimatedEndTime": text(left), "etaSeconds": 1}
    status = {
        "phase": "Running",
        "reason": "Running",
        "startTime": text(began),
        "attempts": [{"number": 1, "startTime": text(began)}],
        "progress": {"percent": 45, "speed": "2.31x"} | guess,
    }
    return body(name, status)


def queued(
    name: str, place: int, reason: str = "WaitingForSlot", version: int = 7
) -> dict[str, Any]:
    status = {"phase": "Queued", "reason": reason, "queuePosition": place, "arrival": place}
    made = body(name, status)
    made["metadata"]["resourceVersion"] = str(version)
    return made


HISTORY = [ended(f"old-{number}", 100) for number in range(5)]


def found(*bodies: dict[str, Any]) -> dict[str, Estimate]:
    parsed: list[Conversion] = [model.parse(each) for each in bodies]
    return {name: each for (_, name), each in estimates.of_all(parsed, NOW).items()}


def test_waiting_conversions_take_the_slots_in_their_order() -> None:
    waits = [queued("a", 1), queued("b", 2, "PathBusy"), queued("c", 3)]
    known = found(*HISTORY, running("r", 90), *waits)
    assert known["r"] == Estimate(end=NOW + timedelta(seconds=90))
    assert known["a"] == Estimate(NOW + timedelta(seconds=90), NOW + timedelta(seconds=190))
    assert known["c"] == Estimate(NOW + timedelta(seconds=190), NOW + timedelta(seconds=290))
    assert "b" not in known


@pytest.mark.parametrize(("first", "known"), [("Paused", False), ("WaitingForSlot", True)])
def test_the_status_that_was_written_last_tells_a_pause_for_all(first: str, known: bool) -> None:
    other = "WaitingForSlot" if first == "Paused" else "Paused"
    waits = [queued("a", 1, other, 8), queued("b", 2, first, 9), queued("c", 3)]
    assert ("c" in found(*HISTORY, running("r", 90), *waits)) == known


def test_four_are_too_few_and_without_a_slot_nobody_knows() -> None:
    assert "a" not in found(*HISTORY[:4], running("r", 90), queued("a", 1))
    assert "a" not in found(*HISTORY, queued("a", 1))


@given(
    st.lists(st.floats(1, 1000), max_size=12),
    st.lists(st.none() | st.integers(-50, 500), max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["WaitingForSlot", "Paused", "PathBusy", "Pending"]), st.integers(7, 9)
        ),
        max_size=10,
    ),
    st.sampled_from([5, 300]),
)
def test_the_http_api_says_the_same(
    times: list[float], left: list[int | None], reasons: list[tuple[str, int]], ago: int
) -> None:
    bodies = [ended(f"old-{n:02}", round(each), ago=ago) for n, each in enumerate(times)]
    bodies += [running(f"r{n}", each) for n, each in enumerate(left)]
    bodies += [queued(f"w{n}", n + 1, *each) for n, each in enumerate(reasons)]
    told, known = asyncio.run(_told(bodies)), found(*bodies)
    for name, (begins, ends) in told.items():
        start, end = known.get(name, UNKNOWN)
        assert begins == (start.timestamp() if start else None)
        assert ends == (end.timestamp() if end else None)


async def _told(bodies: list[dict[str, Any]]) -> dict[str, tuple[float | None, float | None]]:
    """What the HTTP API says."""
    store = Store(lambda: NOW)
    records = tuple(record_of(parse_conversion(each)) for each in bodies)
    store.replace(ObjectList(records, "9"))
    return {record.name: store.estimate(record.name) for record in records}


@pytest.mark.parametrize(
    ("made", "estimate", "eta", "state"),
    [
        (running("r", 130), UNKNOWN, "about 2m10s", "45% 2.31x 2m10s left"),
        (running("r", -1), UNKNOWN, "", "45% 2.31x"),
        (queued("w", 3), UNKNOWN, "", "#3 WaitingForSlot"),
        (
            queued("w", 3),
            Estimate(NOW, NOW + timedelta(minutes=12)),
            "about 12m",
            "#3 WaitingForSlot, ends in about 12m",
        ),
    ],
)
def test_an_estimate_in_words(
    made: dict[str, Any], estimate: Estimate, eta: str, state: str
) -> None:
    parsed = model.parse(made)
    assert progress.eta(parsed, NOW, estimate) == eta
    assert progress.state(parsed, NOW, estimate) == state


def test_a_description_has_both_times() -> None:
    estimate = Estimate(NOW + timedelta(seconds=90), NOW + timedelta(seconds=190))
    lines = describe(model.parse(queued("w", 3)), NOW, 120, estimate)
    assert f"ETA:         starts about {text(90)}, ends about {text(190)}, in 3m10s" in lines
    assert f"ETA:         ends about {text(90)}, in 90s" in describe(
        model.parse(running("r", 90)), NOW, 120
    )
    assert not any(
        line.startswith("ETA") for line in describe(model.parse(running("r", -9)), NOW, 120)
    )
