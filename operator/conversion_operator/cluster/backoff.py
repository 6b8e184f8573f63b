"""Delays between retries of one loop."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds that double from ``first`` to ``longest``.

    Each varies by a fifth, so that clients that failed together do not retry together.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def next(self) -> float:
        """The delay before the next try."""
        delay, self._next = self._next, min(self._next * 2, self._longest)
        return delay * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Start over after a success."""
        self._next = self._first
