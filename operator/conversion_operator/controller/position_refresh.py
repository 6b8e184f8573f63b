"""Refreshes positions in the queue that are stored in statuses.

When a conversion starts, the positions of all others behind it change. To write all of them would
cost more than the conversions. So only a few are written, the first ones in the queue, and only
while nothing more important waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from conversion_operator.api.status import Phase
from conversion_operator.controller.store import Store
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.model import Conversion
from conversion_operator.core.queue import Queue

_INTERVAL: Final = 1.0
_WRITES: Final = 5
"""How many positions to write in an interval."""
_LEAST_AGE: Final = 30.0
"""The shortest time between two writes of one position, in seconds. The first write follows the
creation of the conversion."""
_VISITED: Final = 1000
"""How many conversions to look at in an interval. After 150 writes, the first one is due again."""


class PositionRefresh:
    """Chooses the positions to write. The worker takes each choice once."""

    def __init__(
        self,
        queue: Queue,
        store: Store,
        work: WorkQueue,
        may_write: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._queue, self._store, self._work = queue, store, work
        self._may_write = may_write
        self._chosen: set[str] = set()
        self._chosen_at: dict[str, float] = {}

    def take(self, uid: str) -> bool:
        """True if the position of this conversion is to be written now."""
        if uid not in self._chosen:
            return False
        self._chosen.discard(uid)
        return True

    def request(self, uid: str) -> None:
        """Have the position of this conversion written at its next reconcile."""
        self._chosen.add(uid)
        self._chosen_at[uid] = time.monotonic()

    async def run(self) -> None:
        """Choose some positions every second, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            # Ends and admissions come first.
            if self._may_write() and not self._work.urgent and not self._queue.marked:
                self._choose()

    def _choose(self) -> None:
        now = time.monotonic()
        recent = {uid: at for uid, at in self._chosen_at.items() if now - at < _LEAST_AGE}
        self._chosen_at, self._chosen = recent, self._chosen & recent.keys()
        for uid in islice(self._outdated(), _WRITES):
            self._chosen.add(uid)
            self._chosen_at[uid] = now
            self._work.add(uid, low_priority=True)

    def _outdated(self) -> Iterator[str]:
        """The conversions whose stored position is not the current one, lowest position first."""
        for uid, position in islice(self._heads(), _VISITED):
            conversion = self._store.conversion(uid)
            if conversion is not None and self._is_outdated(conversion, position):
                yield uid

    def _heads(self) -> Iterator[tuple[str, int]]:
        """The first ones of all namespaces and queues, then the second ones, and so on."""
        namespaces = self._queue.namespaces.values()
        waiting = [keys for queue in namespaces for keys in queue.waiting.values()]
        rank = 0
        while waiting := [keys for keys in waiting if len(keys) > rank]:
            rank += 1
            for keys in waiting:
                yield keys[rank - 1][3], rank

    def _is_outdated(self, conversion: Conversion, position: int) -> bool:
        status = conversion.status
        if status is None or status.phase is not Phase.QUEUED:
            return False
        recent = self._now() - conversion.created < timedelta(seconds=_LEAST_AGE)
        recent = recent or conversion.key.uid in self._chosen_at
        return status.queue_position != position and not recent
