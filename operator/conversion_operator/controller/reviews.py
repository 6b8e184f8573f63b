"""Enqueues many conversions at once without stopping the event loop.

After a change of the settings, or when the lists of a namespace become known, all conversions are
looked at again. With 50 000 of them, to enqueue them in one go takes a quarter of a second.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

SLICE: Final = 500
"""How many conversions to enqueue before other tasks may run. This takes a few milliseconds."""


class Reviews:
    """The conversions to enqueue. ``enqueue`` gets a uid, and whether it has low priority."""

    def __init__(self, enqueue: Callable[[str, bool], None]) -> None:
        self._enqueue = enqueue
        self._waiting: OrderedDict[str, bool] = OrderedDict()
        self._added = asyncio.Event()

    def add(self, uids: Iterable[str], *, low_priority: bool = False) -> None:
        """Enqueue these soon. One that waits already keeps the higher of its priorities."""
        waiting = self._waiting
        for uid in uids:
            waiting[uid] = low_priority and waiting.get(uid, True)
        self._added.set()

    async def run(self) -> None:
        """Run until cancelled. Visits what was added, in slices."""
        while True:
            await self._added.wait()
            self._added.clear()
            while self._waiting:
                for _ in range(min(SLICE, len(self._waiting))):
                    self._enqueue(*self._waiting.popitem(last=False))
                await asyncio.sleep(0)
