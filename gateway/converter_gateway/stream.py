"""The ASGI response that streams server-sent events to one listener."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from conversion_operator.cluster.errors import ClusterError
from converter_gateway import events
from converter_gateway.errors import ApiError
from converter_gateway.event_log import EventLog
from converter_gateway.feed import CursorTooOld, FeedPool, StartPoint
from converter_gateway.shutdown import Shutdown

_CHUNK_BYTES: Final = 16 * 1024
_RETRY_MS: Final = (500, 3000)
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that buffers responses would delay events
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Seconds between heartbeats, for one write to the listener, and for the whole stream."""

    heartbeat: float
    stall: float
    lifetime: float


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a listener subscribes to. ``last_event_id`` is "" if it sends none."""

    namespace: str
    job_id: str | None
    last_event_id: str


class EventStream(Response):
    """Streams events until the listener disconnects, its time is over, or the server shuts down.

    Raises ApiError or ClusterError only before it has sent anything. ``still_allowed`` raises
    ApiError 401 or 403 if the listener has lost its permission.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        feeds: FeedPool,
        subscription: Subscription,
        timeouts: StreamTimeouts,
        shutdown: Shutdown,
        still_allowed: Callable[[], Awaitable[object]],
    ) -> None:
        super().__init__()
        self._feeds, self._namespace, self._shutdown = feeds, subscription.namespace, shutdown
        self._stall = timeouts.stall
        self._listener = _Listener(feeds, subscription, timeouts, still_allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with self._feeds.listening(self._namespace):
            listener = self._listener
            blocks = listener.blocks(await listener.start_point())
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            listener.stop_signals = {
                asyncio.ensure_future(_disconnected(receive)),
                asyncio.ensure_future(self._shutdown.ended.wait()),
            }
            try:
                async with aclosing(blocks):
                    async for block in blocks:
                        if not await self._send(send, block, more=True):
                            return
                await self._send(send, b"", more=False)
            finally:
                for future in listener.stop_signals:
                    future.cancel()

    async def _send(self, send: Send, block: bytes, *, more: bool) -> bool:
        """Send a block. False: the listener does not read, so the stream ends."""
        try:
            async with asyncio.timeout(self._stall):
                await send({"type": "http.response.body", "body": block, "more_body": more})
        except TimeoutError:
            logger.warning("closed the event stream of a listener that does not read")
            return False
        return True


class _Listener:
    """One listener. It has received all events up to ``cursor``."""

    def __init__(
        self,
        feeds: FeedPool,
        subscription: Subscription,
        timeouts: StreamTimeouts,
        still_allowed: Callable[[], Awaitable[object]],
    ) -> None:
        self.cursor = 0
        self.stop_signals: set[asyncio.Future[bool]] = set()
        self._feeds, self._subscription, self._timeouts = feeds, subscription, timeouts
        self._still_allowed = still_allowed
        self._ends_at = time.monotonic() + timeouts.lifetime

    async def start_point(self, *, resume: bool = True) -> StartPoint:
        """Where to start: with ``resume``, after the Last-Event-ID if there is one.

        Raises ApiError 404 or ClusterError.
        """
        job_id = self._subscription.job_id
        last = events.parse_id(self._subscription.last_event_id) if resume else None
        namespace = self._subscription.namespace
        start = await self._feeds.start_point(
            namespace, last, job_id, ended=not resume or bool(self._subscription.last_event_id)
        )
        state = job_id is not None and start.records is not None
        if state and not await self._feeds.exists(namespace, job_id or ""):
            raise ApiError(404, "Job not found")
        return start

    async def blocks(self, start: StartPoint | None) -> AsyncGenerator[bytes]:
        """The blocks to send, until the stream must end."""
        yield events.encode_retry(random.randint(*_RETRY_MS))  # noqa: S311
        reset = bool(self._subscription.last_event_id)
        while start is not None:
            self.cursor, log = start.cursor, start.log
            state = self._current_state(start, reset=reset)
            start = None  # it is large, and a stream lasts long
            for chunk in _chunks(state):
                yield chunk
            del state
            try:
                async for chunk in self._follow(log):
                    yield chunk
            except CursorTooOld:
                reset, start = True, await self._restart()
        # The delay is random, so that the listeners do not all reconnect at the same time.
        yield events.encode_id(self.cursor, "reconnect", random.randint(*_RETRY_MS))  # noqa: S311

    def _current_state(self, start: StartPoint, *, reset: bool) -> Iterator[bytes]:
        """The blocks of the current state. Only the last has an id.

        So a listener that disconnects before the last block gets the whole state again.
        """
        if start.records is None:
            return
        if reset:
            yield events.RESET
        for record in start.records:
            namespace = self._subscription.namespace
            estimate = self._feeds.estimate(namespace, record.name, record.uid)
            yield events.encode_state(record.phase, record.response(estimate=estimate))
        yield events.encode_id(start.cursor, "end of the current state")

    async def _follow(self, log: EventLog) -> AsyncGenerator[bytes]:
        """The blocks of events after the cursor, and heartbeats. Raises CursorTooOld."""
        next_heartbeat = time.monotonic() + self._timeouts.heartbeat
        while not self._is_over():
            log = self._feeds.log(self._subscription.namespace, self.cursor, log)
            changed, version = log.next_change(), log.version
            entries = log.events_after(self.cursor)
            job_id = self._subscription.job_id
            for chunk in _chunks(e.block for e in entries if job_id in (None, e.job_id)):
                yield chunk
            self.cursor = max(self.cursor, version)
            if time.monotonic() >= next_heartbeat:
                if not await self._is_allowed():
                    return
                yield events.encode_id(self.cursor, "heartbeat")
                next_heartbeat = time.monotonic() + self._timeouts.heartbeat
            pause = max(0.0, min(next_heartbeat, self._ends_at) - time.monotonic())
            signals: set[asyncio.Future[Any]] = {changed, *self.stop_signals}
            await asyncio.wait(signals, timeout=pause, return_when="FIRST_COMPLETED")

    def _is_over(self) -> bool:
        stopped = any(future.done() for future in self.stop_signals)
        return stopped or time.monotonic() >= self._ends_at

    async def _restart(self) -> StartPoint | None:
        try:
            return await self.start_point(resume=False)
        except (ApiError, ClusterError) as error:
            logger.info("an event stream ends: %s", error)
            return None

    async def _is_allowed(self) -> bool:
        try:
            await self._still_allowed()
        except ApiError as error:
            # 429 and 503 say that the check is not possible now. The next heartbeat checks again.
            return error.code not in (401, 403)
        except ClusterError:
            pass  # unknown for now, as above
        return True


def _chunks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join blocks into fewer, larger chunks, so that the stream needs fewer writes."""
    joined: list[bytes] = []
    size = 0
    for block in blocks:
        joined.append(block)
        size += len(block)
        if size >= _CHUNK_BYTES:
            chunk = b"".join(joined)
            joined.clear()
            size = 0
            yield chunk
            del chunk  # the generator may rest here for long
    if joined:
        yield b"".join(joined)


async def _disconnected(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
