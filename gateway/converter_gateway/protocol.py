"""HTTP on one connection, with a deadline for everything that a caller has to do.

uvicorn parses and serves. This class adds the deadlines, rejects ambiguous requests, and makes the
errors of the protocol look like all errors of the API.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol
from uvicorn.server import ServerState

HEADER_BYTES: Final = 16 * 1024
# A response that waits to be read uses up to this much memory before it counts as unread.
_WRITE_BUFFER_BYTES: Final = 16 * 1024

# uvicorn logs one line for each request that is not valid HTTP. Anybody can send thousands a
# second, so these lines are left out. The server logs their number.
logger = logging.getLogger("converter_gateway.http")
logger.setLevel(logging.ERROR)


class Stage(Enum):
    """What a connection waits for. The values are how the log counts missed deadlines."""

    HEADER = "slow header"
    BODY = "slow body"
    IDLE = "idle"
    SERVING = "serving"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a header, for a body, between two requests, and for reading a response."""

    header: float
    body: float
    idle: float
    stall: float


@dataclass(frozen=True, slots=True)
class ConnectionEvents:
    """What a connection tells the server."""

    stage: Callable[[BoundedProtocol, Stage], None]
    unread: Callable[[BoundedProtocol], None]
    read: Callable[[BoundedProtocol], None]
    closed: Callable[[BoundedProtocol], None]
    count: Callable[[str], None]


class StrictConnection(h11.Connection):
    """Also rejects a request whose length two parsers could read differently.

    A proxy that reads such a request differently than this server would take a part of one
    request for the next.
    """

    error = (400, "the request is not valid HTTP")

    def next_event(self) -> Any:
        """Like h11, which knows no such error of a request."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                self.error = (431, f"the headers are larger than {HEADER_BYTES} bytes")
            raise
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if b"transfer-encoding" in names and (
                b"content-length" in names or event.http_version < b"1.1"
            ):
                self.error = (400, "Transfer-Encoding: not allowed in this request")
                raise h11.RemoteProtocolError("ambiguous length")
        return event


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        app_state: dict[str, Any],
        deadlines: Deadlines,
        events: ConnectionEvents,
    ) -> None:
        super().__init__(config, state, app_state, asyncio.get_running_loop())
        self.conn = self._strict = StrictConnection(h11.SERVER, HEADER_BYTES)
        self.logger = logger
        self._deadlines, self._events = deadlines, events
        self._stage: Stage | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._aborted = False

    def abort(self) -> None:
        """Close the connection now and free its memory. Data that was not sent is lost."""
        self._aborted = True
        if self.transport is not None:
            # Otherwise the kernel keeps what the peer has not read, and tries to send it.
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()

    @property
    def unread_bytes(self) -> int:
        """The bytes of responses that the peer has not read yet."""
        return self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a header."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        if self._aborted:
            self.abort()
        else:
            self._enter(Stage.HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._stage is Stage.BODY and not self._aborted:
            self._events.count("incomplete body")
        self._stop_timers()
        self._events.closed(self)
        super().connection_lost(exc)
        # uvicorn keeps its timer, and with it this object, if the peer has reset the connection.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse, then find out what the connection waits for now."""
        cycle = self.cycle
        super().data_received(data)
        if self.transport.is_closing():
            return  # the timers of the end are set
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self._end_pipeline()
        stage = self._stage_after(Stage.HEADER)
        # A new request has its own deadline, even if it starts in the stage of the previous one.
        if stage is not self._stage or cycle is not self.cycle:
            self._enter(stage)

    def on_response_complete(self) -> None:
        """The connection waits for the next request, or for the rest of the current body."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif (stage := self._stage_after(Stage.IDLE)) is not self._stage:
            self._enter(stage)

    def send_400_response(self, msg: str) -> None:
        """Reject an invalid request, in the format of all errors. ``msg`` is uvicorn's."""
        self._events.count("invalid request")
        self._reject(*self._strict.error)

    def pause_writing(self) -> None:
        """The peer does not read."""
        super().pause_writing()
        self._watch_reading(self.unread_bytes)
        self._events.unread(self)
        self._tell_stage()

    def resume_writing(self) -> None:
        """The peer has read almost everything."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._events.read(self)
        self._tell_stage()

    def _end_pipeline(self) -> None:
        """Close the connection after the current response, and ignore the requests behind it.

        With the next request at hand, such a connection would never wait for its caller, so it
        could never be closed to make room. RFC 9112 lets callers send such requests again.
        """
        if not self.cycle.response_started:
            self.cycle.default_headers = [*self.cycle.default_headers, CLOSE_HEADER]
        self.cycle.keep_alive = False

    def _stage_after(self, between_requests: Stage) -> Stage:
        match self.conn.their_state:
            case h11.IDLE:
                return between_requests
            case h11.SEND_BODY:
                return Stage.BODY
        return Stage.SERVING

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        if self._timer is not None:
            self._timer.cancel()
        deadlines = self._deadlines
        seconds = {
            Stage.HEADER: deadlines.header,
            Stage.BODY: deadlines.body,
            Stage.IDLE: deadlines.idle,
        }.get(stage)
        self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._expire, stage)
        self._tell_stage()

    def _tell_stage(self) -> None:
        """Tell the stage. A connection with a response that is not read waits for its caller.

        So it may be closed to make room, also while it closes, and while the response to its next
        request waits behind the one that is not read.
        """
        if self._stage is not None:
            self._events.stage(self, Stage.IDLE if self.flow.write_paused else self._stage)

    def _expire(self, stage: Stage) -> None:
        if stage is not Stage.IDLE:
            self._events.count(stage.value)
        silent = stage is Stage.HEADER and not self.conn.trailing_data[0]
        if stage is Stage.IDLE or silent:
            self._close()
        else:
            self._reject(408, f"the {stage.name.lower()} of the request did not arrive in time")

    def _reject(self, status: int, message: str) -> None:
        """Close the connection. Respond first, if no response has started."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": message}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            reason = STATUS_PHRASES[status]
            response = h11.Response(status_code=status, headers=headers, reason=reason)
            # The response to HEAD has no body.
            data = [] if self.conn._request_method == b"HEAD" else [h11.Data(data=body)]
            for event in (response, *data, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            # The application waits for a body that will not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _close(self) -> None:
        """Send what is left, but do not wait for ever until the peer reads it."""
        self._stop_timers()
        self._stage = Stage.IDLE
        self._tell_stage()
        self.transport.close()
        if self.unread_bytes:
            self._timer = self.loop.call_later(self._deadlines.stall, self.abort)

    def _watch_reading(self, before: int) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._stall_timer = self.loop.call_later(self._deadlines.stall, self._check_reading, before)

    def _check_reading(self, before: int) -> None:
        # More may have been written since. It is written only after the peer has read.
        if self.unread_bytes < before:
            self._watch_reading(self.unread_bytes)
            return
        self._events.count("unread response")
        self.abort()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
