"""The way out: first not ready, then whatever waits comes to its end by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Closing:
    """What SIGTERM sets off, in two steps."""

    def __init__(self) -> None:
        self.draining = False
        self.ended = asyncio.Event()
        self._timeouts: set[asyncio.Timeout] = set()

    def drain(self) -> None:
        """No longer ready; everything else goes on as before."""
        self.draining = True

    def end(self) -> None:
        """Streams and long polls end now, with what they know."""
        self.drain()
        self.ended.set()
        for timeout in self._timeouts:
            timeout.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """asyncio.timeout, which is over at the end as well."""
        async with asyncio.timeout(0 if self.ended.is_set() else seconds) as timeout:
            self._timeouts.add(timeout)
            try:
                yield
            finally:
                self._timeouts.discard(timeout)
