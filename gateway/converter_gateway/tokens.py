"""Finds the owners of tokens, with few TokenReviews."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from cachetools import TTLCache

from conversion_operator.cluster.conversions import Caller
from converter_gateway.errors import ApiError
from converter_gateway.limits import Rate

CACHE_SECONDS: Final = 10.0
CACHE_MAX_ENTRIES: Final = 1024
# Tokens that are not valid have a cache of their own, so that they push no valid one out.
_INVALID_SECONDS: Final = 5.0
_INVALID_MAX_ENTRIES: Final = 4096
# Limits of one replica. Reviews share their connections to the API server with other requests.
_MAX_REVIEWS: Final = 48
_MAX_REVIEWS_PER_ADDRESS: Final = 16
_INVALID_PER_SECOND: Final = 5.0
_INVALID_BURST: Final = 20

Review = Callable[[str], Awaitable[Caller | None]]


class TokenReviews:
    """Caches the owners of tokens for 10 s, and for 5 s that a token is not valid.

    So a revoked token may still work for 10 s. ``review`` sends a TokenReview.
    """

    def __init__(self, review: Review) -> None:
        self._review = review
        self._callers: TTLCache[str, Caller] = TTLCache(CACHE_MAX_ENTRIES, CACHE_SECONDS)
        self._invalid: TTLCache[str, bool] = TTLCache(_INVALID_MAX_ENTRIES, _INVALID_SECONDS)
        self._invalid_rate = Rate(_INVALID_PER_SECOND, _INVALID_BURST)
        self._reviews: dict[str, asyncio.Task[Caller | None]] = {}
        self._waiting: Counter[str] = Counter()

    async def owner(self, token: str, address: str) -> Caller:
        """The owner of a token. Raises ApiError 401, 429 or 503, or a ClusterError.

        ``address`` is where the request comes from. Each has a limit of reviews in progress, and
        of tokens that are not valid.
        """
        key = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        if known := self._callers.get(key):
            return known
        caller = None
        if key not in self._invalid:
            caller = await self._reviewed(key, token, address)
        if caller is None:
            raise ApiError(401, "the token is not valid for this API")
        return caller

    async def _reviewed(self, key: str, token: str, address: str) -> Caller | None:
        self._check_limits(key, address)
        self._waiting[address] += 1
        try:
            task = self._reviews.get(key)
            if task is None:
                task = self._reviews[key] = asyncio.create_task(self._send(key, token, address))
            # Others may wait for the same review. It ends, even if this request is cut off.
            return await asyncio.shield(task)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def _check_limits(self, key: str, address: str) -> None:
        wait = self._invalid_rate.wait(address, time.monotonic())
        if wait:
            raise ApiError(429, "too many tokens that are not valid from one address", 1)
        if key in self._reviews:
            return
        if self._waiting[address] >= _MAX_REVIEWS_PER_ADDRESS:
            raise ApiError(429, "too many new tokens at once from one address", 1)
        if len(self._reviews) >= _MAX_REVIEWS:
            raise ApiError(503, "too many new tokens at once", 1)

    async def _send(self, key: str, token: str, address: str) -> Caller | None:
        try:
            caller = await self._review(token)
        finally:
            del self._reviews[key]
        if caller is None:
            self._invalid[key] = True
            self._invalid_rate.take(address, time.monotonic())
        else:
            self._callers[key] = caller
        return caller
