"""Decides when the statuses of conversions that wait are written again.

When a conversion starts, the positions of all others behind it change. When the operator is paused,
or when a queue is held, the reasons of all its conversions change. To write all of them at once
would cost more than the conversions. So only a few are written in a second, the first ones in the
queue first, and only while nothing more important waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.controller.store import Store
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.model import Conversion
from conversion_operator.core.queue import Queue

_INTERVAL: Final = 1.0
_POSITIONS: Final = 5
"""How many positions to write in an interval."""
REASONS_WRITTEN: Final = 20
"""How many reasons to write in an interval."""
_LEAST_AGE: Final = 30.0
"""The shortest time between two writes of one position, in seconds. The first write follows the
creation of the conversion."""
_VISITED: Final = 1000
"""How many conversions to look at in an interval. After 150 writes, the first one is due again."""
_SHARED: Final = frozenset(
    {
        Reason.WAITING_FOR_SLOT,
        Reason.PAUSED,
        Reason.CRD_OUTDATED,
        Reason.CLAIM_MISSING,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_REJECTED,
        Reason.QUEUE_MISSING,
        Reason.QUEUE_HELD,
    }
)
"""Reasons that one change of the cluster gives to any number of conversions."""


class QueuedStatuses:
    """Chooses the statuses to write. The worker takes each choice once."""

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
        # The conversions whose reason has changed and is not written yet, oldest change first.
        self._deferred: dict[str, None] = {}
        self._due: set[str] = set()
        self._reasons_left = REASONS_WRITTEN

    def take_position(self, uid: str) -> bool:
        """True if the position of this conversion is to be written now."""
        if uid not in self._chosen:
            return False
        self._chosen.discard(uid)
        return True

    def request_position(self, uid: str) -> None:
        """Have the position of this conversion written at its next reconcile."""
        self._chosen.add(uid)
        self._chosen_at[uid] = time.monotonic()

    def must_wait(self, conversion: Conversion, new: ConversionJobStatus) -> bool:
        """True if a status that only has another shared reason is to be written later.

        Then the conversion is reconciled again when it is its turn.
        """
        uid, old = conversion.key.uid, conversion.status
        is_due = uid in self._due
        self._due.discard(uid)
        if old is None or not (old.phase is new.phase is Phase.QUEUED):
            return False
        if old.reason == new.reason or not {old.reason, new.reason} <= _SHARED:
            return False
        if is_due or old.observed_generation != new.observed_generation:
            return False
        if self._reasons_left > 0 and not self._deferred:
            self._reasons_left -= 1
            return False
        self._deferred[uid] = None
        return True

    def forget(self, uid: str) -> None:
        """Forget a conversion that no longer exists."""
        self._deferred.pop(uid, None)
        self._chosen.discard(uid)
        self._due.discard(uid)

    async def run(self) -> None:
        """Choose some conversions every second, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            # Ends and admissions come first.
            if self._may_write() and not self._work.urgent and not self._queue.to_update:
                self._choose_reasons()
                self._choose_positions()

    def _choose_reasons(self) -> None:
        self._reasons_left = REASONS_WRITTEN
        heads = (uid for uid, _ in islice(self._heads(), _VISITED) if uid in self._deferred)
        chosen = list(islice(heads, REASONS_WRITTEN)) if self._deferred else []
        if not chosen:  # those at the head are written, or no longer wait
            chosen = list(islice(self._deferred, REASONS_WRITTEN))
        for uid in chosen:
            del self._deferred[uid]
            self._work.add(uid, low_priority=True)
        self._due.update(chosen)
        self._reasons_left -= len(chosen)

    def _choose_positions(self) -> None:
        now = time.monotonic()
        recent = {uid: at for uid, at in self._chosen_at.items() if now - at < _LEAST_AGE}
        self._chosen_at = recent
        for uid in islice(self._outdated(), _POSITIONS):
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
                yield keys[rank - 1].uid, rank

    def _is_outdated(self, conversion: Conversion, position: int) -> bool:
        status = conversion.status
        if status is None or status.phase is not Phase.QUEUED:
            return False
        recent = self._now() - conversion.created < timedelta(seconds=_LEAST_AGE)
        recent = recent or conversion.key.uid in self._chosen_at
        return status.queue_position != position and not recent
