"""Measures for how long the event loop stands still."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from prometheus_client import Gauge

_TICK_SECONDS: Final = 0.05
_WINDOW_SECONDS: Final = 60.0


class LoopLag:
    """The longest time of the last one to two minutes that the event loop stood still.

    A timer of 50 ms measures how late it runs. The value covers at least a minute: a shorter time
    would hide a stall from a Prometheus that reads the gauge once a minute.
    """

    def __init__(self, gauge: Gauge, began: float) -> None:
        self._gauge, self._window_began = gauge, began
        self._longest = self._longest_before = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            self.observe(max(0.0, now - due), now)

    def observe(self, lag: float, now: float) -> None:
        """Take one measurement. ``now`` is the monotonic time."""
        if now - self._window_began >= _WINDOW_SECONDS:
            self._longest_before, self._longest = self._longest, 0.0
            self._window_began = now
        self._longest = max(self._longest, lag)
        self._gauge.set(max(self._longest, self._longest_before))
