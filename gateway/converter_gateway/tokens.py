"""Finds the owners of tokens, with few TokenReviews."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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
# How long a token that was valid stays trusted: the limits on its address do not apply to it.
_TRUSTED_SECONDS: Final = 600.0
_TRUSTED_MAX_ENTRIES: Final = 4096

Review = Callable[[str], Awaitable[Caller | None]]


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Limits of one replica. Reviews share connections to the API server with other requests."""

    reviews: int
    reviews_per_address: int
    invalid_per_second: float
    invalid_burst: int


class TokenReviews:
    """Caches the owners of tokens for 10 s, and for 5 s that a token is not valid.

    So a revoked token may still work for 10 s. A token that was valid in the last 10 minutes is
    trusted: the limits on its address do not apply to it. So strangers who have the same address
    do not lock out its caller. ``review`` sends a TokenReview.
    """

    def __init__(self, review: Review, limits: TokenLimits, audience: str = "") -> None:
        """``audience`` is what tokens must be made for. Only messages contain it."""
        self._review, self._limits, self._audience = review, limits, audience
        self._callers: TTLCache[str, Caller] = TTLCache(CACHE_MAX_ENTRIES, CACHE_SECONDS)
        self._invalid: TTLCache[str, bool] = TTLCache(_INVALID_MAX_ENTRIES, _INVALID_SECONDS)
        self._trusted: TTLCache[str, bool] = TTLCache(_TRUSTED_MAX_ENTRIES, _TRUSTED_SECONDS)
        self._invalid_rate = Rate(limits.invalid_per_second, limits.invalid_burst)
        self._reviews: dict[str, asyncio.Task[Caller | None]] = {}
        self._waiting: Counter[str] = Counter()

    async def owner(self, token: str, address: str) -> Caller:
        """The owner of a token. Raises ApiError 401, 429 or 503, or a ClusterError.

        ``address`` is where the request comes from. Each has a limit of reviews in progress, and
        of tokens that are not valid. Trusted tokens do not have these limits.
        """
        key = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        if known := self._callers.get(key):
            return known
        caller = None
        if key not in self._invalid:
            caller = await self._reviewed(key, token, address)
        if caller is None:
            raise ApiError(
                401,
                "the token is not valid for this API: it has expired, or it does not have the "
                f"audience {self._audience}",
            )
        return caller

    async def _reviewed(self, key: str, token: str, address: str) -> Caller | None:
        if key in self._trusted:
            return await self._shared(key, token, address)
        self._check_address(key, address)
        self._waiting[address] += 1
        try:
            return await self._shared(key, token, address)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def _check_address(self, key: str, address: str) -> None:
        if self._invalid_rate.wait(address, time.monotonic()):
            raise ApiError(429, "too many tokens that are not valid from one address", 1)
        reviews = self._waiting[address]
        if key not in self._reviews and reviews >= self._limits.reviews_per_address:
            raise ApiError(429, "too many new tokens at once from one address", 1)

    async def _shared(self, key: str, token: str, address: str) -> Caller | None:
        task = self._reviews.get(key)
        if task is None:
            if len(self._reviews) >= self._limits.reviews:
                raise ApiError(503, "too many new tokens at once", 1)
            task = self._reviews[key] = asyncio.create_task(self._send(key, token, address))
        # Others may wait for the same review. It ends, even if this request is cut off.
        return await asyncio.shield(task)

    async def _send(self, key: str, token: str, address: str) -> Caller | None:
        try:
            caller = await self._review(token)
        finally:
            del self._reviews[key]
        if caller is None:
            self._invalid[key] = True
            self._trusted.pop(key, None)
            self._invalid_rate.take(address, time.monotonic())
        else:
            self._callers[key] = caller
            self._trusted[key] = True
        return caller
