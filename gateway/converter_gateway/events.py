"""What is told of a change of a ConversionJob, and how it goes over the wire. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from conversion_operator.api.status import Phase
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway.translate import Answer, phase_of, to_answer

Body = Mapping[str, Any]


class Kind(StrEnum):
    """The names of the events."""

    STARTED = "started"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RESET = "reset"


ENDS: Final[Mapping[Phase, Kind]] = {
    Phase.SUCCEEDED: Kind.COMPLETED,
    Phase.FAILED: Kind.FAILED,
    Phase.CANCELLED: Kind.CANCELLED,
}
_DELETED: Final = {"status": "cancelled", "phase": str(Phase.CANCELLED), "reason": "Deleted"}
_MISSED: Final = {"message": "events may have been missed; what follows is the present state"}
# A version is a revision of etcd, which has 63 bits; 0 means "any" to the API server.
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Seen:
    """As much of a ConversionJob as decides whether there is anything to tell."""

    phase: Phase
    reason: str = ""
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, and the conversion as ``status`` has it."""

    kind: Kind
    answer: Answer


def look(body: Body) -> Seen:
    """What is to be remembered of a ConversionJob."""
    conversion = parse_conversion(body)
    status = conversion.status
    if status is None:
        return Seen(phase_of(conversion))
    percent = status.progress.percent if status.progress else None
    return Seen(status.phase, status.reason, percent)


def event_of(before: Seen | None, body: Body, *, deleted: bool = False) -> Event | None:
    """What a change tells a listener who knows ``before``; None if it tells nothing.

    A conversion ends once: what comes after its end, and its deletion, tells nothing. One that is
    deleted before its end is cancelled.
    """
    if before is not None and before.phase.terminal:
        return None
    now = look(body)
    if now.phase.terminal:
        return Event(ENDS[now.phase], to_answer(body, None))
    if deleted:
        return Event(Kind.CANCELLED, to_answer(body, None) | _DELETED)
    if now.phase is Phase.RUNNING and (before is None or before.phase is not Phase.RUNNING):
        return Event(Kind.STARTED, to_answer(body, None))
    return None if now == before else Event(Kind.PROGRESS, to_answer(body, None))


def present(bodies: Iterable[Body], job_id: str | None, *, ends: bool) -> Iterator[Event]:
    """The state of ConversionJobs, oldest change first; of those that have ended with ``ends``."""
    chosen = (body for body in bodies if job_id in (None, body["metadata"]["name"]))
    for body in sorted(chosen, key=version_of):
        phase = look(body).phase
        if ends or not phase.terminal:
            yield Event(ENDS.get(phase, Kind.PROGRESS), to_answer(body, None))


def version_of(body: Body) -> int:
    """The resourceVersion. Those of one resource are in the order of the changes."""
    return int(body["metadata"]["resourceVersion"])


def parse_id(text: str) -> int | None:
    """The version a Last-Event-ID names; None if it can be none of ours."""
    return int(text) if _ID.fullmatch(text) else None


def encode(event: Event, version: int | None = None) -> bytes:
    """An event as a block of the stream. One without a version leaves the listener's id alone."""
    number = f"id: {version}\n" if version is not None else ""
    # JSON has no raw line breaks, so that one line of data holds it.
    return b"event: %b\n%bdata: %b\n\n" % (
        event.kind.encode(),
        number.encode(),
        orjson.dumps(event.answer),
    )


def encode_retry(milliseconds: int) -> bytes:
    """How long a listener is to wait before it connects again."""
    return f"retry: {milliseconds}\n\n".encode()


def encode_id(version: int, comment: str, retry: int | None = None) -> bytes:
    """A comment, and the id to go on from: a block without data is no event, but its id counts.

    ``retry`` is how many milliseconds a listener is to wait before it connects again.
    """
    wait = f"retry: {retry}\n" if retry is not None else ""
    return f": {comment}\n{wait}id: {version}\n\n".encode()


RESET: Final = encode(Event(Kind.RESET, dict(_MISSED)))
