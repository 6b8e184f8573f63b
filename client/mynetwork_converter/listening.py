"""Listening to events, free of I/O: from bytes to events, and from where to go on."""

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
"""A stream shows every 15 s that it is alive."""

_ENDS: Final = frozenset({"completed", "failed", "cancelled"})
_PAUSE: Final = 1.0
# The API sends \\n only. Others count as line ends too, but not the rarer ones of str.splitlines:
# those may be in a text.
_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!$)")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a conversion, and the conversion as get_job_status has it.

    ``reset`` is about none: events may have been missed, and the present state of all that exist
    follows, ends included; one that is not among them is gone. ``id`` is what to go on from.
    """

    kind: EventKind
    job: JobStatus
    id: str


class Listening:
    """One listener, over as many connections as it takes."""

    def __init__(self, job_id: str | None, last_event_id: str | None, tries: int) -> None:
        self.over = False
        self._job_id, self._last_id, self._tries = job_id, last_event_id or "", tries
        self._failures = 0
        self._pause = _PAUSE
        self._rest = b""
        self._fields: dict[str, str] = {}

    def call(self) -> Call:
        """The request of the next connection."""
        self._rest, self._fields = b"", {}
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        params = {"job_id": self._job_id} if self._job_id is not None else {}
        headers["Accept"] = "text/event-stream"
        return Call("GET", f"{protocol.BASE}/events", headers=headers, params=params)

    def receive(self, chunk: bytes) -> Iterator[Event]:
        """The events that are complete with these bytes."""
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        for line in lines:
            if line:
                self._take(line.decode(errors="replace"))
            elif event := self._dispatch():
                yield event
                if self._job_id is not None and event.kind in _ENDS:
                    self.over = True
                    return

    def pause(self, response: httpx.Response | None, failure: str) -> float:
        """Seconds until the next connection. Raises ConverterError if there is to be none.

        ``response`` is None, and ``failure`` says why, if there was no answer or it broke off.
        """
        if response is not None and response.is_success:
            return self._pause  # the server ended the stream, as it does now and then
        self._failures += 1
        pause = protocol.pause_before(self._failures, response)
        if pause is None or self._failures >= self._tries:
            if response is None:
                raise ConverterError(failure)
            protocol.answer_of(self.call(), response)
            raise ConverterError(f"an answer {response.status_code}", response.status_code)
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
        # Only now: the id of a block that broke off is not that of anything received.
        self._last_id = fields.get("id", self._last_id)
        kind, data = fields.get("event", ""), fields.get("data")
        if data is None or kind not in (*_ENDS, "started", "progress", "reset"):
            return None  # a heartbeat, or of a later release
        job = cast("JobStatus", json.loads(data)) if kind != "reset" else JobStatus()
        return Event(cast("EventKind", kind), job, self._last_id)
