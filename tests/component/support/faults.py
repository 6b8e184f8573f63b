"""Faults that a test switches on between a client and the in-process API server.

Every fault is a context manager, takes the parts of ``audit.Match`` to say whom it hits, and counts
its ``hits``::

    with api.faults.status(503, verb="create", resource="jobs", times=2):
        ...
    with api.faults.drop_answer(verb="create", resource="jobs") as fault:
        await fault.wait_hit()
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.component.support import errors
from tests.component.support.audit import Match, Request
from tests.component.support.clock import Signal
from tests.component.support.errors import ApiError

if TYPE_CHECKING:
    from tests.component.support.watch import Watch

F = TypeVar("F", bound="Fault")

_WORDS: Final = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden by a test"),
    404: ("NotFound", "the server could not find the requested resource"),
    409: ("Conflict", "Operation cannot be fulfilled: the object has been modified"),
    410: ("Expired", "The resourceVersion for the provided watch is too old."),
    422: ("Invalid", "the object is invalid"),
    429: ("TooManyRequests", "too many requests, please try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    502: ("InternalError", "bad gateway"),
    503: ("ServiceUnavailable", "apiserver is shutting down"),
    504: ("Timeout", "request did not complete within requested timeout"),
}


@dataclass(eq=False)
class Fault:
    """One fault. ``times`` ends it after so many hits, ``share`` hits only that part by chance."""

    match: Match
    times: int | None = None
    share: float = 1.0
    seed: int = 0
    hits: int = 0
    hit: Signal = field(default_factory=Signal)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - chance, not secrecy

    def strikes(self, request: Request) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if not self.match(request) or self._random.random() >= self.share:
            return False
        self.hits += 1
        self.hit.fire()
        return True

    async def wait_hit(self, count: int = 1, seconds: float = 10) -> None:
        """Returns once it has struck ``count`` times."""
        async with asyncio.timeout(seconds):
            while self.hits < count:
                await self.hit.wait()

    async def before(self, request: Request) -> None:
        """Runs before the request is carried out; may raise, wait, or never return."""

    async def after(self, request: Request) -> None:
        """Runs after the request was carried out; sets ``outcome`` to throw its answer away."""


@dataclass(eq=False)
class Refusal(Fault):
    make: Callable[[Request], ApiError] = field(default=lambda _: errors.no_such_path())

    async def before(self, request: Request) -> None:
        raise self.make(request)


@dataclass(eq=False)
class BlackHole(Fault):
    async def before(self, request: Request) -> None:
        request.outcome = "hung"
        await asyncio.Event().wait()


@dataclass(eq=False)
class Latency(Fault):
    seconds: float = 0.0

    async def before(self, request: Request) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(eq=False)
class DroppedAnswer(Fault):
    async def after(self, request: Request) -> None:
        request.outcome = "dropped"


@dataclass(eq=False)
class SwallowedAnswer(Fault):
    async def after(self, request: Request) -> None:
        request.outcome = "hung"
        await asyncio.Event().wait()


@dataclass(eq=False)
class Hold(Fault):
    """Requests wait on the way, and are carried out late, even when their client has given up."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, request: Request) -> None:
        await self.gate.wait()

    def release(self) -> None:
        """Lets those through that wait now, and all later ones."""
        self.gate.set()


@dataclass(eq=False)
class StreamFault:
    """A fault of watches: hits those open now and those opened while it is on."""

    match: Match
    delay: float = 0.0
    stall: bool = False
    hold: bool = False
    watches: list[Watch] = field(default_factory=list)

    def release(self) -> None:
        """Delivers what was held back; later events are held again."""
        for watch in self.watches:
            watch.release()


