"""The sorted keys of a store, and how a page of conversions is chosen. No I/O."""

from __future__ import annotations

import base64
import binascii
import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from conversion_operator.api.status import Phase
from converter_gateway.records import Record

Newest = tuple[float, str]
"""Minus the Unix time of the creation, and the name: the newest first."""
Waiting = tuple[str, datetime, int, str, str]
"""The queue, and the place in it: the next one first."""
Key = tuple[Any, ...]
"""One of both. Those of one list compare."""

_LAST: Final = datetime.max.replace(tzinfo=UTC)
_TOKEN_MAX_LENGTH: Final = 2048


@dataclass(frozen=True, slots=True)
class Filter:
    """What a caller asks for. Empty fields do not filter.

    ``search`` is in lower case. A conversion with several outputs has the types of all of them.
    """

    kind: str = ""
    queue: str = ""
    search: str = ""

    def matches(self, record: Record) -> bool:
        """True if the conversion is one of those that the caller asks for."""
        return (
            (not self.kind or self.kind in record.facets.kinds)
            and (not self.queue or self.queue == record.facets.queue)
            and (not self.search or self.search in record.facets.text)
        )

    def __bool__(self) -> bool:
        return bool(self.kind or self.queue or self.search)


NO_FILTER: Final = Filter()


class Listing:
    """The names of all conversions of a namespace: the newest first, and by phase.

    Those that wait are in the order of their queues. A change of one conversion costs a search and
    an insertion in two sorted lists, and nothing if its phase and its place stay.
    """

    def __init__(self) -> None:
        self._newest: list[Newest] = []
        self._phases: dict[Phase, list[Any]] = {phase: [] for phase in Phase}

    def rebuild(self, records: Collection[Record]) -> None:
        """Start again with these. Visits all, once for each list that replaces the store."""
        self._newest = sorted(record.facets.order for record in records)
        self._phases = {phase: [] for phase in Phase}
        for record in records:
            self._phases[record.phase].append(_phase_key(record))
        for keys in self._phases.values():
            keys.sort()

    def move(self, before: Record | None, after: Record | None) -> None:
        """A conversion has changed. None: it did not exist, or no longer does."""
        old = before.facets.order if before else None
        new = after.facets.order if after else None
        if old != new:
            _replace(self._newest, old, self._newest, new)
        old_key = _phase_key(before) if before else None
        new_key = _phase_key(after) if after else None
        old_phase = before.phase if before else None
        new_phase = after.phase if after else None
        if (old_phase, old_key) != (new_phase, new_key):
            source = self._phases[old_phase] if old_phase else []
            target = self._phases[new_phase] if new_phase else []
            _replace(source, old_key, target, new_key)

    def names(self, phases: Collection[Phase], after: Key | None) -> Iterator[str]:
        """The names of the conversions in these phases, in their order, after a key.

        Without phases, those in all phases. Only if all wait, the order is that of the queues. Do
        not change the store while you iterate.
        """
        return (name_of(key) for key in self._keys(frozenset(phases), after))

    def _keys(self, phases: frozenset[Phase], after: Key | None) -> Iterable[Key]:
        if not phases:
            return _from(self._newest, after)
        if phases == {Phase.QUEUED}:
            return _from(self._phases[Phase.QUEUED], after)
        if Phase.QUEUED not in phases:
            return heapq.merge(*(_from(self._phases[phase], after) for phase in sorted(phases)))
        # The two orders differ, so this visits all names.
        chosen = {name_of(key) for phase in phases for key in self._phases[phase]}
        return (key for key in _from(self._newest, after) if key[1] in chosen)


def key_of(record: Record, phases: Collection[Phase]) -> Key:
    """The key of a conversion in the order of :meth:`Listing.names`."""
    return _phase_key(record) if set(phases) == {Phase.QUEUED} else record.facets.order


def name_of(key: Key) -> str:
    """The name in a key."""
    return str(key[1] if len(key) == 2 else key[3])


def encode_token(key: Key) -> str:
    """The text of ``continue`` for the page after this key."""
    plain = [part.isoformat() if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(orjson.dumps(plain)).decode().rstrip("=")


def decode_token(text: str, phases: Collection[Phase]) -> Key | None:
    """The key in a ``continue``. Raises ValueError if it is not one of such a list."""
    if not text:
        return None
    if len(text) > _TOKEN_MAX_LENGTH:
        raise ValueError("it is too long")
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise ValueError("it is not a token") from None
    if set(phases) == {Phase.QUEUED}:
        match parts:
            case [str(queue), str(time), int(number), str(name), str(uid)]:
                at = datetime.fromisoformat(time)
                return queue, at if at.tzinfo else at.replace(tzinfo=UTC), number, name, uid
    else:
        match parts:
            case [float(created) | int(created), str(name)]:
                return float(created), name
    raise ValueError("it is of another list")


def counts_of(phases: Mapping[Phase, int]) -> dict[str, int]:
    """The number of conversions in each phase of the HTTP API, also in those without any."""
    return {str(phase): phases.get(phase, 0) for phase in Phase if phase is not Phase.PENDING}


def _phase_key(record: Record) -> Key:
    if record.phase is not Phase.QUEUED:
        return record.facets.order
    if record.place is None:  # it is about to end
        return record.facets.queue, _LAST, 0, record.name, record.uid
    return (record.place.queue, *record.place.key)


def _from(keys: list[Any], after: Key | None) -> Iterator[Any]:
    start = 0 if after is None else bisect_right(keys, after)
    return (keys[number] for number in range(start, len(keys)))


def _replace(source: list[Any], old: Any, target: list[Any], new: Any) -> None:
    if old is not None:
        del source[bisect_left(source, old)]
    if new is not None:
        insort(target, new)
