"""The effect of each fault on a request or a watch. Tests use ``faults`` to enable them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.component.support import errors
from tests.component.support.audit import Match, Request
from tests.component.support.clock import Signal
from tests.component.support.errors import StatusError

if TYPE_CHECKING:
    from tests.component.support.watch import Watch

Hook = Callable[[Request], Awaitable[None] | None]


@dataclass(eq=False)
class Fault:
    """One fault. It skips ``skip`` matching requests, then hits ``times`` of them, or all.

    ``share`` is the probability of a hit. The same ``seed`` hits the same requests again.
    """

    match: Match
    times: int | None = None
    skip: int = 0
    share: float = 1.0
    seed: int = 0
    hits: int = 0
    hit: Signal = field(default_factory=Signal)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - chance, not secrecy
        self._passed = 0

    def strikes(self, request: Request) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if not self.match(request) or self._random.random() >= self.share:
            return False
        self._passed += 1
        if self._passed <= self.skip:
            return False
        self.hits += 1
        self.hit.fire()
        return True

    async def wait_hit(self, count: int = 1, seconds: float = 30) -> None:
        """Waits until it has hit ``count`` times."""
        async with asyncio.timeout(seconds):
            while self.hits < count:
                await self.hit.wait()

    async def before(self, request: Request) -> None:
        """Runs before the request is carried out. It may raise, wait, or never return."""

    async def after(self, request: Request) -> None:
        """Runs after the request was carried out. It may raise an error or set ``outcome``."""


@dataclass(eq=False)
class Rejection(Fault):
    make: Callable[[Request], StatusError] = field(default=lambda _: errors.no_such_path())
    carried_out: bool = False

    async def before(self, request: Request) -> None:
        if not self.carried_out:
            raise self.make(request)

    async def after(self, request: Request) -> None:
        raise self.make(request)


@dataclass(eq=False)
class Tap(Fault):
    on_arrival: Hook | None = None
    on_answer: Hook | None = None

    async def before(self, request: Request) -> None:
        await self._call(self.on_arrival, request)

    async def after(self, request: Request) -> None:
        await self._call(self.on_answer, request)

    async def _call(self, hook: Hook | None, request: Request) -> None:
        result = hook(request) if hook is not None else None
        if isinstance(result, Awaitable):
            await result


@dataclass(eq=False)
class BlackHole(Fault):
    async def before(self, request: Request) -> None:
        request.outcome = "hung"
        await asyncio.Event().wait()


@dataclass(eq=False)
class DroppedAnswer(Fault):
    async def after(self, request: Request) -> None:
        request.outcome = "dropped"


@dataclass(eq=False)
class Hold(Fault):
    """Requests wait, and are carried out late, even if their client has given up."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, request: Request) -> None:
        await self.gate.wait()

    def release(self) -> None:
        """Lets all requests through from now on."""
        self.gate.set()


@dataclass(eq=False)
class StreamFault:
    """A fault of watches. It hits open watches and those that open while it is enabled."""

    match: Match
    delay: float = 0.0
    hold: bool = False
    watches: list[Watch] = field(default_factory=list)

    def release(self) -> None:
        """Delivers the events held back. Later events are held again."""
        for watch in self.watches:
            watch.release()
