"""The log that listeners share, over a cluster made of queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.errors import Expired, Rejected
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway import feed
from converter_gateway.feed import CursorTooOld, FeedPool
from tests.unit.gateway.test_events import conversion

N = "n"


class Cluster:
    """One namespace: what was written, in order, for lists and watches from any version."""

    def __init__(self) -> None:
        self.changes: list[WatchEvent[Conversion]] = []
        self.watching = 0
        self.nobody_watches = asyncio.Event()
        self._more = asyncio.Condition()

    async def write(self, version: int, logs: str = "") -> None:
        async with self._more:
            told = conversion({"phase": "Failed", "logs": logs}, name=f"j{version}", rv=version)
            self.changes.append(WatchEvent("ADDED", str(version), told))
            self._more.notify_all()

    async def list_all(self, namespace: str, labels: str = "") -> ObjectList[Conversion]:
        return self._listing(max([1, *map(version_of, self.changes)]))

    async def list_at(self, namespace: str, version: str) -> ObjectList[Conversion]:
        return self._listing(int(version))

    def _listing(self, version: int) -> ObjectList[Conversion]:
        known = tuple(
            c.object for c in self.changes if c.object is not None and version_of(c) <= version
        )
        return ObjectList(known, str(version))

    async def watch(
        self, namespace: str, version: str, name: str = ""
    ) -> AsyncGenerator[WatchEvent[Conversion]]:
        self.watching += 1
        sent = 0
        try:
            while True:
                for change in self.changes[sent:]:
                    sent += 1
                    if version_of(change) > int(version):
                        yield change
                async with self._more:
                    while len(self.changes) <= sent:
                        await self._more.wait()
        finally:
            self.watching -= 1
            if not self.watching:
                self.nobody_watches.set()


def version_of(change: WatchEvent[Conversion]) -> int:
    return int(change.version)


async def until_version(feeds: FeedPool, version: int) -> None:
    async with asyncio.timeout(20):
        while (known := feeds.feed(N, version)).version < version:
            await known.next_change()


def versions(feeds: FeedPool, cursor: int) -> list[int]:
    return [entry.version for entry in feeds.feed(N, cursor).events_after(cursor)]


async def test_the_log_is_bounded_and_who_is_too_slow_is_told_so() -> None:
    cluster: Any = Cluster()
    feeds = FeedPool(cluster)
    async with feeds.listening(N):
        assert (await feeds.start_point(N, None)).cursor == 1
        count = feed._LOG_BYTES // 2000 + 100
        for version in range(2, count):
            await cluster.write(version, "x" * 2000)
        async with asyncio.timeout(20):
            while feeds._feeds[N][0].version < count - 1:
                await feeds._feeds[N][0].next_change()
        with pytest.raises(CursorTooOld):
            feeds.feed(N, 1)
        start = feeds._feeds[N][0].start_version
        assert 1 < start < count - 2
        assert versions(feeds, start) == list(range(start + 1, count)), "without a gap"
        log = feeds._feeds[N][0]._log
        assert sum(len(entry.block) for entry in log) <= feed._LOG_BYTES


async def test_who_comes_from_before_the_start_brings_a_watch_that_becomes_one_with_it() -> None:
    cluster: Any = Cluster()
    for version in (2, 3, 4):
        await cluster.write(version)
    feeds = FeedPool(cluster)
    async with feeds.listening(N):
        assert (await feeds.start_point(N, None)).cursor == 4
        start = await feeds.start_point(N, 2)
        assert (start.cursor, start.conversions) == (2, None)
        await until_version(feeds, 2)
        async with asyncio.timeout(20):
            while versions(feeds, 2) != [3, 4]:
                await feeds.feed(N, 2).next_change()
        await cluster.write(5)
        await until_version(feeds, 5)
        assert versions(feeds, 2) == [3, 4, 5]
        assert versions(feeds, 4) == [5]
        alive = [one for one in feeds._feeds[N] if one.alive]
        assert [one.start_version for one in alive] == [2]
    assert not feeds._feeds
    await asyncio.wait_for(cluster.nobody_watches.wait(), 20)


async def test_those_who_come_together_share_a_list() -> None:
    asked = 0

    class Slow(Cluster):
        async def list_all(self, namespace: str, labels: str = "") -> ObjectList[Conversion]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return await super().list_all(namespace, labels)

    cluster: Any = Slow()
    feeds = FeedPool(cluster)
    async with feeds.listening(N):
        starts = await asyncio.gather(*(feeds.start_point(N, None) for _ in range(50)))
        assert {start.cursor for start in starts} == {1}
        assert asked == 1
        assert len(feeds._feeds[N]) == 1


async def test_a_watch_that_has_expired_is_not_followed_any_more() -> None:
    class Old(Cluster):
        async def watch(
            self, namespace: str, version: str, name: str = ""
        ) -> AsyncGenerator[WatchEvent[Conversion]]:
            raise Expired("too old")
            yield  # a generator

    cluster: Any = Old()
    feeds = FeedPool(cluster)
    async with feeds.listening(N):
        await feeds.start_point(N, None)
        await asyncio.wait_for(asyncio.shield(feeds.feed(N, 1).next_change()), 20)
        with pytest.raises(CursorTooOld):
            feeds.feed(N, 1)


@pytest.mark.parametrize("error", [Rejected("no right", 403), RuntimeError("a fault of ours")])
async def test_a_watch_that_fails_for_good_does_not_have_listeners_spin(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """They begin anew as soon as a feed is over, with a list each time."""

    class Failing(Cluster):
        async def watch(
            self, namespace: str, version: str, name: str = ""
        ) -> AsyncGenerator[WatchEvent[Conversion]]:
            self.nobody_watches.set()
            raise error
            yield  # a generator

    cluster: Any = Failing()
    feeds = FeedPool(cluster)
    async with feeds.listening(N):
        await feeds.start_point(N, None)
        await asyncio.wait_for(cluster.nobody_watches.wait(), 20)
        changed = feeds.feed(N, 1).next_change()
        await asyncio.wait({changed}, timeout=0.05)
        assert not changed.done()
        assert feeds.feed(N, 1).alive
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
