"""Cycles in which conversions of several outputs wait for each other, and what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.core import path_index
from conversion_operator.core.path_index import PathIndex
from conversion_operator.core.standing import QueueKey, Stage, Standing
from tests.unit.operator.builders import at


class CountingIndex(PathIndex):
    """Counts the conversions that searches visit."""

    visited = 0

    def _waiters(self, standing: Standing, expanded: path_index._Expanded) -> Iterator[Standing]:
        for waiter in super()._waiters(standing, expanded):
            self.visited += 1
            yield waiter


def fresh(name: str, created: float, reads: str, *writes: str, ahead: float = 0) -> Standing:
    order = QueueKey(at(created) - timedelta(seconds=ahead), 0, name, f"uid-{name}")
    creation_key = order._replace(time=at(created))
    return Standing(f"uid-{name}", "ns", Stage.FRESH, order, creation_key, reads, writes)


def blocks(index: PathIndex, standings: tuple[Standing, ...]) -> dict[str, str | None]:
    found = {standing.name: index.block(standing.uid) for standing in standings}
    return {name: block.reason if block else None for name, block in found.items()}


@pytest.mark.parametrize("turns", [*itertools.permutations(range(4))])
def test_a_cycle_behind_a_failing_conversion_is_found(turns: tuple[int, ...]) -> None:
    """D waits for B and B for D. A reads what C writes, and both write p, where B is between."""
    four: tuple[Standing, ...] = (
        fresh("d", 0, "/y", "/x"),
        fresh("a", 1, "/q", "/p"),
        fresh("c", 3, "/in", "/q", "/p"),
        fresh("b", 5, "/x", "/y", "/p", ahead=3),
    )
    index = PathIndex(lambda *_: ())
    for turn in turns:
        index.change(None, four[turn])
    while failing := [s for s in four if blocks(index, (s,))[s.name] == Reason.INPUT_CYCLE]:
        index.change(failing[0], None)
        four = tuple(s for s in four if s is not failing[0])
    while four:
        starts = [s for s in four if index.block(s.uid) is None]
        assert starts, blocks(index, four)
        for standing in starts:
            index.change(standing, None)
        four = tuple(s for s in four if s not in starts)


def test_many_writers_of_one_file_cost_one_visit_each() -> None:
    index = CountingIndex(lambda *_: ())
    index.change(None, fresh("several", 0, "/in", "/p", "/q"))
    for number in range(500):
        index.change(None, fresh(f"w{number:03}", number, f"/in/{number}", "/p"))
    assert index.visited <= 500


def test_a_search_visits_a_bounded_number_of_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_index, "MOST_VISITED", 20)
    index = CountingIndex(lambda *_: ())
    index.change(None, fresh("source", 0, "/in", "/r"))
    for number in range(100):
        index.change(None, fresh(f"r{number:03}", number, "/p", f"/out/{number}"))
    before = index.visited
    index.change(None, fresh("writer", 200, "/r", "/p", "/q"))
    assert 0 < index.visited - before <= 20