class Faults:
    """What is switched on right now."""

    def __init__(self, watches: Callable[[], list[Watch]]) -> None:
        self._watches = watches
        self.active: list[Fault] = []
        self.streams: list[StreamFault] = []

    def struck(self, request: Request) -> list[Fault]:
        """The active faults that hit this request, in the order they were switched on."""
        return [fault for fault in self.active if fault.strikes(request)]

    def on_stream(self, watch: Watch) -> None:
        """Applies the active stream faults to a watch that opens."""
        for fault in self.streams:
            if fault.match(watch.request):
                fault.watches.append(watch)
                watch.suffer(fault)

    @contextmanager
    def _on(self, fault: F) -> Iterator[F]:
        self.active.append(fault)
        try:
            yield fault
        finally:
            self.active.remove(fault)

    @contextmanager
    def _on_streams(self, fault: StreamFault) -> Iterator[StreamFault]:
        self.streams.append(fault)
        for watch in self._watches():
            if fault.match(watch.request):
                fault.watches.append(watch)
                watch.suffer(fault)
        try:
            yield fault
        finally:
            self.streams.remove(fault)
            for watch in fault.watches:
                watch.recover(fault)

    # Requests

    def status(
        self,
        code: int,
        message: str | None = None,
        *,
        reason: str | None = None,
        retry_after: int | None = None,
        times: int | None = None,
        share: float = 1.0,
        seed: int = 0,
        **match: Any,
    ) -> AbstractContextManager[Fault]:
        """Requests are answered with ``code`` and not carried out.

        ``retry_after`` (seconds) becomes the header and the Status's field, as with a 429.
        """

        def make(request: Request) -> ApiError:
            word, text = _WORDS.get(code, ("InternalError", "an error on the server"))
            details = {"retryAfterSeconds": retry_after} if retry_after is not None else {}
            headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
            return ApiError(code, reason or word, message or text, details, headers)

        return self._on(Refusal(Match(**match), times, share, seed, make=make))

    def conflict(self, times: int | None = None, **match: Any) -> AbstractContextManager[Fault]:
        """409 as a lost race for the object's version gives it."""
        return self._on(Refusal(Match(**match), times, make=_conflict))

    def quota(
        self,
        detail: str = "requested: count/jobs.batch=1, used: count/jobs.batch=5, limited: "
        "count/jobs.batch=5",
        quota: str = "jobs",
        times: int | None = None,
        **match: Any,
    ) -> AbstractContextManager[Fault]:
        """403 on create, in the words of the quota admission plugin."""
        why = f"exceeded quota: {quota}, {detail}"
        return self._forbid(why, times, match)

    def admission_denied(
        self,
        message: str = "violates policy",
        webhook: str = "policy.example.com",
        times: int | None = None,
        **match: Any,
    ) -> AbstractContextManager[Fault]:
        """400 on create, in the words of a denying admission webhook."""
        text = f'admission webhook "{webhook}" denied the request: {message}'
        match.setdefault("verb", "create")
        fault = Refusal(Match(**match), times, make=lambda _: ApiError(400, "BadRequest", text))
        return self._on(fault)

    def pod_security(
        self, why: str = "allowPrivilegeEscalation != false", times: int | None = None, **match: Any
    ) -> AbstractContextManager[Fault]:
        """403 on create, in the words of the PodSecurity admission plugin."""
        return self._forbid(f'violates PodSecurity "restricted:latest": {why}', times, match)

    def forbid(self, times: int | None = None, **match: Any) -> AbstractContextManager[Fault]:
        """403 as RBAC answers when a right is missing."""
        return self._on(Refusal(Match(**match), times, make=_no_right))

    def _forbid(
        self, why: str, times: int | None, match: dict[str, Any]
    ) -> AbstractContextManager[Fault]:
        match.setdefault("verb", "create")
        return self._on(Refusal(Match(**match), times, make=lambda r: _forbidden(r, why)))

    def black_hole(self, times: int | None = None, **match: Any) -> AbstractContextManager[Fault]:
        """Requests are accepted and never answered, nor carried out; the socket stays open.

        Those that were swallowed stay so after the fault is over.
        """
        return self._on(BlackHole(Match(**match), times))

    def drop_answer(self, times: int | None = None, **match: Any) -> AbstractContextManager[Fault]:
        """Requests are carried out, then the connection breaks instead of an answer."""
        return self._on(DroppedAnswer(Match(**match), times))

    def swallow_answer(
        self, times: int | None = None, **match: Any
    ) -> AbstractContextManager[Fault]:
        """Requests are carried out, then never answered; the socket stays open."""
        return self._on(SwallowedAnswer(Match(**match), times))

    def latency(
        self, seconds: float, times: int | None = None, **match: Any
    ) -> AbstractContextManager[Fault]:
        """Every request waits ``seconds`` before it is carried out."""
        return self._on(Latency(Match(**match), times, seconds=seconds))

    @contextmanager
    def hold(self, times: int | None = None, **match: Any) -> Iterator[Hold]:
        """Requests are on their way until ``release()``, or the end of the fault.

        They are then carried out even if the client has given up: a late create.
        """
        with self._on(Hold(Match(**match), times)) as fault:
            try:
                yield fault
            finally:
                fault.release()

    # Watches

    def delay_watches(self, seconds: float, **match: Any) -> AbstractContextManager[StreamFault]:
        """Events reach the client ``seconds`` late (real time), in order."""
        return self._on_streams(StreamFault(_watching(match), delay=seconds))

    def hold_watches(self, **match: Any) -> AbstractContextManager[StreamFault]:
        """Events are held back until ``release()`` or the end of the fault."""
        return self._on_streams(StreamFault(_watching(match), hold=True))

    def stall_watches(self, **match: Any) -> AbstractContextManager[StreamFault]:
        """Watches go silent without closing, bookmarks included. They never recover."""
        return self._on_streams(StreamFault(_watching(match), stall=True))

    @contextmanager
    def partition(self, front: str) -> Iterator[None]:
        """Nothing passes between the client at ``front`` and the server, and nothing closes.

        Requests made meanwhile are lost; watches go on late with what they missed.
        """
        with self.black_hole(front=front), self.hold_watches(front=front):
            yield


def _watching(match: dict[str, Any]) -> Match:
    return Match(verb="watch", **match)


def _conflict(request: Request) -> ApiError:
    if request.kind is None:
        return ApiError(409, "Conflict", "conflict")
    return errors.conflict(request.kind, request.name)


def _forbidden(request: Request, why: str) -> ApiError:
    if request.kind is None:
        return ApiError(403, "Forbidden", f"forbidden: {why}")
    return errors.forbidden(request.kind, request.name, why)


def _no_right(request: Request) -> ApiError:
    user = "system:serviceaccount:my-network-converter:operator"
    why = f'User "{user}" cannot {request.verb} resource "{request.plural}"'
    if request.kind is not None:
        why += f' in API group "{request.kind.group}"'
    if request.namespace:
        why += f' in the namespace "{request.namespace}"'
    return _forbidden(request, why)
