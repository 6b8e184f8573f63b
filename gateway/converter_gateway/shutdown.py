"""Graceful shutdown: report not ready, then end streams and long polls, then stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Shutdown:
    """The two steps that SIGTERM starts."""

    def __init__(self) -> None:
        self.draining = False
        self.ended = asyncio.Event()
        self._timeouts: set[asyncio.Timeout] = set()

    def drain(self) -> None:
        """Report not ready. Everything else continues."""
        self.draining = True

    def end(self) -> None:
        """End streams and long polls now. They respond with what they have so far."""
        self.drain()
        self.ended.set()
        for timeout in self._timeouts:
            # One that has just expired cannot be changed: its request runs in the next turn.
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Like asyncio.timeout, but also expires when :meth:`end` is called."""
        async with asyncio.timeout(0 if self.ended.is_set() else seconds) as timeout:
            self._timeouts.add(timeout)
            try:
                yield
            finally:
                self._timeouts.discard(timeout)


class SendAway:
    """Closes connections with their response while the API drains.

    A caller that keeps its connection open would otherwise stay at this replica until it stops,
    and could lose a request that it sends just then.
    """

    def __init__(self, app: ASGIApp, shutdown: Shutdown) -> None:
        self._app, self._shutdown = app, shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def send_away(message: Message) -> None:
            if message["type"] == "http.response.start" and self._shutdown.draining:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_away)
