"""One stream of server-sent events, as an ASGI response."""

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
from converter_gateway.closing import Closing
from converter_gateway.errors import ApiError
from converter_gateway.feed import Beginning, Hub, Missed

_CHUNK: Final = 64 * 1024
_RETRY_MS: Final = (500, 3000)
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that collects answers would hold events back
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: between heartbeats, for one write to the listener, and of the whole stream."""

    heartbeat: float
    stall: float
    life: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a listener asks for. ``last`` is its Last-Event-ID, "" if it has none."""

    namespace: str
    job_id: str | None
    last: str


class EventStream(Response):
    """Sends events until the listener leaves, its time is over, or the server closes.

    Errors of the beginning are raised before anything is sent, as ApiError or ClusterError.
    ``still_allowed`` raises ApiError 401 or 403 once the listener has lost its right.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        hub: Hub,
        wanted: Wanted,
        limits: Limits,
        closing: Closing,
        still_allowed: Callable[[], Awaitable[object]],
    ) -> None:
        super().__init__()
        self._hub, self._wanted, self._limits = hub, wanted, limits
        self._closing, self._still_allowed = closing, still_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with self._hub.listening(self._wanted.namespace):
            listener = _Listener(self._hub, self._wanted, self._limits, self._still_allowed)
            blocks = listener.blocks(await listener.begin())
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            listener.leave = {
                asyncio.ensure_future(_gone(receive)),
                asyncio.ensure_future(self._closing.ended.wait()),
            }
            try:
                async with aclosing(blocks):
                    async for block in blocks:
                        if not await self._sent(send, block, more=True):
                            return
                await self._sent(send, b"", more=False)
            finally:
                for future in listener.leave:
                    future.cancel()

    async def _sent(self, send: Send, block: bytes, *, more: bool) -> bool:
        """False if the listener does not read: it is cut off, for nothing is kept for it."""
        try:
            async with asyncio.timeout(self._limits.stall):
                await send({"type": "http.response.body", "body": block, "more_body": more})
        except TimeoutError:
            logger.warning("a listener to events that does not read was cut off")
            return False
        return True


class _Listener:
    """Where one listener stands: it has been told everything up to ``cursor``."""

    def __init__(
        self,
        hub: Hub,
        wanted: Wanted,
        limits: Limits,
        still_allowed: Callable[[], Awaitable[object]],
    ) -> None:
        self.cursor = 0
        self.leave: set[asyncio.Future[bool]] = set()
        self._hub, self._wanted, self._limits = hub, wanted, limits
        self._still_allowed = still_allowed
        self._over_at = time.monotonic() + limits.life

    async def begin(self, *, anew: bool = False) -> Beginning:
        """Where to begin; ``anew`` if the thread is lost. Raises ApiError 404, ClusterError."""
        job_id = self._wanted.job_id
        last = None if anew else events.parse_id(self._wanted.last)
        beginning = await self._hub.begin(self._wanted.namespace, last)
        if job_id is not None and beginning.bodies is not None:
            names = (body["metadata"]["name"] for body in beginning.bodies)
            if job_id not in names:
                raise ApiError(404, "Job not found")
        return beginning

    async def blocks(self, begun: Beginning | None) -> AsyncGenerator[bytes]:
        """What to send, until there is a reason to end."""
        yield events.encode_retry(random.randint(*_RETRY_MS))  # noqa: S311
        missed = bool(self._wanted.last)
        while begun is not None:
            for chunk in _chunks(self._present(begun, missed=missed)):
                yield chunk
            # The list is let go of: it is large, and a stream lives long.
            self.cursor, begun = begun.cursor, None
            try:
                async for chunk in self._follow():
                    yield chunk
            except Missed:
                missed, begun = True, await self._begin_anew()
        # Not all at once: whoever was here comes back to the other replicas.
        yield events.encode_id(self.cursor, "come back", random.randint(*_RETRY_MS))  # noqa: S311

    def _present(self, begun: Beginning, *, missed: bool) -> Iterator[bytes]:
        """The present state. It has no ids: who loses it half-way is to get it again."""
        if begun.bodies is None:
            return
        if missed:
            yield events.RESET
        ends = missed or self._wanted.job_id is not None
        for event in events.present(begun.bodies, self._wanted.job_id, ends=ends):
            yield events.encode(event)
        yield events.encode_id(begun.cursor, "that is the present state")

    async def _follow(self) -> AsyncGenerator[bytes]:
        """What comes after the cursor. Raises Missed."""
        beat = time.monotonic() + self._limits.heartbeat
        while not self._over():
            feed = self._hub.feed(self._wanted.namespace, self.cursor)
            changed, version = feed.changed(), feed.version
            entries = feed.after(self.cursor)
            job_id = self._wanted.job_id
            for chunk in _chunks(e.block for e in entries if job_id in (None, e.job_id)):
                yield chunk
            self.cursor = max(self.cursor, version)
            if time.monotonic() >= beat:
                if not await self._allowed():
                    return
                yield events.encode_id(self.cursor, "heartbeat")
                beat = time.monotonic() + self._limits.heartbeat
            pause = max(0.0, min(beat, self._over_at) - time.monotonic())
            reasons: set[asyncio.Future[Any]] = {changed, *self.leave}
            await asyncio.wait(reasons, timeout=pause, return_when="FIRST_COMPLETED")

    def _over(self) -> bool:
        return time.monotonic() >= self._over_at or any(future.done() for future in self.leave)

    async def _begin_anew(self) -> Beginning | None:
        try:
            return await self.begin(anew=True)
        except (ApiError, ClusterError) as error:
            logger.info("a stream of events ends: %s", error)
            return None

    async def _allowed(self) -> bool:
        try:
            await self._still_allowed()
        except ApiError:
            return False
        except ClusterError:
            pass  # not known now; the next heartbeat asks again
        return True


def _chunks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks put together into fewer writes, of bounded size."""
    chunk = bytearray()
    for block in blocks:
        chunk += block
        if len(chunk) >= _CHUNK:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


async def _gone(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
