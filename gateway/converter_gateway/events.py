"""Turns changes of ConversionJobs into stream events, and encodes these. Pure functions.

A *block* is what the standard for server-sent events separates by blank lines: one event, or only a
comment, an id or a retry time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson
from fastapi.sse import format_sse_event

from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion
from converter_gateway.estimates import Estimate
from converter_gateway.translate import ResponseBody, phase_of, to_response


class EventType(StrEnum):
    """The types of stream events."""

    STARTED = "started"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RESET = "reset"


END_TYPES: Final[Mapping[Phase, EventType]] = {
    Phase.SUCCEEDED: EventType.COMPLETED,
    Phase.FAILED: EventType.FAILED,
    Phase.CANCELLED: EventType.CANCELLED,
}
_ENDS: Final = frozenset(END_TYPES.values())
_DELETED: Final = {"status": "cancelled", "phase": str(Phase.CANCELLED), "reason": "Deleted"}
# A resourceVersion is an etcd revision of 63 bits. 0 means "any" to the API server.
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Summary:
    """The part of a status that listeners hear about. Other changes cause no event."""

    phase: Phase
    reason: str = ""
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event. ``data`` is the response of ``status`` for the conversion."""

    type: EventType
    data: ResponseBody


def summarise(conversion: Conversion) -> Summary:
    """The summary of a conversion, to compare with the summary after its next change."""
    status = conversion.status
    if status is None:
        return Summary(phase_of(conversion))
    percent = status.progress.percent if status.progress else None
    return Summary(status.phase, status.reason, percent)


def event_of(
    before: Summary | None, conversion: Conversion, *, deleted: bool = False
) -> StreamEvent | None:
    """The event for a change from ``before``. None if listeners need not hear about the change.

    ``before`` is None for a new conversion. There are no events after the end of a conversion, not
    even for its deletion. A conversion that is deleted before its end counts as cancelled.
    """
    if before is not None and before.phase.terminal:
        return None
    now = summarise(conversion)
    if now.phase.terminal:
        return StreamEvent(END_TYPES[now.phase], to_response(conversion))
    if deleted:
        return StreamEvent(EventType.CANCELLED, to_response(conversion) | _DELETED)
    if now.phase is Phase.RUNNING and (before is None or before.phase is not Phase.RUNNING):
        return StreamEvent(EventType.STARTED, to_response(conversion))
    return None if now == before else StreamEvent(EventType.PROGRESS, to_response(conversion))


def encode_state(phase: Phase, data: bytes) -> bytes:
    """The block of an event that tells the current state. ``data`` is the JSON of the response."""
    return b"event: %b\ndata: %b\n\n" % (END_TYPES.get(phase, EventType.PROGRESS).encode(), data)


def parse_id(text: str) -> int | None:
    """The version in a Last-Event-ID. None if the API never sends such an id."""
    return int(text) if _ID.fullmatch(text) else None


def encode(
    event: StreamEvent, version: int | None = None, estimate: Estimate | None = None
) -> bytes:
    """The block of an event. ``version`` becomes its id. None: the block has no id.

    Its data has the fields of ``estimate``, unless the conversion has ended.
    """
    data = event.data
    if estimate is not None and event.type not in _ENDS:
        data = data | estimate.fields
    return format_sse_event(
        event=event.type,
        data_str=orjson.dumps(data).decode(),
        id=None if version is None else str(version),
    )


def encode_retry(milliseconds: int) -> bytes:
    """The block that tells a listener how long to wait before it reconnects."""
    return format_sse_event(retry=milliseconds)


def encode_id(version: int, comment: str, retry: int | None = None) -> bytes:
    """The block of a comment and an id. It is no event, but a listener can resume from its id.

    ``retry`` is how many milliseconds a listener must wait before it reconnects.
    """
    return format_sse_event(comment=comment, id=str(version), retry=retry)


RESET: Final = encode(
    StreamEvent(
        EventType.RESET, {"message": "events may have been missed; the current state follows"}
    )
)
