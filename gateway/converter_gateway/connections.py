"""Decides which connections a replica keeps, before it has read a request. No I/O, no clock.

A connection waits until its request has arrived, and again after its response. Only such
connections are closed to make room: a request that the replica works on is never dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

# An address at its limit may replace its connections this often. Without this time, one address
# could keep the replica busy with connections that replace each other.
_MIN_WAIT_SECONDS: Final = 1.0

C = TypeVar("C")


class Refusal(Enum):
    """Why a new connection is refused."""

    ADDRESS_LIMIT = "its address has too many connections"
    LIMIT = "the replica has too many connections"


class ConnectionTable(Generic[C]):
    """The open connections of a replica, by address. ``now`` is in seconds of a monotonic clock."""

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit, self._per_address = limit, per_address
        self._addresses: dict[C, str] = {}
        self._open: Counter[str] = Counter()
        # The connections of each address that wait, and since when. The oldest are first.
        self._waiting: dict[str, dict[C, float]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def make_room(self, address: str, now: float) -> C | Refusal | None:
        """What must happen before ``address`` may open a connection.

        None: nothing. A connection: the caller must remove and close it. With a full table, this
        is the oldest of the address that has the most waiting connections, so that one address
        cannot lock the others out. Looks at all addresses only while the table is full.
        """
        own = self._waiting.get(address, {})
        if self._open[address] >= self._per_address:
            oldest = next(iter(own), None)
            if oldest is None or now - own[oldest] < _MIN_WAIT_SECONDS:
                return Refusal.ADDRESS_LIMIT
            return oldest
        if len(self) < self._limit:
            return None
        busiest = max(self._waiting.values(), key=len, default=own)
        return next(iter(busiest)) if len(busiest) > len(own) else Refusal.LIMIT

    def add(self, connection: C, address: str, now: float) -> None:
        """A new connection, which waits."""
        self._addresses[connection] = address
        self._open[address] += 1
        self.wait(connection, now)

    def remove(self, connection: C) -> None:
        """The connection ends. Does nothing if it was removed earlier."""
        address = self._addresses.get(connection)
        if address is None:
            return
        self.serve(connection)
        del self._addresses[connection]
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def wait(self, connection: C, now: float) -> None:
        """The connection waits for a request. Does nothing if it waits already."""
        address = self._addresses.get(connection)
        if address is not None:
            self._waiting.setdefault(address, {}).setdefault(connection, now)

    def serve(self, connection: C) -> None:
        """The request of the connection has arrived."""
        address = self._addresses.get(connection, "")
        waiting = self._waiting.get(address, {})
        if waiting.pop(connection, None) is not None and not waiting:
            del self._waiting[address]

    def address(self, connection: C) -> str:
        """The address of an open connection, "" of a removed one."""
        return self._addresses.get(connection, "")


def over_budget(unsent: Mapping[C, int], address: Callable[[C], str], budget: int) -> Iterable[C]:
    """The connections to close so that at most ``budget`` bytes of responses wait to be read.

    Takes the largest of the address that has the most unread bytes. Keeps one connection, so a
    response that is larger than the budget can be read if nobody else needs memory.
    """
    left, total = dict(unsent), sum(unsent.values())
    while total > budget and len(left) > 1:
        sums: Counter[str] = Counter()
        for connection, size in left.items():
            sums[address(connection)] += size
        ((busiest, _),) = sums.most_common(1)
        largest = max((c for c in left if address(c) == busiest), key=lambda c: left[c])
        total -= left.pop(largest)
        yield largest
