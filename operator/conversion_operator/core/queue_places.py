"""Where a conversion that waits is, and the sorted lists of a namespace that follow from this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from conversion_operator.core.plan import Block
from conversion_operator.core.sorted_keys import SortedKeys
from conversion_operator.core.standing import QueueKey, Standing
from conversion_operator.core.work_class import WorkClass

Timed = tuple[datetime, QueueKey]


class Place(Enum):
    """Where a conversion that waits is."""

    READY = auto()
    """It may start."""
    GIVEN_UP = auto()
    """It may start, but no node had room for its last pod."""
    BACKING_OFF = auto()
    """It waits for the end of its back-off."""
    BLOCKED = auto()
    """Something other than the slots keeps it from starting."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The place of one conversion, and the block that keeps it there."""

    place: Place
    block: Block | None = None
    early: bool = False
    """True if it may start before its back-off ends, when a node has more room."""


Change = Callable[[SortedKeys[Any], Any], None]
"""Adds a key to a list, or removes it."""


class ByClass:
    """Sorted lists of conversions, one for each class of work that has any."""

    def __init__(self) -> None:
        self.lists: dict[WorkClass, SortedKeys[QueueKey]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.lists.values()))

    def __contains__(self, key: QueueKey) -> bool:
        return any(key in keys for keys in self.lists.values())

    def change(self, standing: Standing, change: Change) -> None:
        """Add a conversion, or remove it."""
        keys = self.lists.setdefault(standing.work, SortedKeys())
        change(keys, standing.order)
        if not keys:
            del self.lists[standing.work]


class PlaceLists:
    """The sorted lists of one namespace. A blocked conversion is in none of them."""

    def __init__(self) -> None:
        self.ready = ByClass()
        self.given_up = ByClass()
        self.early = ByClass()
        # By the time at which their last pod was given up.
        self.given_up_times = SortedKeys[Timed]()
        # By the time at which their back-off ends.
        self.back_offs = SortedKeys[Timed]()

    def change(self, standing: Standing, placed: Placed, change: Change) -> None:
        """Add a conversion to the lists of its place, or remove it from them."""
        if placed.place is Place.READY:
            self.ready.change(standing, change)
        elif placed.place is Place.GIVEN_UP and standing.given_up_at:
            self.given_up.change(standing, change)
            change(self.given_up_times, (standing.given_up_at, standing.order))
        elif placed.place is Place.BACKING_OFF and standing.retry_at:
            change(self.back_offs, (standing.retry_at, standing.order))
            if placed.early:
                self.early.change(standing, change)
