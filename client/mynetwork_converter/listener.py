"""Listens to events, without I/O: turns bytes into events, and knows where to resume."""

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

TIMEOUT: Final = httpx.Timeout(10.0, read=45.0)
"""The API sends a heartbeat every 15 s."""

_ENDS: Final = frozenset({"completed", "failed", "cancelled"})
_PAUSE: Final = 1.0
# The API sends \\n only, but the standard allows these line ends too. str.splitlines would also
# split at rarer ones, which may be part of a text.
_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!$)")


@dataclass(frozen=True, slots=True)
class Event:
    """An event, and the conversion as get_job_status returns it. Resume from ``id``.

    ``reset`` has no conversion. It means that events may have been missed. The current state of all
    existing conversions follows, including those that have ended. A conversion that is missing from
    it no longer exists.
    """

    kind: EventKind
    job: JobStatus
    id: str


class Listener:
    """One listener, over any number of connections."""

    def __init__(self, job_id: str | None, last_event_id: str | None, tries: int) -> None:
        self.ended = False
        self._job_id, self._last_id, self._tries = job_id, last_event_id or "", tries
        self._failures = 0
        self._pause = _PAUSE
        self._rest = b""
        self._fields: dict[str, str] = {}

    def next_call(self) -> Call:
        """The request of the next connection."""
        self._rest, self._fields = b"", {}
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        params = {"job_id": self._job_id} if self._job_id is not None else {}
        headers["Accept"] = "text/event-stream"
        return Call("GET", f"{protocol.BASE}/events", headers=headers, params=params)

    def receive(self, chunk: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
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
        """Seconds until the next connection. Raises ConverterError instead of too many retries.

        ``response`` is None, and ``failure`` says why, if there was no answer or it broke.
        """
        if response is not None and response.is_success:
            return self._pause  # the server has ended the stream, as it does regularly
        self._failures += 1
        pause = protocol.retry_delay(self._failures, response)
        if pause is None or self._failures >= self._tries:
            if response is None:
                raise ConverterError(failure)
            protocol.parse_response(self.next_call(), response)
            raise ConverterError(f"unexpected answer {response.status_code}", response.status_code)
        return pause

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "retry" and value.isdecimal():
            self._pause = int(value) / 1000
        elif name:
            self._fields[name] = value

    def _dispatch(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self._failures = 0
        # Not before the block is complete: the id of an incomplete block must not count.
        self._last_id = fields.get("id", self._last_id)
        kind, data = fields.get("event", ""), fields.get("data")
        if data is None or kind not in (*_ENDS, "started", "progress", "reset"):
            return None  # a heartbeat, or an event of a later release
        job = cast("JobStatus", json.loads(data)) if kind != "reset" else JobStatus()
        return Event(cast("EventKind", kind), job, self._last_id)
