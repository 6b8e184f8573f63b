"""The back-off of loops that retry."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds that double from ``first`` to ``longest``.

    Each delay varies randomly by a fifth, so that clients do not all retry at the same time.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def next(self) -> float:
        """The delay before the next retry."""
        delay, self._next = self._next, min(self._next * 2, self._longest)
        return delay * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Start again with the first delay, after a success."""
        self._next = self._first
