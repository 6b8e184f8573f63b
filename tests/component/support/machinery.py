"""Drives what works on the objects besides the clients: controllers, kubelets, the collector."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Protocol

from tests.component.support.clock import ServerClock, Signal
from tests.component.support.store import Store

_MOST_ROUNDS = 10_000


class Stepper(Protocol):
    """Something that does one round of work at a time."""

    def step(self) -> int:
        """Does what can be done now; returns how much was done, 0 when there is nothing to do."""

    def next_due(self) -> datetime | None:
        """When there will be something to do by the clock alone."""


class Machinery:
    """Runs steppers: by itself as things change, or only when a test says so.

    In automatic mode (``start``) each round is followed by a pause of ``pace`` seconds, so that
    clients can see the states between. ``settle`` runs rounds until nothing is left to do; the
    clock does not move meanwhile.
    """

    def __init__(self, store: Store, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock
        self._wake = Signal()
        self._task: asyncio.Task[None] | None = None
        self.steppers: list[Stepper] = []
        self.pace = 0.0
        store.listeners.append(lambda _: self._wake.fire())
        clock.listeners.append(self._wake.fire)

    @property
    def automatic(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        """Automatic mode."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="machinery")
            # Whoever waits for a change that will now never come is to see the error.
            self._task.add_done_callback(lambda _: self._store.changed.fire())

    async def stop(self) -> None:
        """Back to steps by hand; raises what went wrong in automatic mode."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise

    def check(self) -> None:
        """Raises what has ended automatic mode, if something has."""
        if self._task is not None and self._task.done():
            self._task.result()

    def wake(self) -> None:
        """To be called when there is work that no change of an object tells of."""
        self._wake.fire()

    def step(self) -> int:
        """One round of every stepper."""
        return sum(stepper.step() for stepper in self.steppers)

    async def settle(self) -> None:
        """Rounds until there is nothing to do, with a turn for everyone else between them."""
        for _ in range(_MOST_ROUNDS):
            if not self.step():
                return
            await asyncio.sleep(0)
        raise AssertionError("the world does not come to rest")

    async def _run(self) -> None:
        while True:
            if self.step():
                await asyncio.sleep(self.pace)
            else:
                await self._wake.wait(self._pause())

    def _pause(self) -> float | None:
        """Seconds until a stepper is due; None while the clock stands still."""
        dues = [due for stepper in self.steppers if (due := stepper.next_due()) is not None]
        if not dues or self._clock.frozen:
            return None
        return max(0.0, (min(dues) - self._clock.now()).total_seconds())
