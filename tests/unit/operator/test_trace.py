"""The trace of a conversion: the same after a restart, and the caller's if it has one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.api.status import Attempt, ConversionJobStatus, Phase
from conversion_operator.api.trace_context import TraceParent, parse_traceparent
from conversion_operator.core.model import Conversion
from conversion_operator.core.trace import (
    ATTEMPT,
    CONVERSION,
    WAITING,
    find_trace,
    traceparent_of_callback,
)
from tests.unit.operator.builders import at, conversion

UID = "0af76519-16cd-43dd-8448-eb211c80319c"
TRACE = int("0af7651916cd43dd8448eb211c80319c", 16)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (PARENT, True),
        (f" {PARENT} ", True),
        (PARENT[:-2] + "00", False),
        (PARENT[:-2] + "03", True),
        ("cc" + PARENT[2:] + "-what-the-future-adds", True),
    ],
)
def test_a_valid_traceparent(text: str, sampled: bool) -> None:
    found = parse_traceparent(text)
    assert found == TraceParent(TRACE, 0xB7AD6B7169203331, sampled)
    assert parse_traceparent(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "00", PARENT.upper(), PARENT[:-1], PARENT + "-more", "ff" + PARENT[2:]),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        *(PARENT.replace("b7", "g7"), PARENT + "\nx", "cc" + PARENT[2:] + "-" + "a" * 300),
    ],
)
def test_an_invalid_traceparent_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


def attempt(number: int, start: int, end: int | None, reason: str | None) -> Attempt:
    done = None if end is None else at(end)
    return Attempt(number=number, start_time=at(start), completion_time=done, reason=reason)


def ended(phase: str, reason: str, *attempts: Attempt, end: int = 60) -> ConversionJobStatus:
    return ConversionJobStatus(
        phase=Phase(phase),
        conditions=[],
        reason=reason,
        message="/a/path",
        attempts=list(attempts) or None,
        completion_time=at(end),
        output_size=7,
    )


def subject(traceparent: str = "") -> Conversion:
    annotations = {names.TRACEPARENT_ANNOTATION: traceparent} if traceparent else {}
    return replace(conversion(UID, inputFile="secret/path.mov"), annotations=annotations)


def shape(status: ConversionJobStatus) -> list[tuple[str, Any, Any, str]]:
    trace = find_trace(subject(), status)
    assert trace is not None
    begin = at(0)
    return [
        (s.name, (s.start - begin).total_seconds(), (s.end - begin).total_seconds(), s.failure)
        for s in trace.spans
    ]


def test_each_attempt_and_the_time_before_it_is_a_span() -> None:
    created = (subject().created - at(0)).total_seconds()
    attempts = (attempt(1, 5, 20, "OutOfMemory"), attempt(2, 30, 60, "Completed"))
    assert shape(ended("Succeeded", "Completed", *attempts)) == [
        (CONVERSION, created, 60, ""),
        (WAITING, created, 5, ""),
        (ATTEMPT, 5, 20, "OutOfMemory"),
        (WAITING, 20, 30, ""),
        (ATTEMPT, 30, 60, ""),
    ]


def test_a_conversion_that_never_ran_has_waited() -> None:
    created = (subject().created - at(0)).total_seconds()
    assert shape(ended("Failed", "QueueTimeout")) == [
        (CONVERSION, created, 60, "QueueTimeout"),
        (WAITING, created, 60, ""),
    ]
    assert [name for name, *_ in shape(ended("Cancelled", "Cancelled"))] == [CONVERSION, WAITING]


def test_what_is_not_known_of_earlier_attempts_is_left_out() -> None:
    created = (subject().created - at(0)).total_seconds()
    kept = (attempt(7, 30, 40, "Evicted"), attempt(8, 45, None, None))
    assert shape(ended("Failed", "Encrypted", *kept)) == [
        (CONVERSION, created, 60, "Encrypted"),
        (ATTEMPT, 30, 40, "Evicted"),
        (WAITING, 40, 45, ""),
        (ATTEMPT, 45, 60, "Encrypted"),
    ]


def test_the_ids_come_from_the_uid_and_are_the_same_after_a_restart() -> None:
    status = ended("Succeeded", "Completed", attempt(1, 5, 60, "Completed"))
    first, second = find_trace(subject(), status), find_trace(subject(), status)
    assert first == second
    assert first is not None
    assert first.trace_id == TRACE
    ids = {span.span_id for span in first.spans}
    assert len(ids) == len(first.spans)
    assert first.spans[0].parent is None
    assert {span.parent for span in first.spans[1:]} == {first.spans[0].span_id}


def test_the_trace_of_the_caller_goes_on() -> None:
    other = PARENT.replace("0af7651916cd43dd", "1111111111111111")
    trace = find_trace(subject(other), ended("Succeeded", "Completed"))
    assert trace is not None
    assert trace.trace_id == int("11111111111111118448eb211c80319c", 16)
    assert trace.spans[0].parent == 0xB7AD6B7169203331
    assert find_trace(subject(PARENT[:-2] + "00"), ended("Failed", "DiskFull")) is None
    wrong = find_trace(subject("nonsense"), ended("Failed", "DiskFull"))
    assert wrong is not None
    assert wrong.trace_id == TRACE


def test_nothing_is_told_that_a_user_writes_as_a_text() -> None:
    trace = find_trace(subject(), ended("Failed", "DiskFull"))
    assert trace is not None
    told = " ".join(str(value) for span in trace.spans for value in span.facts.values())
    assert "path" not in told
    assert UID in told


def test_there_is_no_trace_before_the_end_and_none_of_a_strange_uid() -> None:
    status = ended("Succeeded", "Completed")
    assert find_trace(conversion("not-a-uuid"), status) is None
    running = status.model_copy(update={"phase": Phase.RUNNING})
    assert find_trace(subject(), running) is None


def test_no_span_ends_before_it_begins() -> None:
    """The clock of a node may be slow."""
    early = subject().created - timedelta(seconds=30)
    status = ended("Succeeded", "Completed", attempt(1, 5, 2, "Completed"))
    trace = find_trace(subject(), status.model_copy(update={"completion_time": early}))
    assert trace is not None
    assert all(span.end >= span.start for span in trace.spans)


def test_a_callback_belongs_to_the_span_of_its_conversion() -> None:
    for traceparent, trace_id in (("", TRACE), (PARENT.replace("0af", "1af"), TRACE + (1 << 124))):
        made = subject(traceparent)
        trace = find_trace(made, ended("Succeeded", "Completed"))
        assert trace is not None
        assert trace.trace_id == trace_id
        expected = TraceParent(trace_id, trace.spans[0].span_id, sampled=True)
        assert traceparent_of_callback(made, recorded=True) == expected


def test_without_a_span_of_its_own_a_callback_carries_what_the_caller_said() -> None:
    silent = PARENT[:-2] + "00"
    for text, recorded in ((PARENT, False), (silent, False), (silent, True)):
        assert str(traceparent_of_callback(subject(text), recorded=recorded)) == text
    assert traceparent_of_callback(subject(), recorded=False) is None
    assert traceparent_of_callback(subject("nonsense"), recorded=False) is None
