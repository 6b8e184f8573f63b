"""The stream events about ConversionJobs, and their encoding. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion
from converter_gateway.translate import Answer, phase_of, to_answer


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
_DELETED: Final = {"status": "cancelled", "phase": str(Phase.CANCELLED), "reason": "Deleted"}
# A resourceVersion is an etcd revision of 63 bits. 0 means "any" to the API server.
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Summary:
    """The part of a conversion's status that decides whether a change is an event."""

    phase: Phase
    reason: str = ""
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event. ``answer`` is the conversion, as ``status`` answers it."""

    type: EventType
    answer: Answer


def summarise(conversion: Conversion) -> Summary:
    """The summary to compare the next change with."""
    status = conversion.status
    if status is None:
        return Summary(phase_of(conversion))
    percent = status.progress.percent if status.progress else None
    return Summary(status.phase, status.reason, percent)


def event_of(
    before: Summary | None, conversion: Conversion, *, deleted: bool = False
) -> StreamEvent | None:
    """The event for a change, to listeners who know ``before``. None if there is none.

    A conversion ends once: there are no events after its end, not even for its deletion. If it is
    deleted before its end, it counts as cancelled.
    """
    if before is not None and before.phase.terminal:
        return None
    now = summarise(conversion)
    if now.phase.terminal:
        return StreamEvent(END_TYPES[now.phase], to_answer(conversion))
    if deleted:
        return StreamEvent(EventType.CANCELLED, to_answer(conversion) | _DELETED)
    if now.phase is Phase.RUNNING and (before is None or before.phase is not Phase.RUNNING):
        return StreamEvent(EventType.STARTED, to_answer(conversion))
    return None if now == before else StreamEvent(EventType.PROGRESS, to_answer(conversion))


def current_state(
    conversions: Iterable[Conversion], job_id: str | None, *, ended: bool
) -> Iterator[StreamEvent]:
    """The state of all conversions or of one, oldest change first.

    Conversions that have ended are left out unless ``ended`` is true.
    """
    chosen = (c for c in conversions if job_id in (None, c.key.name))
    for conversion in sorted(chosen, key=lambda c: c.version):
        phase = phase_of(conversion)
        if ended or not phase.terminal:
            event_type = END_TYPES.get(phase, EventType.PROGRESS)
            yield StreamEvent(event_type, to_answer(conversion))


def parse_id(text: str) -> int | None:
    """The version in a Last-Event-ID. None if the API cannot have sent it."""
    return int(text) if _ID.fullmatch(text) else None


def encode(event: StreamEvent, version: int | None = None) -> bytes:
    """A block of the stream. Without a version it does not change the listener's last id."""
    id_line = f"id: {version}\n" if version is not None else ""
    # JSON has no raw line breaks, so one data line is enough.
    return b"event: %b\n%bdata: %b\n\n" % (
        event.type.encode(),
        id_line.encode(),
        orjson.dumps(event.answer),
    )


def encode_retry(milliseconds: int) -> bytes:
    """How long a listener must wait before it reconnects."""
    return f"retry: {milliseconds}\n\n".encode()


def encode_id(version: int, comment: str, retry: int | None = None) -> bytes:
    """A comment with an id to resume from. A block without data is no event, but its id counts.

    ``retry`` is how many milliseconds a listener must wait before it reconnects.
    """
    retry_line = f"retry: {retry}\n" if retry is not None else ""
    return f": {comment}\n{retry_line}id: {version}\n\n".encode()


RESET: Final = encode(
    StreamEvent(
        EventType.RESET, {"message": "events may have been missed; the current state follows"}
    )
)
