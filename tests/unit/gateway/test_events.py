"""Which change of a ConversionJob is told as what, and how it is written."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from converter_gateway import events
from converter_gateway.events import Event, Kind, Seen, event_of, look

WAITING, RUNNING = {"phase": "Queued", "reason": "Waiting"}, {"phase": "Running", "reason": "R"}
ENDED = {"completed": "Succeeded", "failed": "Failed", "cancelled": "Cancelled"}


def body(
    status: dict[str, Any] | None = None, percent: int | None = None, name: str = "a", rv: int = 7
) -> dict[str, Any]:
    spec = {"conversionType": "video_to_mp4", "inputFile": "in/a.mov", "outputFile": "a.mp4"}
    meta = {"name": name, "namespace": "n", "uid": f"u-{name}", "resourceVersion": str(rv)}
    made: dict[str, Any] = {
        "metadata": meta | {"creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": spec,
    }
    if status is not None:
        progress = {"progress": {"percent": percent}} if percent is not None else {}
        made["status"] = {"message": "m\nn", "reason": "R", "conditions": []} | progress | status
    return made


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, body(), "progress"),
        (body(), body(), None),
        (body(), body(WAITING), "progress"),
        (body(WAITING), body(WAITING), None),
        (body(WAITING), body(WAITING | {"reason": "PathBusy"}), "progress"),
        (body(WAITING), body({"phase": "Starting"}), "progress"),
        (body(WAITING), body(RUNNING), "started"),
        (body({"phase": "Starting"}), body(RUNNING), "started"),
        (None, body(RUNNING), "started"),
        (body(RUNNING), body(RUNNING, 3), "progress"),
        (body(RUNNING, 3), body(RUNNING, 3), None),
        (body(RUNNING, 3), body(RUNNING | {"logs": "more"}, 3), None),
        (body(RUNNING, 3), body(RUNNING, 4), "progress"),
        (body(RUNNING, 3), body(WAITING | {"reason": "Retrying"}), "progress"),
        (body(WAITING), body({"phase": "Succeeded"}), "completed"),
        (body(RUNNING, 99), body({"phase": "Succeeded"}), "completed"),
        (body(RUNNING), body({"phase": "Failed"}), "failed"),
        (body(), body({"phase": "Cancelled"}), "cancelled"),
        (None, body({"phase": "Failed"}), "failed"),
        (body({"phase": "Failed"}), body({"phase": "Failed", "reason": "Other"}), None),
        (body({"phase": "Succeeded"}), body(RUNNING), None),
        (body(RUNNING), body({"phase": "Unheard"}), "progress"),
    ],
)
def test_what_a_change_tells(before: Any, after: Any, told: str | None) -> None:
    event = event_of(look(before) if before else None, after)
    assert (event and event.kind) == told


@pytest.mark.parametrize(
    ("before", "last", "told"),
    [
        (body(), body(), "cancelled"),
        (body(RUNNING), body(RUNNING), "cancelled"),
        (None, body(RUNNING), "cancelled"),
        (body(RUNNING), body({"phase": "Succeeded"}), "completed"),
        (body({"phase": "Succeeded"}), body({"phase": "Succeeded"}), None),
        (body({"phase": "Cancelled"}), body({"phase": "Cancelled"}), None),
    ],
)
def test_a_deletion_is_an_end_unless_there_was_one(
    before: Any, last: Any, told: str | None
) -> None:
    event = event_of(look(before) if before else None, last, deleted=True)
    assert (event and event.kind) == told
    if told == "cancelled":
        assert event is not None
        assert (event.answer["status"], event.answer["reason"]) == ("cancelled", "Deleted")


@pytest.mark.parametrize(
    "chosen", list(itertools.permutations(["", "Queued", "Running", "Failed"], 3))
)
def test_whatever_the_order_there_is_at_most_one_end(chosen: tuple[str, ...]) -> None:
    before: Seen | None = None
    told = []
    for phase in (*chosen, "Cancelled"):
        after = body({"phase": phase} if phase else None)
        event = event_of(before, after)
        told += [event.kind] if event else []
        before = look(after) if before is None or not before.phase.terminal else before
    assert sum(kind in ENDED for kind in told) == 1


def test_the_present_state_is_what_has_not_ended_or_everything() -> None:
    bodies = [body(RUNNING, 5, "b", 9), body({"phase": "Failed"}, None, "c", 8), body(name="a")]
    waiting = [(e.kind, e.answer["job_id"]) for e in events.present(bodies, None, ends=False)]
    assert waiting == [("progress", "a"), ("progress", "b")]
    everything = [(e.kind, e.answer["job_id"]) for e in events.present(bodies, None, ends=True)]
    assert everything == [("progress", "a"), ("failed", "c"), ("progress", "b")]
    assert [e.kind for e in events.present(bodies, "c", ends=True)] == ["failed"]
    assert list(events.present(bodies, "x", ends=True)) == []


def test_an_event_is_one_line_of_json_whatever_it_says() -> None:
    failed = event_of(
        None, body({"phase": "Failed", "message": "a\r\nid: 9\u2028b", "logs": "\n\n"})
    )
    assert failed is not None
    head, number, data, *end = events.encode(failed, 12).split(b"\n")
    assert (head, number, end) == (b"event: failed", b"id: 12", [b"", b""])
    answer = json.loads(data.removeprefix(b"data: "))
    assert (answer["job_id"], answer["error"]) == ("a", "a\r\nid: 9\u2028b")
    assert b"\r" not in data
    assert b"id:" not in events.encode(Event(Kind.PROGRESS, {}))
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
