"""The stream events of a namespace, which all listeners read from one log.

A listener has a cursor: it has received all events up to this version. A slow listener needs no
memory of its own. Versions are the API server's resourceVersions, so a cursor is valid at every
replica.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

LOG_BYTES: Final = 1024 * 1024
"""How much of a log is kept while it has listeners."""
IDLE_LOG_BYTES: Final = 128 * 1024
"""How much is kept without listeners, for those who reconnect."""
_PAUSE_SECONDS: Final = 0.02
"""Events that come together wake the listeners once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream event: its version, the conversion's name, and the encoded block."""

    version: int
    job_id: str
    block: bytes


class EventLog:
    """All stream events after ``start_version``, up to ``version``."""

    def __init__(self, version: int, limit: int = IDLE_LOG_BYTES) -> None:
        self.start_version = self.version = version
        self.alive = True
        # False if listeners may have missed events that this log should have had.
        self.complete = True
        self.limit = limit
        self._entries: list[Entry] = []
        self._bytes = 0
        self._loop = asyncio.get_running_loop()
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._wake_timer: asyncio.TimerHandle | None = None

    def append(self, entry: Entry) -> None:
        """Add an event. The caller then calls :meth:`advance`."""
        self._entries.append(entry)
        self._bytes += len(entry.block)
        self._trim()

    def advance(self, version: int) -> None:
        """All events up to ``version`` are in the log."""
        self.version = version
        if self._wake_timer is None:
            self._wake_timer = self._loop.call_later(_PAUSE_SECONDS, self._wake)

    def end(self, *, complete: bool = True) -> None:
        """The log gets no more events. Wakes the listeners.

        Without ``complete``, they cannot go on with another log, whatever their cursor is.
        """
        self.alive, self.complete = False, complete
        self._wake()

    def events_after(self, cursor: int) -> tuple[Entry, ...]:
        """The events after ``cursor``, oldest first. ``start_version`` is the oldest cursor."""
        return tuple(self._entries[bisect_right(self._entries, cursor, key=lambda e: e.version) :])

    def next_change(self) -> asyncio.Future[None]:
        """A future that is done soon after the next change. Callers share and never cancel it."""
        return self._changed

    def prepend(self, older: EventLog) -> None:
        """Put an older log before this one. The older one has reached the start of this one."""
        earlier = [entry for entry in older._entries if entry.version <= self.start_version]
        self._entries[:0] = earlier
        self._bytes += sum(len(entry.block) for entry in earlier)
        self.start_version = older.start_version
        self._trim()

    def _trim(self) -> None:
        drop = 0
        while self._bytes > self.limit:
            self._bytes -= len(self._entries[drop].block)
            self.start_version = self._entries[drop].version
            drop += 1
        del self._entries[:drop]

    def _wake(self) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None
        done, self._changed = self._changed, self._loop.create_future()
        done.set_result(None)
