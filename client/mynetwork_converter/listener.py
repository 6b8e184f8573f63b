"""Turns server-sent events into events, and resumes broken streams. Does no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, cast

import httpx2

from mynetwork_converter import protocol
from mynetwork_converter.protocol import Call, ConverterError
from mynetwork_converter.shapes import JobStatus

EventKind = Literal["started", "progress", "completed", "failed", "cancelled", "reset"]

# The API sends a heartbeat every 15 s, so a stream that is silent for longer is dead.
STREAM_TIMEOUT: Final = httpx2.Timeout(10.0, read=45.0)

_ENDS: Final = frozenset({"completed", "failed", "cancelled"})
_RECONNECT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """An event. ``job`` is the conversion as in get_job_status. ``id`` is the id to resume from.

    An event of the kind ``reset`` means that you may have missed events. Its ``job`` is empty. The
    events after a reset are the current state of all existing conversions, including ended ones. A
    conversion without such an event no longer exists.
    """

    kind: EventKind
    job: JobStatus
    id: str


class Listener:
    """One listener. It may need several connections, one after the other."""

    def __init__(self, job_id: str | None, last_event_id: str | None, tries: int) -> None:
        self.ended = False
        self._job_id, self._last_id, self._tries = job_id, last_event_id or "", tries
        self._failures = 0
        self._reconnect_seconds = _RECONNECT_SECONDS

    def next_call(self) -> Call:
        """The request for a new connection."""
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        params = {"job_id": self._job_id} if self._job_id is not None else {}
        headers["Accept"] = "text/event-stream"
        return Call("GET", f"{protocol.BASE}/events", headers=headers, params=params)

    def receive(self, block: httpx2.ServerSentEvent) -> Event | None:
        """Take a block of the stream. None if it is no event, but only an id or a retry time.

        Events of a later release of the API are None, too.
        """
        self._failures = 0
        if block.retry is not None:
            self._reconnect_seconds = block.retry / 1000
        self._last_id = block.id or self._last_id
        kind = block.event
        if not block.data or kind not in (*_ENDS, "started", "progress", "reset"):
            return None
        self.ended = self._job_id is not None and kind in _ENDS
        job = cast("JobStatus", json.loads(block.data) if kind != "reset" else {})
        return Event(cast("EventKind", kind), job, self._last_id)

    def reconnect_delay(self, response: httpx2.Response | None, failure: str) -> float:
        """Seconds to wait before the next connection. Raises ConverterError to give up.

        ``response`` is None if there was no response, or if it broke. ``failure`` then says why.
        """
        if response is not None and response.is_success:
            return self._reconnect_seconds  # the server ends each stream after some time
        self._failures += 1
        delay = protocol.retry_delay(self._failures, response)
        if delay is None or self._failures >= self._tries:
            if response is None:
                raise ConverterError(failure)
            protocol.parse_response(self.next_call(), response)
            raise ConverterError(
                f"unexpected response {response.status_code}", response.status_code
            )
        return delay
