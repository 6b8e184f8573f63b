"""Says whether an admission pass must wait until the ends of conversions are stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LONGEST_BACKLOG: Final = 100
"""Nothing starts while more than this many conversions wait to be reconciled. Otherwise the ends of
conversions would be stored later and later, because each start leads to more work."""
_LONGEST_DELAY: Final = 2.0
"""How long a backlog may delay a pass, in seconds."""


class Backlog:
    """Conversions that wait to be reconciled. ``size`` returns how many there are."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        # When the backlog began to delay passes, by the monotonic clock. None if it does not.
        self._delayed_since: float | None = None

    def delays_pass(self) -> bool:
        """True while a pass must wait.

        A pass waits at most _LONGEST_DELAY, so that slow writes in one namespace do not block the
        others.
        """
        if self._size() <= _LONGEST_BACKLOG:
            self._delayed_since = None
            return False
        now = time.monotonic()
        self._delayed_since = now if self._delayed_since is None else self._delayed_since
        if now - self._delayed_since < _LONGEST_DELAY:
            return True
        self._delayed_since = now
        return False
