"""The API server's clock. A test may shift, stop and advance it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


class Signal:
    """Wakes all waiters, once per ``fire``."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """True when fired, False after ``timeout`` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True


class ServerClock:
    """Real time plus an offset, or a stopped time that only ``advance`` changes.

    This clock sets the timestamps of objects, the Date header, the run times of scripts and the
    times of tolerations. Sockets and the ``timeoutSeconds`` of a watch use real time.
    """

    def __init__(self) -> None:
        self._offset = timedelta()
        self._frozen: datetime | None = None
        self.listeners: list[Callable[[], None]] = []

    @property
    def frozen(self) -> bool:
        return self._frozen is not None

    def now(self) -> datetime:
        return self._frozen or datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Moves the clock; a negative number sets it back."""
        if self._frozen is not None:
            self._frozen += timedelta(seconds=seconds)
        else:
            self._offset += timedelta(seconds=seconds)
        self._notify()

    def freeze(self, at: datetime | None = None) -> None:
        """Stops the clock, by default at the last whole second."""
        self._frozen = at or self.now().replace(microsecond=0)
        self._notify()

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()

    def stamp(self, shift: float = 0) -> str:
        """The time as metav1.Time: whole seconds, UTC."""
        return to_stamp(self.now() + timedelta(seconds=shift))

    def http_date(self) -> str:
        return format_datetime(self.now().replace(microsecond=0), usegmt=True)


def to_stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def normalize(stamp: str, *, micro: bool = False) -> str:
    """The same time as the server writes it: UTC, whole seconds or microseconds."""
    moment = from_stamp(stamp).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if micro else to_stamp(moment)


def from_stamp(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)
