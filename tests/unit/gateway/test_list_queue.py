"""Who waits for a list, and who shares one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from conversion_operator.cluster.errors import Unavailable
from conversion_operator.cluster.list_queue import ListQueue


class Lists:
    """Lists that end when they are told to. ``begun`` has the namespaces in order."""

    def __init__(self, wait_seconds: float = 5) -> None:
        self.begun: list[str] = []
        self.ends = asyncio.Event()
        self._queue: ListQueue[int] = ListQueue(wait_seconds)

    async def ask(self, namespace: str, count: int = 1) -> list[asyncio.Task[int]]:
        """Ask for lists with the same query. Each task returns the number of its list."""
        return await self._start(
            *(self._queue.collect(namespace, "", self._of(namespace)) for _ in range(count))
        )

    async def ask_differently(self, namespace: str, count: int) -> list[asyncio.Task[int]]:
        """Ask for lists with different queries."""
        return await self._start(
            *(self._queue.collect(namespace, n, self._of(namespace)) for n in range(count))
        )

    def close(self) -> None:
        self._queue.close()

    def _of(self, namespace: str) -> Callable[[], Awaitable[int]]:
        async def collect() -> int:
            self.begun.append(namespace)
            number = len(self.begun)
            await self.ends.wait()
            return number

        return collect

    async def _start(self, *asked: Awaitable[int]) -> list[asyncio.Task[int]]:
        tasks = [asyncio.ensure_future(one) for one in asked]
        for _ in range(10):
            await asyncio.sleep(0)  # each runs until it waits
        return tasks


async def test_requests_share_a_list_only_if_it_began_after_them() -> None:
    lists = Lists()
    first = await lists.ask("a")
    second = await lists.ask("a")  # the first has begun, so it may be too old
    third = await lists.ask("a", 200)
    assert lists.begun == ["a", "a"]
    lists.ends.set()
    assert await asyncio.gather(*first, *second, *third) == [1, 2, *[3] * 200]


async def test_one_namespace_leaves_places_for_others() -> None:
    lists = Lists()
    big = await lists.ask_differently("big", 50)
    assert lists.begun == ["big"] * 2
    small = await lists.ask_differently("small", 3)
    await lists.ask("third")
    assert lists.begun == ["big"] * 2 + ["small"] * 2, "four at once"
    lists.ends.set()
    await asyncio.gather(*big, *small)


async def test_a_list_waits_for_a_limited_time_but_may_last_longer() -> None:
    lists = Lists(wait_seconds=0.01)
    running = await lists.ask_differently("a", 2)
    for attempt in range(2):
        (late,) = await lists.ask("a")
        with pytest.raises(Unavailable, match="too many lists at once"):
            await late
        assert len(lists.begun) == 2, attempt
    lists.ends.set()
    assert await asyncio.gather(*running) == [1, 2]
    assert await (await lists.ask("a"))[0] == 3, "the places are free again"


async def test_a_list_goes_on_if_its_first_caller_leaves() -> None:
    lists = Lists()
    await lists.ask_differently("a", 2)
    first, other = await lists.ask("a", 2)
    first.cancel()
    lists.ends.set()
    assert await other == 3


async def test_closing_ends_all_lists() -> None:
    lists = Lists()
    asked = await lists.ask_differently("a", 50)
    lists.close()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
