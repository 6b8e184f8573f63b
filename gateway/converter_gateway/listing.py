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
Ended = tuple[float, float, str]
"""Minus the Unix time of the end, and the key of Newest: the latest end first."""
Waiting = tuple[str, datetime, int, str, str]
"""The queue, and the place in it: the next one first."""
Key = tuple[Any, ...]
"""One of these. Those of one list compare."""

_ENDED: Final = frozenset(phase for phase in Phase if phase.terminal)
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

    Those that wait are in the order of their queues. Those that have ended are also in the order of
    their ends. An end does not change, so only new ends come between two pages, and these come
    before the first one. A change of one conversion costs a search and an insertion in two sorted
    lists, in three at its end, and nothing if its phase and its place stay.
    """

    def __init__(self) -> None:
        self._newest: list[Newest] = []
        self._phases: dict[Phase, list[Any]] = {phase: [] for phase in Phase}
        self._ends: dict[Phase, list[Ended]] = {phase: [] for phase in _ENDED}

    def rebuild(self, records: Collection[Record]) -> None:
        """Start again with these. Visits all, once for each list that replaces the store."""
        self._newest = sorted(record.facets.order for record in records)
        self._phases = {phase: [] for phase in Phase}
        self._ends = {phase: [] for phase in _ENDED}
        for record in records:
            self._phases[record.phase].append(_phase_key(record))
            if record.facets.ended:
                self._ends[record.phase].append(record.facets.ended)
        for keys in (*self._phases.values(), *self._ends.values()):
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
        old_end = before.facets.ended if before else None
        new_end = after.facets.ended if after else None
        if (old_phase, old_end) != (new_phase, new_end):
            _replace(self._ends_in(old_phase), old_end, self._ends_in(new_phase), new_end)

    def _ends_in(self, phase: Phase | None) -> list[Ended]:
        return self._ends.get(phase, []) if phase else []

    def names(self, phases: Collection[Phase], after: Key | None) -> Iterator[str]:
        """The names of the conversions in these phases, in their order, after a key.

        Without phases, those in all phases. If all wait, the order is that of the queues. If all
        have ended, it is that of their ends. Do not change the store while you iterate.
        """
        return (name_of(key) for key in self._keys(frozenset(phases), after))

    def _keys(self, phases: frozenset[Phase], after: Key | None) -> Iterable[Key]:
        if not phases:
            return _from(self._newest, after)
        if phases == {Phase.QUEUED}:
            return _from(self._phases[Phase.QUEUED], after)
        if phases <= _ENDED:
            return heapq.merge(*(_from(self._ends[phase], after) for phase in sorted(phases)))
        if Phase.QUEUED not in phases:
            return heapq.merge(*(_from(self._phases[phase], after) for phase in sorted(phases)))
        # The two orders differ, so this visits all names.
        chosen = {name_of(key) for phase in phases for key in self._phases[phase]}
        return (key for key in _from(self._newest, after) if key[1] in chosen)


def key_of(record: Record, phases: Collection[Phase]) -> Key:
    """The key of a conversion in the order of :meth:`Listing.names`."""
    if set(phases) == {Phase.QUEUED}:
        return _phase_key(record)
    if phases and _ENDED.issuperset(phases) and record.facets.ended:
        return record.facets.ended
    return record.facets.order


def is_newest_first(phases: Collection[Phase]) -> bool:
    """True if the order of the conversions in these phases is that of their creation."""
    return not phases or not (set(phases) == {Phase.QUEUED} or _ENDED.issuperset(phases))


def name_of(key: Key) -> str:
    """The name in a key."""
    return str(key[3] if len(key) == 5 else key[-1])


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
    elif phases and _ENDED.issuperset(phases):
        match parts:
            case [float(ended) | int(ended), float(created) | int(created), str(name)]:
                return float(ended), float(created), name
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
