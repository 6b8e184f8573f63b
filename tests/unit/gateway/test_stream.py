"""When the check of a heartbeat ends a stream."""

from __future__ import annotations

from typing import cast

import pytest

from conversion_operator.cluster.errors import Unavailable
from converter_gateway.errors import ApiError
from converter_gateway.feed import FeedPool
from converter_gateway.stream import StreamTimeouts, Subscription, _Listener


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (None, True),
        (ApiError(401, "the token is not valid for this API"), False),
        (ApiError(403, "you may not list conversionjobs in namespace a"), False),
        (ApiError(429, "too many new tokens at once from one address", 1), True),
        (ApiError(503, "too many new tokens at once", 1), True),
        (Unavailable("the API server does not respond"), True),
    ],
)
async def test_only_a_lost_permission_ends_a_stream(error: Exception | None, stays: bool) -> None:
    async def still_allowed() -> None:
        if error:
            raise error

    listener = _Listener(
        cast("FeedPool", None),
        Subscription("a", None, ""),
        StreamTimeouts(heartbeat=15, stall=30, lifetime=3600),
        still_allowed,
    )
    assert await listener._is_allowed() is stays
