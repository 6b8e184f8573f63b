"""Limits the number and the rate of requests and streams. Health checks have no limits."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH_PATHS: Final = ("/healthz", "/readyz")
EVENTS_PATH: Final = "/api/v1/converter/events"
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

    def take(self, caller: str, now: float) -> float:
        """Accept a request and return 0, or reject it and return the seconds to wait."""
        due = max(self._due.pop(caller, now), now)
        self._due[caller] = due
        ahead = due - now - self._slack
        if ahead > 1e-9:
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
        host = (scope.get("client") or ("",))[0]
        wait = self._rate.take(host, time.monotonic())
        if wait:
            headers = {"Retry-After": str(math.ceil(wait))}
            rejection = JSONResponse({"error": "too many requests from one address"}, 429, headers)
            await rejection(scope, receive, send)
            return
        await self._app(scope, receive, send)


class ConcurrencyLimit:
    """Responds 503 with Retry-After while ``limit`` requests are in progress.

    Event streams do not count. They have a limit of their own.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in (*HEALTH_PATHS, EVENTS_PATH):
            await self._app(scope, receive, send)
            return
        if self._in_progress >= self._limit:
            busy = JSONResponse({"error": "too many requests at once"}, 503, {"Retry-After": "1"})
            await busy(scope, receive, send)
            return
        self._in_progress += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_progress -= 1


class StreamLimit:
    """Limits the open event streams, in total and per address: 503 and 429 with Retry-After.

    Streams last long. If they counted as requests, they would use up the limit of requests.
    """

    def __init__(self, app: ASGIApp, limit: int, per_address: int) -> None:
        self._app = app
        self._limit, self._per_address = limit, per_address
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] != EVENTS_PATH:
            await self._app(scope, receive, send)
            return
        host = (scope.get("client") or ("",))[0]
        if rejection := self._rejection(host):
            await rejection(scope, receive, send)
            return
        self._open[host] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]

    def _rejection(self, host: str) -> JSONResponse | None:
        later = {"Retry-After": "10"}
        if self._open[host] >= self._per_address:
            return JSONResponse({"error": "too many streams from one address"}, 429, later)
        if self._open.total() >= self._limit:
            return JSONResponse({"error": "too many streams at once"}, 503, later)
        return None
