"""Limits the rate, the number and the bodies of requests. Health checks have no limits."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEALTH_PATHS: Final = ("/healthz", "/readyz")
EVENTS_PATH: Final = "/api/v1/converter/events"
_STATUS_PATH: Final = "/api/v1/converter/status/"
DOWNLOAD_PATHS: Final = ("/api/v1/converter/logs/", "/api/v1/converter/outputs/")
KINDS: Final = ("requests", "long polls", "streams", "downloads")
_METHODS_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_MAX_CALLERS: Final = 10_000


class Rate:
    """Limits the rate per caller, with bursts: the generic cell rate algorithm (GCRA).

    ``now`` is in seconds of a monotonic clock.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._step = 1 / per_second
        self._slack = (burst - 1) * self._step
        # When the next request of each caller is due at the steady rate. Sorted by the time of the
        # last request, oldest first.
        self._due: dict[str, float] = {}

    def wait(self, caller: str, now: float) -> float:
        """The seconds until the next request is accepted; 0: now."""
        ahead = max(self._due.get(caller, now), now) - now - self._slack
        return ahead if ahead > 1e-9 else 0.0

    def take(self, caller: str, now: float) -> float:
        """Accept a request and return 0, or reject it and return the seconds to wait."""
        ahead = self.wait(caller, now)
        due = max(self._due.pop(caller, now), now)
        self._due[caller] = due
        if ahead:
            return ahead
        self._due[caller] = due + self._step
        if len(self._due) > _MAX_CALLERS:
            del self._due[next(iter(self._due))]
        return 0.0


class RateLimit:
    """Responds 429 with Retry-After if an address sends requests too often.

    Limits addresses and not callers: identifying a caller needs a request to the API server.
    """

    def __init__(self, app: ASGIApp, per_second: float, burst: int) -> None:
        self._app = app
        self._rate = Rate(per_second, burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        wait = self._rate.take(address_of(scope), time.monotonic())
        if wait:
            headers = {"Retry-After": str(math.ceil(wait))}
            rejection = JSONResponse({"error": "too many requests from one address"}, 429, headers)
            await rejection(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Turns:
    """Starts one request of each address in each turn of the event loop.

    So the requests that one address sends at once do not all come before that of another.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # The requests of each address that wait for their turn. No key: the next one need not wait.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in HEALTH_PATHS:
            await self._turn(address_of(scope))
        await self._app(scope, receive, send)

    async def _turn(self, address: str) -> None:
        loop, waiting = asyncio.get_running_loop(), self._waiting.get(address)
        if waiting is None:
            self._waiting[address] = deque()
            loop.call_soon(self._end_turn, address)
            return
        turn: asyncio.Future[None] = loop.create_future()
        waiting.append(turn)
        await turn

    def _end_turn(self, address: str) -> None:
        waiting = self._waiting[address]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():  # otherwise the server has cancelled the request
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._end_turn, address)
                return
        del self._waiting[address]


@dataclass(frozen=True, slots=True)
class Bound:
    """Maximum requests of one kind in progress, in total and of one address. ``name``: plural."""

    name: str
    limit: int
    per_address: int
    retry_seconds: int = 1


class ProgressLimit:
    """Limits the requests in progress, in total and per address: 503 and 429 with Retry-After.

    Event streams, downloads and long polls last long. If they counted with the other requests, they
    would use up the limit of all.
    """

    def __init__(
        self, app: ASGIApp, bounds: Iterable[Bound], in_progress: Mapping[str, Counter[str]]
    ) -> None:
        """``bounds`` has one for each kind. ``in_progress`` counts by kind and address."""
        self._app = app
        self._bounds = {bound.name: bound for bound in bounds}
        self._open = in_progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        bound, address = self._bounds[kind_of(scope)], address_of(scope)
        in_progress = self._open[bound.name]
        if rejection := _rejection(bound, in_progress, address):
            await rejection(scope, receive, send)
            return
        in_progress[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            in_progress[address] -= 1
            if not in_progress[address]:
                del in_progress[address]


def kind_of(scope: Scope) -> str:
    """The kind of a request: one of KINDS."""
    if scope["path"] == EVENTS_PATH:
        return "streams"
    if scope["path"].startswith(DOWNLOAD_PATHS):
        return "downloads"
    # `wait` can be written in several ways, and there is no other parameter.
    if scope["path"].startswith(_STATUS_PATH) and scope["query_string"]:
        return "long polls"
    return "requests"


def _rejection(bound: Bound, in_progress: Counter[str], address: str) -> JSONResponse | None:
    later = {"Retry-After": str(bound.retry_seconds)}
    if in_progress[address] >= bound.per_address:
        return JSONResponse({"error": f"too many {bound.name} from one address"}, 429, later)
    if in_progress.total() >= bound.limit:
        return JSONResponse({"error": f"too many {bound.name} at once"}, 503, later)
    return None


class BodyLimit:
    """Reads the body of a request before the API works on it. Responds 413 if it is too large.

    So a body that arrives slowly takes no place among the requests in progress, and the API never
    starts to work on a request that is cut off.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] not in _METHODS_WITH_BODY:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = not self._is_declared_too_large(scope)
        while more and len(body) <= self._limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # the server counts these callers
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if more or len(body) > self._limit or self._is_declared_too_large(scope):
            error = {"error": f"the body is larger than {self._limit} bytes"}
            await JSONResponse(error, 413)(scope, receive, send)
            return
        await self._app(scope, _replay(bytes(body), receive), send)

    def _is_declared_too_large(self, scope: Scope) -> bool:
        declared = dict(scope["headers"]).get(b"content-length", b"")
        return declared.isdigit() and int(declared) > self._limit


def _replay(body: bytes, receive: Receive) -> Receive:
    """Returns ``body`` first, and then what ``receive`` returns: the end of the connection."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def address_of(scope: Scope) -> str:
    """The address of the connection. Headers such as X-Forwarded-For are never believed."""
    host: str = (scope.get("client") or ("",))[0]
    return host
