from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from converter_gateway import limits
from converter_gateway.limits import Rate, Turns


def test_a_burst_then_the_rate() -> None:
    rate = Rate(per_second=2, burst=3)
    assert [rate.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.take("b", 10.0) == 0, "each caller has its own"
    assert rate.take("a", 10.5) == 0
    assert rate.take("a", 10.5) == 0.5, "what was rejected did not count, what was let through did"
    assert [rate.take("a", 1000.0) for _ in range(4)] == [0, 0, 0, 0.5]


@given(st.floats(0.1, 100), st.integers(1, 20), st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_never_more_than_burst_and_rate_allow(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    rate, now, passed = Rate(per_second, burst), 100.0, []
    for pause in pauses:
        now += pause
        if rate.take("a", now) == 0:
            passed.append(now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - begin) * per_second + 1e-3


def test_memory_is_bounded() -> None:
    rate = Rate(1, 1)
    for n in range(limits._MAX_CALLERS + 5):
        rate.take(str(n), 0.0)
    assert len(rate._due) == limits._MAX_CALLERS
    assert rate.take(str(limits._MAX_CALLERS + 4), 0.0) > 0, "the last ones are still known"


def request_of(address: str) -> dict[str, Any]:
    return {"type": "http", "path": "/x", "client": (address, 1)}


async def test_many_requests_of_one_address_do_not_all_come_before_that_of_another() -> None:
    started: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        started.append(scope["client"][0])

    turns: Any = Turns(app)
    tasks = [
        asyncio.create_task(turns(request_of(address), None, None))
        for address in [*["many"] * 50, "other", "other"]
    ]
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert started.index("other") <= 2
    assert started[:4].count("other") == 2, "in turn"
    assert (started.count("many"), started.count("other")) == (49, 2)
    await asyncio.sleep(0)
    assert not turns._waiting
