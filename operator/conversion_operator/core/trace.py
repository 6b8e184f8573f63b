"""The trace of a conversion that has ended, from what its status says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.api.trace_context import TraceParent, parse_traceparent
from conversion_operator.core.model import Conversion

CONVERSION: Final = "conversion"
WAITING: Final = "waiting"
ATTEMPT: Final = "attempt"

_NO_FAILURES: Final = frozenset({"Completed", Reason.PLANNED, Reason.CANCELLED})

Facts = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a trace. ``parent`` is None for the first one. ``failure`` is a reason, or ""."""

    name: str
    span_id: int
    parent: int | None
    start: datetime
    end: datetime
    facts: Facts = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of a conversion. ``caller`` is who asked for it, None if that is not known."""

    trace_id: int
    spans: tuple[Span, ...]
    caller: TraceParent | None = None


def find_trace(conversion: Conversion, status: ConversionJobStatus) -> Trace | None:
    """The trace of a conversion with this final status.

    Each operator finds the same one, with the same ids. None if the caller records no spans, or if
    the uid is none of the API server.
    """
    caller = parse_traceparent(conversion.annotations.get(names.TRACEPARENT_ANNOTATION, ""))
    trace_id = caller.trace_id if caller else _trace_id(conversion.key.uid)
    end = status.completion_time
    if not trace_id or end is None or not status.phase.terminal:
        return None
    if caller and not caller.sampled:
        return None
    whole = Span(
        CONVERSION,
        _span_id(conversion, CONVERSION),
        caller.span_id if caller else None,
        conversion.created,
        max(end, conversion.created),
        _facts(conversion, status),
        "" if status.phase is not Phase.FAILED else status.reason,
    )
    return Trace(trace_id, (whole, *_parts(conversion, status, whole)), caller)


def traceparent_of_callback(conversion: Conversion, *, recorded: bool) -> TraceParent | None:
    """What a callback about the conversion belongs to. None: to no trace.

    ``recorded``: this operator sends traces. Then it is the span of the conversion. Otherwise, or
    if the caller records nothing, it is what the caller said.
    """
    caller = parse_traceparent(conversion.annotations.get(names.TRACEPARENT_ANNOTATION, ""))
    if not recorded or (caller and not caller.sampled):
        return caller
    trace_id = caller.trace_id if caller else _trace_id(conversion.key.uid)
    span_id = _span_id(conversion, CONVERSION)
    return TraceParent(trace_id, span_id, sampled=True) if trace_id else None


def _parts(conversion: Conversion, status: ConversionJobStatus, whole: Span) -> Iterator[Span]:
    """The attempts, and the time before each. The status has the last attempts only."""

    def part(name: str, number: int, start: datetime, end: datetime, reason: str = "") -> Span:
        facts: dict[str, str | int] = {"converter.attempt": number}
        if reason:
            facts["converter.reason"] = reason
        failure = "" if reason in _NO_FAILURES else reason
        span_id = _span_id(conversion, f"{name} {number}")
        return Span(name, span_id, whole.span_id, start, max(start, end), facts, failure)

    attempts = status.attempts or []
    # Before the first attempt that is known, there may have been others.
    begin = whole.start if not attempts or attempts[0].number == 1 else None
    for attempt in attempts:
        if begin is not None:
            yield part(WAITING, attempt.number, begin, attempt.start_time)
        begin = attempt.completion_time or whole.end
        reason = attempt.reason or status.reason
        yield part(ATTEMPT, attempt.number, attempt.start_time, begin, reason)
    last = attempts[-1].number if attempts else 0
    if begin is not None and begin < whole.end:
        yield part(WAITING, last + 1, begin, whole.end)


def _facts(conversion: Conversion, status: ConversionJobStatus) -> Facts:
    """What is told about the conversion: no paths, and nothing that users write as a text."""
    facts: dict[str, str | int] = {
        "k8s.namespace.name": conversion.key.namespace,
        "converter.conversion.name": conversion.key.name,
        "converter.conversion.uid": conversion.key.uid,
        "converter.conversion.type": " ".join(dict.fromkeys(conversion.output_types)),
        "converter.queue": conversion.queue,
        "converter.phase": status.phase,
        "converter.reason": status.reason,
    }
    if status.output_size is not None:
        facts["converter.output.size"] = status.output_size
    if status.duration_milliseconds is not None:
        facts["converter.run.milliseconds"] = status.duration_milliseconds
    return facts


def _trace_id(uid: str) -> int:
    """A uid is a UUID, and so has the 128 bits of a trace id. 0 if it is something else."""
    try:
        return UUID(uid).int
    except ValueError:
        return 0


def _span_id(conversion: Conversion, name: str) -> int:
    """64 bits that are the same after a restart, and not 0."""
    digest = hashlib.sha256(f"{conversion.key.uid} {name}".encode()).digest()
    return int.from_bytes(digest[:8]) or 1
