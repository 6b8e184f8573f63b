"""Graceful shutdown: report not ready, then end streams and long polls, then stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
