"""One open watch: the events it sends, and what a test may do to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web

from tests.component.support import errors
from tests.component.support.audit import Request
from tests.component.support.clock import Signal
from tests.component.support.errors import Obj, StatusError
from tests.component.support.fault_types import StreamFault
from tests.component.support.kinds import Kind
from tests.component.support.selectors import Predicate
from tests.component.support.storage import StoredChange, Version
from tests.component.support.strategies import event_to_new

_PREFIX: Final = {
    name: f'{{"type":"{name}","object":'.encode() for name in ("ADDED", "MODIFIED", "DELETED")
}


def encode(event: str, raw: bytes) -> bytes:
    return b"".join((_PREFIX[event], raw, b"}\n"))


class Watch:
    """The server's end of one watch request.

    A test gets it from ``api.watches(...)``. It may ``close`` the watch cleanly, ``abort`` it,
    ``expire`` it with a 410 in mid-stream, ``stall`` it silently, or ``inject`` an event.
    """

    def __init__(
        self, request: Request, kind: Kind, accepts: Predicate, *, bookmarks: bool
    ) -> None:
        self.request = request
        self.kind = kind
        self.sent = 0
        self._accepts = accepts
        self._bookmarks = bookmarks
        self._out: deque[tuple[float, bytes]] = deque()
        self._held: list[bytes] = []
        self._faults: list[StreamFault] = []
        self._wake = Signal()
        self._stalled = False
        self._ending = ""

    # What a test may do

    def close(self) -> None:
        """Ends the stream cleanly, as a server does at the time limit."""
        self._end("closed")

    def abort(self) -> None:
        """Breaks the connection in the middle of the stream."""
        self._end("aborted")

    def expire(self, current: int = 0) -> None:
        """Sends an ERROR event with code 410 and closes."""
        self.error(errors.expired(0, current))

    def error(self, error: StatusError) -> None:
        """Sends an ERROR event and closes."""
        self._push(orjson.dumps({"type": "ERROR", "object": error.to_status()}) + b"\n")
        self._end("closed")

    def stall(self) -> None:
        """Stops sending for ever, and leaves the connection open."""
        self._stalled = True

    def inject(self, event: str, obj: Obj) -> None:
        """Sends an event without a change: an outdated or repeated one."""
        self._push(encode(event, orjson.dumps(obj)))

    # What the server does

    def deliver(self, change: StoredChange) -> None:
        """Sends a change of a selected object.

        An object that starts to match is ADDED, and an object that no longer matches is DELETED:
        the client sees only its selection.
        """
        new = change.new if change.type != "DELETED" and self._matches(change.new) else None
        old = change.old if change.old is not None and self._matches(change.old) else None
        if new is not None:
            self._push(encode("ADDED" if old is None else "MODIFIED", self._raw(new)))
        elif old is not None:
            self._push(encode("DELETED", self._raw(change.new)))

    def add(self, version: Version) -> None:
        """Sends a synthetic ADDED. A watch without a version starts with them."""
        if self._matches(version):
            self._push(encode("ADDED", self._raw(version)))

    def bookmark(self, rv: int) -> None:
        """Sends the version that the client may continue from."""
        meta = {"resourceVersion": str(rv), "creationTimestamp": None}
        obj = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": meta}
        self._push(orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n")

    def add_fault(self, fault: StreamFault) -> None:
        self._faults.append(fault)

    def remove_fault(self, fault: StreamFault) -> None:
        self._faults.remove(fault)
        if not any(other.hold for other in self._faults):
            self.release()

    def release(self) -> None:
        held, self._held = self._held, []
        for data in held:
            self._queue(data)

    async def serve(
        self,
        response: web.StreamResponse,
        transport: asyncio.Transport | None,
        limit: float | None,
        bookmark_every: float,
        current: Callable[[], int],
    ) -> None:
        """Sends until the stream ends, or for ``limit`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = None if limit is None else loop.time() + limit
        next_bookmark = loop.time() + bookmark_every
        while not self._finished():
            if data := self._take(loop.time()):
                await response.write(data)
                continue
            if deadline is not None and loop.time() >= deadline:
                break
            if loop.time() >= next_bookmark:
                next_bookmark += bookmark_every
                if self._bookmarks:
                    self.bookmark(current())
                continue
            await self._wake.wait(self._pause(loop.time(), deadline, next_bookmark))
        if self._ending == "aborted" and transport is not None:
            transport.abort()

    def _finished(self) -> bool:
        return self._ending == "aborted" or (self._ending == "closed" and not self._out)

    def _take(self, now: float) -> bytes:
        if self._stalled:
            return b""
        parts = []
        while self._out and self._out[0][0] <= now:
            parts.append(self._out.popleft()[1])
        self.sent += len(parts)
        return b"".join(parts)

    def _pause(self, now: float, *moments: float | None) -> float:
        due = self._out[0][0] if self._out and not self._stalled else None
        return max(0.0, min(m for m in (due, *moments) if m is not None) - now)

    def _matches(self, version: Version) -> bool:
        return self._accepts(version.obj)

    def _raw(self, version: Version) -> bytes:
        if self.kind is version.kind:
            return version.raw
        return orjson.dumps(event_to_new(version.obj))

    def _push(self, data: bytes) -> None:
        if any(fault.hold for fault in self._faults):
            self._held.append(data)
        else:
            self._queue(data)

    def _queue(self, data: bytes) -> None:
        delay = max((fault.delay for fault in self._faults), default=0.0)
        now = asyncio.get_running_loop().time()
        due = max(now + delay, self._out[-1][0] if self._out else 0.0)
        self._out.append((due, data))
        self._wake.fire()

    def _end(self, how: str) -> None:
        self._ending = self._ending or how
        self._wake.fire()
