"""Decides which of the callbacks that are due is sent next, so that no host holds up the others.

Each host has a lane: the callbacks that wait for it, in their order. Lanes take turns. The number
of callbacks that are sent at the same time is limited, for each host and in all. A host that did
not respond last time is silent: it gets one at a time, and all silent hosts together get a part of
the places. So the hosts that respond always find a place.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

PER_HOST: Final = 4
MOST_OPEN: Final = 64
"""How many callbacks are sent at the same time."""
MOST_SILENT: Final = 32
"""How many of these may go to hosts that did not respond last time."""
_PER_SILENT_HOST: Final = 1


class Departure(NamedTuple):
    """A callback that may be sent now: the host, and the uid of the conversion."""

    host: str
    uid: str


class HostLanes:
    """Nothing here visits all lanes or all callbacks."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[str]] = {}
        self._open: Counter[str] = Counter()
        # Only hosts that the settings allow are ever called, so there are few.
        self._silent: set[str] = set()
        self._open_silent = 0
        # The lanes that may send, in turn: those of hosts that respond, and the silent ones.
        self._ready: dict[str, None] = {}
        self._ready_silent: dict[str, None] = {}

    def add(self, host: str, uid: str) -> None:
        """Add a callback at the end of the lane of its host."""
        self._waiting.setdefault(host, deque()).append(uid)
        self._queue_up(host)

    def take(self) -> Departure | None:
        """The next callback to send now. The caller must :meth:`release` its host afterwards."""
        if self._open.total() >= MOST_OPEN:
            return None
        host = next(iter(self._ready), None)
        if host is None and self._open_silent < MOST_SILENT:
            host = next(iter(self._ready_silent), None)
        if host is None:
            return None
        self._step_back(host)
        lane = self._waiting[host]
        uid = lane.popleft()
        if not lane:
            del self._waiting[host]
        self._open[host] += 1
        self._open_silent += host in self._silent
        self._queue_up(host)
        return Departure(host, uid)

    def release(self, host: str, *, responded: bool | None) -> None:
        """Report whether the host responded. None: nothing was sent, so nothing is known."""
        self._step_back(host)
        was_silent = host in self._silent
        self._open_silent -= was_silent
        self._open[host] -= 1
        if responded and was_silent:
            self._silent.discard(host)
            self._open_silent -= self._open[host]
        elif responded is False and not was_silent:
            self._silent.add(host)
            self._open_silent += self._open[host]
        if not self._open[host]:
            del self._open[host]
        self._queue_up(host)

    def _queue_up(self, host: str) -> None:
        """Let a lane take its turn, if it has a callback and its host may get one."""
        silent = host in self._silent
        most = _PER_SILENT_HOST if silent else PER_HOST
        if host in self._waiting and self._open.get(host, 0) < most:
            (self._ready_silent if silent else self._ready)[host] = None

    def _step_back(self, host: str) -> None:
        self._ready.pop(host, None)
        self._ready_silent.pop(host, None)
