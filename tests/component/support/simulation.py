"""Runs the simulated controllers, kubelets and garbage collectors."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Protocol

from tests.component.support.clock import ServerClock, Signal
from tests.component.support.storage import ObjectStorage

_MOST_ROUNDS = 10_000


class Stepper(Protocol):
    """A simulated component that does one round of work at a time."""

    def step(self) -> int:
        """Does one round. Returns the number of writes; 0 means that nothing is left to do."""

    def next_due(self) -> datetime | None:
        """When the clock alone will give it work; None if only changes can."""


class Simulation:
    """Runs the steppers after every change (automatic mode), or only when a test says so.

    In automatic mode (``start``) a pause of ``pace`` seconds follows each round, so that clients
    can see the states in between. ``settle`` runs rounds until nothing is left to do. The clock
    does not move meanwhile.
    """

    def __init__(self, storage: ObjectStorage, clock: ServerClock) -> None:
        self._storage = storage
        self._clock = clock
        self._wake = Signal()
        self._task: asyncio.Task[None] | None = None
        self.steppers: list[Stepper] = []
        self.pace = 0.0
        storage.listeners.append(lambda _: self._wake.fire())
        clock.listeners.append(self._wake.fire)

    @property
    def automatic(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        """Automatic mode."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="simulation")
            # Wakes tests that wait for a change that will not come, so that they see the error.
            self._task.add_done_callback(lambda _: self._storage.changed.fire())

    async def stop(self) -> None:
        """Ends automatic mode. Raises the error that stopped it, if any."""
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
        """Raises the error that stopped automatic mode, if any."""
        if self._task is not None and self._task.done():
            self._task.result()

    def wake(self) -> None:
        """Runs another round although no object has changed."""
        self._wake.fire()

    def step(self) -> int:
        """One round of every stepper."""
        return sum(stepper.step() for stepper in self.steppers)

    async def settle(self) -> None:
        """Runs rounds until nothing is left to do. Other tasks get a turn after each."""
        for _ in range(_MOST_ROUNDS):
            if not self.step():
                return
            await asyncio.sleep(0)
        raise AssertionError("the simulation does not settle")

    async def _run(self) -> None:
        while True:
            if self.step():
                await asyncio.sleep(self.pace)
            else:
                await self._wake.wait(self._pause())

    def _pause(self) -> float | None:
        """Seconds until a stepper is due; None while the clock is stopped."""
        dues = [due for stepper in self.steppers if (due := stepper.next_due()) is not None]
        if not dues or self._clock.frozen:
            return None
        return max(0.0, (min(dues) - self._clock.now()).total_seconds())
