"""Limits on requests and streams: how many at once, and how often. Health checks have none."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH: Final = ("/healthz", "/readyz")
EVENTS: Final = "/api/v1/converter/events"
_CALLERS: Final = 10_000


class Rate:
    """A steady rate with a burst, per caller (GCRA). Callers pass the time."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._step = 1 / per_second
        self._slack = (burst - 1) * self._step
        # When each caller's next request is due at the steady rate. The caller that has been idle
        # for longest comes first.
        self._due: dict[str, float] = {}

    def take(self, caller: str, now: float) -> float:
        """Count a request and return 0, or return the seconds that the caller must wait."""
        due = max(self._due.pop(caller, now), now)
        self._due[caller] = due
        ahead = due - now - self._slack
        if ahead > 1e-9:
            return ahead
        self._due[caller] = due + self._step
        if len(self._due) > _CALLERS:
            del self._due[next(iter(self._due))]
        return 0.0


class RateLimit:
    """Answers 429 with Retry-After if an address sends requests too often.

    The address is known without a request to the API server, unlike the owner of the token.
    """

    def __init__(self, app: ASGIApp, per_second: float, burst: int) -> None:
        self._app = app
        self._rate = Rate(per_second, burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in HEALTH:
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


class Concurrency:
    """Answers 503 with Retry-After while ``limit`` requests are in progress, without streams."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in (*HEALTH, EVENTS):
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


class Streams:
    """Limits the open event streams, in total and per address.

    Streams last long. If they counted as requests, they would leave no room for other requests.
    """

    def __init__(self, app: ASGIApp, limit: int, per_address: int) -> None:
        self._app = app
        self._limit, self._per_address = limit, per_address
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] != EVENTS:
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
