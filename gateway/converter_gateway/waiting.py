"""The conversions of one namespace that wait: their places, and why they all wait. No I/O.

The operator writes at most 20 changed reasons in a second, the first ones of each queue first. So a
pause or a held queue is in the statuses of the first ones within about a second, and in those of
thousands behind them minutes later. What holds for the first ones of a queue holds for all others.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from conversion_operator.api.reasons import Reason
from converter_gateway.records import Place, Record

SHARED: Final = frozenset(
    {
        Reason.PAUSED,
        Reason.CRD_OUTDATED,
        Reason.CLAIM_MISSING,
        Reason.QUEUE_MISSING,
        Reason.QUEUE_HELD,
    }
)
"""The reasons that all conversions of one namespace and ConversionQueue have, or none."""
_REPLACED: Final = SHARED | {Reason.WAITING_FOR_SLOT, Reason.PENDING, ""}
"""The stored reasons that may be out of date. All others are about the conversion itself."""
_TELLING: Final = SHARED | {Reason.WAITING_FOR_SLOT}
_FIRST: Final = 8
"""How many of the first ones to look at: one may be new, or may wait for something of its own."""

Key = tuple[datetime, int, str, str]
_NAME: Final = 2


class Waiting:
    """The sorted keys of those that wait, by the name of their ConversionQueue.

    ``get`` returns the record of a name. The reason that the first ones of a queue share is found
    once after a change of the queue, in at most 8 of its conversions.
    """

    def __init__(self, get: Callable[[str], Record | None]) -> None:
        self._get = get
        self._queues: dict[str, list[Key]] = {}
        self._reasons: dict[str, str] = {}

    def clear(self) -> None:
        """A list follows."""
        self._queues.clear()
        self._reasons.clear()

    def add_all(self, records: Iterable[Record]) -> None:
        """Add the places of these. Visits all, once for each list that replaces the store."""
        for record in records:
            if record.place:
                self._queues.setdefault(record.place.queue, []).append(record.place.key)
        for keys in self._queues.values():
            keys.sort()

    def add(self, place: Place) -> None:
        """A conversion waits now."""
        insort(self._queues.setdefault(place.queue, []), place.key)
        self._reasons.pop(place.queue, None)

    def remove(self, place: Place) -> None:
        """A conversion no longer waits at this place."""
        keys = self._queues[place.queue]
        del keys[bisect_left(keys, place.key)]
        self._reasons.pop(place.queue, None)
        if not keys:
            del self._queues[place.queue]

    def position(self, place: Place) -> int:
        """The position in its ConversionQueue, from 1."""
        return bisect_left(self._queues[place.queue], place.key) + 1

    def names(self, queue: str) -> Iterator[str]:
        """Those that wait in a queue, in its order."""
        return (key[_NAME] for key in self._queues.get(queue, ()))

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """The positions and names of all, queue by queue."""
        for _, keys in sorted(self._queues.items()):
            yield from ((position, key[_NAME]) for position, key in enumerate(keys, 1))

    def reason(self, place: Place) -> str:
        """Why a conversion waits, as far as its own status and the first ones of its queue tell."""
        if place.queue not in self._reasons:
            first = (self._get(name) for name in islice(self.names(place.queue), _FIRST))
            self._reasons[place.queue] = shared_reason(first)
        return reason_now(place.reason, self._reasons[place.queue])


def shared_reason(first: Iterable[Record | None]) -> str:
    """What the first ones of a queue tell about all of it. "": nothing.

    The reason that was written last is right: it may be the only one that tells the change yet.
    """
    places = [record.place for record in first if record is not None and record.place]
    told = [place for place in places if place.reason in _TELLING]
    latest = max(told, key=lambda place: place.told_at, default=None)
    return latest.reason if latest else ""


def reason_now(stored: str, shared: str) -> str:
    """The reason of a conversion, from that in its status and from :func:`shared_reason`."""
    if stored not in _REPLACED or not shared:
        return stored
    # Only what waits for nothing but the shared cause waits for a slot after it.
    return shared if shared in SHARED or stored in SHARED else stored
