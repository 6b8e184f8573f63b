"""Shares the slots between namespaces.

A free slot goes to the namespace that holds the fewest slots for its weight. If several hold
equally few, their virtual times decide, as in start-time fair queueing: an admission moves the
virtual time of its namespace on by 1 / weight. Without them, a namespace with many old conversions
would win each tie, and the others would wait until it has none left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from conversion_operator.core.standing import QueueKey

_STEP: Final = 1 << 20
"""How far an admission moves a virtual time on if the weight is 1. Virtual times are integers, so
that equal ones stay equal."""

Turn = tuple[float, int, int, QueueKey]
"""The sort key of a namespace. The lowest one goes first."""


class VirtualTimes:
    """The virtual times of namespaces, relative to that of the last admission.

    A namespace without admissions, or whose last one was long ago, has none. It goes first.
    """

    def __init__(self, recorded: Mapping[str, int] | None = None) -> None:
        self._now = 0
        # In the order of the last admission.
        self._times = dict(recorded or {})

    def copy(self) -> VirtualTimes:
        """A copy that an admission pass may change."""
        return VirtualTimes(self.to_record())

    def ranks(self) -> dict[str, int]:
        """The place of each namespace in the order of their last admissions, from 0."""
        return {name: rank for rank, name in enumerate(self._times)}

    def get(self, namespace: str) -> int:
        """The virtual time of a namespace, -1 if it has none."""
        return self._times.get(namespace, -1)

    def admit(self, namespace: str, weight: int) -> None:
        """Move the virtual time of a namespace on.

        If it is behind that of the last admission, it first moves up to it. So a namespace gains
        nothing from a time in which none of its conversions waited.
        """
        self._now = max(self._now, self._times.pop(namespace, 0))
        self._times[namespace] = self._now + _STEP // weight

    def to_record(self) -> dict[str, int]:
        """What the next leader needs. Forgets the namespaces that are behind the last admission."""
        return {name: time - self._now for name, time in self._times.items() if time >= self._now}


class FairSharing:
    """Whose turn it is in one admission pass.

    ``slots_in_use`` and ``weights`` are by namespace. The default weight is 1. Each admission
    changes ``times``.
    """

    def __init__(
        self, slots_in_use: Mapping[str, int], weights: Mapping[str, int], times: VirtualTimes
    ) -> None:
        self._slots_in_use, self._weights = Counter(slots_in_use), weights
        self.times = times
        self._ranks = times.ranks()
        self._next_rank = len(self._ranks)

    def turn(self, namespace: str, creation_key: QueueKey) -> Turn:
        """The sort key of a namespace. ``creation_key`` is that of its next conversion.

        It changes only with an admission of this namespace.
        """
        load = self._slots_in_use[namespace] / self._weights.get(namespace, 1)
        rank = self._ranks.get(namespace, -1)
        return load, self.times.get(namespace), rank, creation_key

    def admit(self, namespace: str) -> None:
        """Count the start of a conversion of this namespace."""
        self._slots_in_use[namespace] += 1
        self.times.admit(namespace, self._weights.get(namespace, 1))
        self._ranks[namespace] = self._next_rank
        self._next_rank += 1
