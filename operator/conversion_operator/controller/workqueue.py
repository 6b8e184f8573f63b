"""A queue of keys to reconcile, like the one in client-go.

It holds each key once, and never gives one key to two workers. If a key is added while a worker
has it, the queue returns it once more afterwards, so no change is missed. Adding a delayed key
again never makes it due later.

Keys with low priority and keys that fail wait for the others, the urgent ones. But one in nine is
such a key, so they never wait for ever. While urgent keys wait, these two kinds take turns:
thousands of keys with low priority must not delay an end that could not be written at once.
Otherwise, one in nine is a key that fails: where all writes hang, they must not keep all workers.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_FIRST_IN_A_ROW: Final = 8
_SPARE_TIMERS: Final = 1000


class WorkQueue:
    """Keys are uids. ``clock`` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # A dict is slow to find its oldest key after many deletions, an OrderedDict is not.
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._low: OrderedDict[str, None] = OrderedDict()
        self._failing: OrderedDict[str, None] = OrderedDict()
        self._processing: set[str] = set()
        # The keys to add again, and whether with low priority.
        self._readd: dict[str, bool] = {}
        self._due: dict[str, float] = {}
        self._timers: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()
        # How many keys of the most important group were returned since the last other one.
        self._first_in_a_row = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._low) + len(self._failing)

    @property
    def urgent(self) -> int:
        """How many keys are ready that neither fail nor have low priority."""
        return len(self._ready)

    def add(self, key: str, *, low_priority: bool = False) -> None:
        """Make ``key`` ready now. A key that is ready keeps the higher of its priorities.

        With low priority, a delay of the key is kept: it may end earlier than the key is returned.
        """
        if not low_priority:
            self._due.pop(key, None)
        if key in self._processing:
            self._readd[key] = low_priority and self._readd.get(key, True)
        elif low_priority:
            if key not in self._ready:
                self._put(key, self._failing if key in self._failures else self._low)
        else:
            self._put(key, self._ready)

    def add_after(self, key: str, seconds: float) -> None:
        """Make ``key`` ready after a delay, unless it is due earlier."""
        due = self._clock() + seconds
        if key in self._ready or self._due.get(key, due) < due:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, key))
        if len(self._timers) > 2 * len(self._due) + _SPARE_TIMERS:
            # Keys that were added meanwhile leave their timers behind, some due in a day.
            self._timers = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._timers)
        self._changed.set()

    def add_rate_limited(self, key: str) -> None:
        """Make ``key`` ready after a delay that doubles with each failure in a row.

        It then waits for keys that do not fail.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, min(_FIRST_DELAY * 2 ** min(failures - 1, 10), _LONGEST_DELAY))

    def forget_failures(self, key: str) -> None:
        """Reset the delay of ``key`` after a success."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """Wait for the next key. The worker must call :meth:`done` for it."""
        while True:
            delay = self._promote_due()
            if len(self):
                key, _ = self._next_group().popitem(last=False)
                self._processing.add(key)
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _next_group(self) -> OrderedDict[str, None]:
        # The groups with keys, most important first.
        first, *others = [g for g in (self._ready, self._low, self._failing) if g]
        if not others or self._first_in_a_row < _FIRST_IN_A_ROW:
            self._first_in_a_row += 1
            return first
        self._first_in_a_row = 0
        self._turn = (self._turn + 1) % len(others)
        return others[self._turn]

    def done(self, key: str) -> None:
        """Report that the worker has finished with ``key``."""
        self._processing.discard(key)
        if key in self._readd:
            self.add(key, low_priority=self._readd.pop(key))

    def _put(self, key: str, group: OrderedDict[str, None]) -> None:
        """Move a key to a group. In the same group, it keeps its place."""
        for other in (self._ready, self._low, self._failing):
            if other is not group:
                other.pop(key, None)
        group[key] = None
        self._changed.set()

    def _promote_due(self) -> float | None:
        """Make due keys ready. Returns the seconds until the next is due, None if no key waits."""
        now = self._clock()
        while self._timers:
            due, key = self._timers[0]
            if self._due.get(key) != due:  # replaced by an earlier timer, or added meanwhile
                heapq.heappop(self._timers)
            elif due <= now:
                heapq.heappop(self._timers)
                del self._due[key]
                self.add(key, low_priority=key in self._failures)
            else:
                return due - now
        return None
