"""Turns the bytes of event streams into events, and resumes broken streams. Does no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, cast

import httpx

from mynetwork_converter import protocol
from mynetwork_converter.protocol import Call, ConverterError, JobStatus

EventKind = Literal["started", "progress", "completed", "failed", "cancelled", "reset"]

# The API sends a heartbeat every 15 s, so a stream that is silent for longer is dead.
STREAM_TIMEOUT: Final = httpx.Timeout(10.0, read=45.0)

_ENDS: Final = frozenset({"completed", "failed", "cancelled"})
_RECONNECT_SECONDS: Final = 1.0
# The API ends lines with \\n. The standard allows the other two as well. str.splitlines would also
# split at rare line ends, which may be part of a value.
_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!$)")


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
        self._rest = b""
        self._fields: dict[str, str] = {}

    def next_call(self) -> Call:
        """Start a new connection, and return its request."""
        self._rest, self._fields = b"", {}
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        params = {"job_id": self._job_id} if self._job_id is not None else {}
        headers["Accept"] = "text/event-stream"
        return Call("GET", f"{protocol.BASE}/events", headers=headers, params=params)

    def receive(self, chunk: bytes) -> Iterator[Event]:
        """Take bytes of the stream, and return the events that are now complete."""
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        for line in lines:
            if line:
                self._take(line.decode(errors="replace"))
            elif event := self._dispatch():
                yield event
                if self._job_id is not None and event.kind in _ENDS:
                    self.ended = True
                    return

    def reconnect_delay(self, response: httpx.Response | None, failure: str) -> float:
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

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "retry" and value.isdecimal():
            self._reconnect_seconds = int(value) / 1000
        elif name:
            self._fields[name] = value

    def _dispatch(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self._failures = 0
        # The id counts only now: an incomplete block must not change where we resume.
        self._last_id = fields.get("id", self._last_id)
        kind, data = fields.get("event", ""), fields.get("data")
        if data is None or kind not in (*_ENDS, "started", "progress", "reset"):
            return None  # a heartbeat, or an event of a later release of the API
        job = cast("JobStatus", json.loads(data)) if kind != "reset" else JobStatus()
        return Event(cast("EventKind", kind), job, self._last_id)
