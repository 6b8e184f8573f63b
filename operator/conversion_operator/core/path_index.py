"""Keeps which conversions of one namespace wait for others, because they use the same files.

:mod:`conversion_operator.core.paths` has the rules. A change of one conversion visits the next
writer of each of its outputs, and the readers of these outputs. It does not visit others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from conversion_operator.core.paths import (
    EndedWriters,
    FindWriters,
    input_cycle,
    input_not_made,
    path_busy,
    waits_for,
)
from conversion_operator.core.plan import Block
from conversion_operator.core.sorted_keys import SortedKeys
from conversion_operator.core.standing import QueueKey, Stage, Standing

_Turn = tuple[int, QueueKey]
"""The stage, and the place in the queue: who goes first of those that use the same file."""


MOST_VISITED: Final = 1000
"""How many conversions a search for a cycle of conflicts visits at most. If it finds no cycle among
them, the conversions of a larger one wait until somebody cancels one of them."""


class _Expanded:
    """What a search has visited.

    ``readers`` are the paths whose readers it has visited. ``writers_from`` has, by path, the turn
    from which on it has visited the writers.
    """

    def __init__(self) -> None:
        self.readers: set[str] = set()
        self.writers_from: dict[str, _Turn] = {}


class PathIndex:
    """The unfinished conversions of a namespace by their paths, and the blocks between them."""

    def __init__(self, find_writers: FindWriters) -> None:
        self._find_writers = find_writers
        self._standings: dict[str, Standing] = {}
        # By path, those that write it, and those that have begun and read it.
        self._writers: dict[str, SortedKeys[_Turn]] = defaultdict(SortedKeys)
        self._begun_readers: dict[str, SortedKeys[_Turn]] = defaultdict(SortedKeys)
        # By path, those that have not begun and read it.
        self._fresh_readers: dict[str, dict[str, Standing]] = defaultdict(dict)
        # By path, those that have not begun and write several files, this one among them. Each
        # cycle of conflicts has one of them.
        self._several: dict[str, SortedKeys[_Turn]] = defaultdict(SortedKeys)
        # By the uid of the conversion of a cycle that fails: its block, and the members.
        self._cycles: dict[str, tuple[Block, tuple[str, ...]]] = {}
        self._member_of: dict[str, set[str]] = defaultdict(set)
        self._last_ended = EndedWriters.of([], "")

    def change(self, old: Standing | None, new: Standing | None) -> set[str]:
        """Replace the standing of one conversion. Returns the uids whose blocks may have changed.

        ``old`` and ``new`` are None, or have no stage, if the conversion did not or does not exist,
        or has ended.
        """
        old, new = _unfinished(old), _unfinished(new)
        touched: set[str] = set()
        if old is not None:
            touched |= self._remove(old)
            touched |= self._dissolve_cycles(old.uid)
        if new is not None:
            touched |= self._add(new)
            touched.add(new.uid)
            if new.stage is Stage.FRESH:
                touched |= self._break_cycle(new)
        return touched

    def block(self, uid: str) -> Block | None:
        """Why a conversion waits for another one, or fails because of one. None if it does not."""
        standing = self._standings.get(uid)
        if standing is None:
            return None
        if uid in self._cycles:
            return self._cycles[uid][0]
        if standing.stage is Stage.RETRYING:
            return self._conflict(standing) or self._waits_as_begun(standing)
        if standing.stage is Stage.FRESH:
            return (
                self._waits(standing)
                or input_not_made(standing, self._ended_writers(standing), self._readers_of)
                or self._conflict(standing)
            )
        return None

    def fresh_readers(self, path: str) -> list[str]:
        """The uids of those that have not begun and read this file."""
        return [*self._fresh_readers.get(path, ())]

    def _add(self, standing: Standing) -> set[str]:
        turn = _turn(standing)
        self._standings[standing.uid] = standing
        for path in standing.writes:
            self._writers[path].add(turn)
        if _writes_several(standing):
            for path in standing.writes:
                self._several[path].add(turn)
        if _is_begun_reader(standing):
            self._begun_readers[standing.reads].add(turn)
        elif standing.stage is Stage.FRESH:
            self._fresh_readers[standing.reads][standing.uid] = standing
        return self._neighbours(standing)

    def _remove(self, standing: Standing) -> set[str]:
        neighbours = self._neighbours(standing)
        turn = _turn(standing)
        del self._standings[standing.uid]
        for path in standing.writes:
            _drop(self._writers, path, turn)
        if _writes_several(standing):
            for path in standing.writes:
                _drop(self._several, path, turn)
        if _is_begun_reader(standing):
            _drop(self._begun_readers, standing.reads, turn)
        elif standing.stage is Stage.FRESH:
            readers = self._fresh_readers[standing.reads]
            del readers[standing.uid]
            if not readers:
                del self._fresh_readers[standing.reads]
        return neighbours - {standing.uid}

    def _neighbours(self, standing: Standing) -> set[str]:
        """Those whose block depends on this conversion, which is in the index.

        A writer waits for the writer directly ahead of it, so only the next one is affected. If it
        is the first writer of its output, all readers of this file wait for it. The first writer of
        its input waits for those that have begun to read this file.
        """
        found: set[str] = set()
        for path in standing.writes:
            writers = self._writers[path]
            place = writers.rank(_turn(standing))
            if place + 1 < len(writers):
                found.add(_uid(writers[place + 1]))
            if place == 0:
                found.update(self._fresh_readers.get(path, ()))
                found.update(_uid(turn) for turn in self._begun_readers.get(path, ()))
        if _is_begun_reader(standing):
            first = next(iter(self._writers.get(standing.reads, ())), None)
            found.update(() if first is None else (_uid(first),))
        return found

    def _conflict(self, standing: Standing) -> Block | None:
        """Why this conversion may not write its outputs yet."""
        turn = _turn(standing)
        for path in standing.writes:
            ahead = self._writer_ahead(path, turn)
            if ahead is not None:
                return path_busy(_name(ahead), "also writes", path)
            reader = next(iter(self._begun_readers.get(path, ())), None)
            if reader is not None and reader < turn:
                return path_busy(_name(reader), "still reads", path)
        return None

    def _writer_ahead(self, path: str, turn: _Turn) -> _Turn | None:
        """The writer of a file directly ahead of another one."""
        writers = self._writers[path]
        place = writers.rank(turn)
        return writers[place - 1] if place else None

    def _waits(self, standing: Standing) -> Block | None:
        writer = next(iter(self._writers.get(standing.reads, ())), None)
        if writer is None:
            return None
        return waits_for(_name(writer), standing.reads)

    def _waits_as_begun(self, standing: Standing) -> Block | None:
        writer = next(iter(self._writers.get(standing.reads, ())), None)
        if writer is None or writer >= _turn(standing):
            return None
        return waits_for(_name(writer), standing.reads)

    def _ended_writers(self, reader: Standing) -> EndedWriters:
        """The writers of an input. All its readers are settled one after the other."""
        found = list(self._find_writers(reader.namespace, reader.reads))
        last = self._last_ended
        if (reader.reads, found) != (last.path, last.found):
            self._last_ended = EndedWriters.of(found, reader.reads)
        return self._last_ended

    def _readers_of(self, path: str) -> Iterable[Standing]:
        """The conversions that wait for a file that is being made."""
        return self._fresh_readers.get(path, {}).values()

    def _break_cycle(self, new: Standing) -> set[str]:
        """Let the last one of a cycle fail, if this conversion closes a cycle.

        If it closes several, the others are found when the first one is dissolved.
        """
        cycle = self._find_cycle(new) or self._find_cycle_of_conflicts(new)
        if not cycle:
            return set()
        last = max(cycle, key=lambda standing: standing.creation_key).uid
        _, known = self._cycles.get(last, (None, ()))  # it may be the last one of several
        members = tuple({*known, *(standing.uid for standing in cycle)})
        self._cycles[last] = input_cycle(cycle), members
        for member in members:
            self._member_of[member].add(last)
        return {last}

    def _find_cycle(self, start: Standing) -> list[Standing]:
        """The conversions of a cycle through ``start``: each reads what the one before it writes.

        Visits what waits for this conversion, directly and indirectly.
        """
        if start.reads in start.writes:
            return [start]
        if not self._writers.get(start.reads):
            return []
        came_from: dict[str, Standing] = dict.fromkeys(start.writes, start)
        paths = [*start.writes]
        while paths:
            path = paths.pop()
            for reader in self._fresh_readers.get(path, {}).values():
                if start.reads in reader.writes:
                    return _walk_back(reader, came_from, start)
                new = [path for path in reader.writes if path not in came_from]
                came_from |= dict.fromkeys(new, reader)
                paths += new
        return []

    def _find_cycle_of_conflicts(self, start: Standing) -> list[Standing]:
        """The conversions of a cycle in which each waits for the next one, directly.

        It reads what the next one writes, or both write the same file. Two conversions can wait for
        each other if one reads an output of the other, and both write another file. Visits what
        waits for this conversion, directly and indirectly, but at most MOST_VISITED conversions:
        somebody may create thousands that use the same files, and each change of one of them leads
        to a search.
        """
        if not self._several or not self._waits_for_any(start):
            return []
        came_from: dict[str, Standing] = {start.uid: start}
        visit, expanded, left = [start], _Expanded(), MOST_VISITED
        while visit:
            standing = visit.pop()
            for waiter in self._waiters(standing, expanded):
                left -= 1
                if waiter is start:
                    cycle = [standing]
                    while cycle[-1] is not start:
                        cycle.append(came_from[cycle[-1].uid])
                    return cycle
                if waiter.uid not in came_from and waiter.uid not in self._cycles:
                    came_from[waiter.uid] = standing
                    visit.append(waiter)
                if left <= 0:
                    return []
        return []

    def _waits_for_any(self, standing: Standing) -> bool:
        turn = _turn(standing)
        ahead = (self._writer_ahead(path, turn) for path in standing.writes)
        return bool(self._writers.get(standing.reads)) or any(ahead)

    def _waiters(self, standing: Standing, expanded: _Expanded) -> Iterator[Standing]:
        """Those that have not begun and wait for this one, except those in ``expanded``.

        A writer of one file is left out. Whoever waits for it reads or writes the same file, and so
        waits for this conversion too.
        """
        turn = _turn(standing)
        for path in standing.writes:
            if path not in expanded.readers:
                expanded.readers.add(path)
                yield from self._fresh_readers.get(path, {}).values()
            last = expanded.writers_from.get(path)
            if last is not None and last <= turn:
                continue
            expanded.writers_from[path] = turn
            several = self._several.get(path, ())
            for place in range(several.rank(turn) if several else 0, len(several)):
                following = several[place]
                if last is not None and following > last:
                    break
                if following != turn:
                    yield self._standings[_uid(following)]

    def _dissolve_cycles(self, uid: str) -> set[str]:
        """Forget the cycles of a conversion that has changed. Returns the other members.

        What is left of them may be part of other cycles.
        """
        touched: set[str] = set()
        for last in tuple(self._member_of.get(uid, ())):
            if last not in self._cycles:
                continue
            _, members = self._cycles.pop(last)
            for member in members:
                self._member_of[member].discard(last)
                if not self._member_of[member]:
                    del self._member_of[member]
            touched |= set(members) - {uid}
        for member in tuple(touched):
            standing = self._standings.get(member)
            if standing is not None and standing.stage is Stage.FRESH:
                touched |= self._break_cycle(standing)
        return touched


def _walk_back(last: Standing, came_from: dict[str, Standing], start: Standing) -> list[Standing]:
    cycle = [last]
    while cycle[-1] is not start:
        cycle.append(came_from[cycle[-1].reads])
    return cycle[::-1]


def _writes_several(standing: Standing) -> bool:
    return standing.stage is Stage.FRESH and len(standing.writes) > 1


def _is_begun_reader(standing: Standing) -> bool:
    """True if the conversion has begun to use its input, so nobody may replace that file now.

    A dry run does not count.
    """
    return standing.stage in (Stage.RUNNING, Stage.RETRYING) and bool(standing.writes)


def _unfinished(standing: Standing | None) -> Standing | None:
    return standing if standing is not None and standing.stage is not None else None


def _turn(standing: Standing) -> _Turn:
    return int(standing.stage or Stage.RUNNING), standing.order


def _name(turn: _Turn) -> str:
    return turn[1].name


def _uid(turn: _Turn) -> str:
    return turn[1].uid


def _drop(index: dict[str, SortedKeys[_Turn]], path: str, turn: _Turn) -> None:
    keys = index[path]
    keys.remove(turn)
    if not len(keys):
        del index[path]
