"""A queue of keys to work on, as in client-go: each key once, never two workers on one key.

A key that is added while it is worked on is handed out again afterwards, so that no change is
missed; a delayed key that is added earlier is handed out earlier.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

_FIRST_BACKOFF: Final = 0.5
_LONGEST_BACKOFF: Final = 30.0


class WorkQueue:
    """Keys are uids. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ready: dict[str, None] = {}  # a dict keeps the order of arrival
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._due: dict[str, float] = {}
        self._timers: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: str) -> None:
        """Hand out ``key`` as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._changed.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Hand out ``key`` in so many seconds, unless it is due earlier anyway."""
        due = self._clock() + seconds
        if key in self._ready or self._due.get(key, due) < due:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, key))
        self._changed.set()

    def add_backed_off(self, key: str) -> None:
        """Hand out ``key`` after a pause that doubles with each failure in a row."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, min(_FIRST_BACKOFF * 2 ** min(failures - 1, 10), _LONGEST_BACKOFF))

    def succeeded(self, key: str) -> None:
        """Forget the failures of ``key``."""
        self._failures.pop(key, None)

    async def take(self) -> str:
        """The next key; hand it back with :meth:`done`."""
        while True:
            wait = self._promote()
            if self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                self._working.add(key)
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: str) -> None:
        """The work on ``key`` is over."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _promote(self) -> float | None:
        """Move what is due to the ready keys. Returns seconds to the next one, None for never."""
        now = self._clock()
        while self._timers:
            due, key = self._timers[0]
            if self._due.get(key) != due:  # taken over by an earlier one, or added meanwhile
                heapq.heappop(self._timers)
            elif due <= now:
                heapq.heappop(self._timers)
                self.add(key)
            else:
                return due - now
        return None
