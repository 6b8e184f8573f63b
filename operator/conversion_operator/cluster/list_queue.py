"""Shares the places for lists among namespaces, and one list among the callers that ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar
from weakref import WeakValueDictionary

from conversion_operator.cluster.errors import Unavailable

_AT_ONCE: Final = 4
"""How many lists are collected at the same time. A list may have all objects of a namespace, and
every caller can ask for one. The others wait."""
_OF_ONE_NAMESPACE: Final = 2
"""How many of these are of one namespace, so that a large namespace leaves room for others."""
_WAIT_SECONDS: Final = 5.0

T = TypeVar("T")


class ListQueue(Generic[T]):
    """Collects lists, a few at a time. Equal lists that have not started are collected once.

    A caller never gets a list that began before its request, because that list may lack what the
    caller has just created.
    """

    def __init__(self, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._namespaces: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()

    async def collect(
        self, namespace: str, query: Hashable, collect: Callable[[], Awaitable[T]]
    ) -> T:
        """The list of the namespace for the query. Raises Unavailable after waiting too long."""
        key = (namespace, query)
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._collect(key, collect))
            self._tasks.add(task)
            task.add_done_callback(self._end)
        # Others may wait for the same list. It ends, even if this request is cut off.
        return await asyncio.shield(task)

    def close(self) -> None:
        """Cancel all lists."""
        for task in self._tasks:
            task.cancel()

    async def _collect(self, key: tuple[str, Hashable], collect: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._wait_seconds) as timeout, self._place(key[0]):
                timeout.reschedule(None)
                del self._waiting[key]
                return await collect()
        except TimeoutError:
            if not timeout.expired():
                raise
            raise Unavailable("too many lists at once", retry_after=5) from None
        finally:
            if self._waiting.get(key) is asyncio.current_task():
                del self._waiting[key]

    @asynccontextmanager
    async def _place(self, namespace: str) -> AsyncGenerator[None]:
        places = self._namespaces.get(namespace)
        if places is None:
            places = self._namespaces[namespace] = asyncio.Semaphore(_OF_ONE_NAMESPACE)
        async with places, self._places:
            yield

    def _end(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # all callers may have left
