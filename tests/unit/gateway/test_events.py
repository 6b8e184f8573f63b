"""Which change of a ConversionJob is told as what, and how it is written."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import events
from converter_gateway.events import EventType, StreamEvent, Summary, event_of, summarise
from converter_gateway.records import record_of

WAITING, RUNNING = {"phase": "Queued", "reason": "Waiting"}, {"phase": "Running", "reason": "R"}
ENDED = {"completed": "Succeeded", "failed": "Failed", "cancelled": "Cancelled"}


def conversion(
    status: dict[str, Any] | None = None, percent: int | None = None, name: str = "a", rv: int = 7
) -> Conversion:
    spec = {"conversionType": "video_to_mp4", "inputFile": "in/a.mov", "outputFile": "a.mp4"}
    meta = {"name": name, "namespace": "n", "uid": f"u-{name}", "resourceVersion": str(rv)}
    made: dict[str, Any] = {
        "metadata": meta | {"creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": spec,
    }
    if status is not None:
        progress = {"progress": {"percent": percent}} if percent is not None else {}
        made["status"] = {"message": "m\nn", "reason": "R", "conditions": []} | progress | status
    return parse_conversion(made)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, conversion(), "progress"),
        (conversion(), conversion(), None),
        (conversion(), conversion(WAITING), "progress"),
        (conversion(WAITING), conversion(WAITING), None),
        (conversion(WAITING), conversion(WAITING | {"reason": "PathBusy"}), "progress"),
        (conversion(WAITING), conversion({"phase": "Starting"}), "progress"),
        (conversion(WAITING), conversion(RUNNING), "started"),
        (conversion({"phase": "Starting"}), conversion(RUNNING), "started"),
        (None, conversion(RUNNING), "started"),
        (conversion(RUNNING), conversion(RUNNING, 3), "progress"),
        (conversion(RUNNING, 3), conversion(RUNNING, 3), None),
        (conversion(RUNNING, 3), conversion(RUNNING | {"logs": "more"}, 3), None),
        (conversion(RUNNING, 3), conversion(RUNNING, 4), "progress"),
        (conversion(RUNNING, 3), conversion(WAITING | {"reason": "Retrying"}), "progress"),
        (conversion(WAITING), conversion({"phase": "Succeeded"}), "completed"),
        (conversion(RUNNING, 99), conversion({"phase": "Succeeded"}), "completed"),
        (conversion(RUNNING), conversion({"phase": "Failed"}), "failed"),
        (conversion(), conversion({"phase": "Cancelled"}), "cancelled"),
        (None, conversion({"phase": "Failed"}), "failed"),
        (conversion({"phase": "Failed"}), conversion({"phase": "Failed", "reason": "Other"}), None),
        (conversion({"phase": "Succeeded"}), conversion(RUNNING), None),
        (conversion(RUNNING), conversion({"phase": "Unheard"}), "progress"),
    ],
)
def test_what_a_change_tells(before: Any, after: Any, told: str | None) -> None:
    event = event_of(summarise(before) if before else None, after)
    assert (event and event.type) == told


@pytest.mark.parametrize(
    ("before", "last", "told"),
    [
        (conversion(), conversion(), "cancelled"),
        (conversion(RUNNING), conversion(RUNNING), "cancelled"),
        (None, conversion(RUNNING), "cancelled"),
        (conversion(RUNNING), conversion({"phase": "Succeeded"}), "completed"),
        (conversion({"phase": "Succeeded"}), conversion({"phase": "Succeeded"}), None),
        (conversion({"phase": "Cancelled"}), conversion({"phase": "Cancelled"}), None),
    ],
)
def test_a_deletion_is_an_end_unless_there_was_one(
    before: Any, last: Any, told: str | None
) -> None:
    event = event_of(summarise(before) if before else None, last, deleted=True)
    assert (event and event.type) == told
    if told == "cancelled":
        assert event is not None
        assert (event.data["status"], event.data["reason"]) == ("cancelled", "Deleted")


@pytest.mark.parametrize(
    "chosen", list(itertools.permutations(["", "Queued", "Running", "Failed"], 3))
)
def test_whatever_the_order_there_is_at_most_one_end(chosen: tuple[str, ...]) -> None:
    before: Summary | None = None
    told = []
    for phase in (*chosen, "Cancelled"):
        after = conversion({"phase": phase} if phase else None)
        event = event_of(before, after)
        told += [event.type] if event else []
        before = summarise(after) if before is None or not before.phase.terminal else before
    assert sum(event_type in ENDED for event_type in told) == 1


def test_the_state_is_encoded_as_an_event_is() -> None:
    failed = conversion({"phase": "Failed", "message": "a\r\nid: 9\u2028b", "logs": "\n\n" * 900})
    event = event_of(None, failed)
    assert event is not None
    record = record_of(failed)
    assert len(record.data) < len(record.response()) / 2, "a log is compressed"
    assert events.encode_state(record.phase, record.response()) == events.encode(event)


def test_an_event_is_one_line_of_json_whatever_it_says() -> None:
    failed = event_of(
        None, conversion({"phase": "Failed", "message": "a\r\nid: 9\u2028b", "logs": "\n\n"})
    )
    assert failed is not None
    head, data, number, *end = events.encode(failed, 12).split(b"\n")
    assert (head, number, end) == (b"event: failed", b"id: 12", [b"", b""])
    answer = json.loads(data.removeprefix(b"data: "))
    assert (answer["job_id"], answer["error"]) == ("a", "a\r\nid: 9\u2028b")
    assert b"\r" not in data
    assert b"id:" not in events.encode(StreamEvent(EventType.PROGRESS, {}))
    assert events.RESET.startswith(b"event: reset\ndata: {")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1", 1),
        ("123456789012345678", 123456789012345678),
        ("0", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("01", None),
        ("1\n2", None),
        ("٣", None),
        ("1234567890123456789", None),
        ("x", None),
    ],
)
def test_ids_that_can_be_ours(text: str, version: int | None) -> None:
    assert events.parse_id(text) == version
