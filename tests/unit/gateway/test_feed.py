"""The log that listeners share, over a cluster made of queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.errors import Expired, Rejected
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway import event_log, feed
from converter_gateway.event_log import EventLog
from converter_gateway.events import Summary, summarise
from converter_gateway.feed import CursorTooOld, FeedPool
from converter_gateway.records import record_of
from converter_gateway.store import Store
from converter_gateway.store_set import Listed
from converter_gateway.stores import Stores
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

    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def start(self, work: Any) -> asyncio.Task[None]:
        return asyncio.create_task(work)

    async def list_all(self, namespace: str, parse: object) -> ObjectList[Listed]:
        listed = self._listing(await self.current_version(namespace))
        records = map(record_of, listed.items)
        return ObjectList(tuple(Listed(namespace, each) for each in records), listed.version)

    async def list_at(
        self, namespace: str, version: str, parse: object
    ) -> ObjectList[tuple[str, Summary]]:
        listed = self._listing(int(version))
        return ObjectList(tuple((c.key.uid, summarise(c)) for c in listed.items), version)

    async def current_version(self, namespace: str) -> int:
        return max([1, *map(version_of, self.changes)])

    def _listing(self, version: int) -> ObjectList[Conversion]:
        known = tuple(
            c.object for c in self.changes if c.object is not None and version_of(c) <= version
        )
        return ObjectList(known, str(version))

    async def watch(
        self, namespace: str, version: str, opened: Callable[[], None] = lambda: None
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


def pool(cluster: Any) -> FeedPool:
    return FeedPool(cluster, Stores(cluster))


def version_of(change: WatchEvent[Conversion]) -> int:
    return int(change.version)


def log_of(feeds: FeedPool, cursor: int) -> EventLog:
    return feeds.log(N, cursor, EventLog(0))


async def until_version(feeds: FeedPool, version: int) -> None:
    async with asyncio.timeout(20):
        while (known := log_of(feeds, version)).version < version:
            await known.next_change()


def versions(feeds: FeedPool, cursor: int) -> list[int]:
    return [entry.version for entry in log_of(feeds, cursor).events_after(cursor)]


async def test_the_log_is_bounded_and_who_is_too_slow_is_told_so() -> None:
    cluster: Any = Cluster()
    feeds = pool(cluster)
    async with feeds.listening(N):
        assert (await feeds.start_point(N, None)).cursor == 1
        count = event_log.LOG_BYTES // 2000 + 100
        for version in range(2, count):
            await cluster.write(version, "x" * 2000)
        await until_version(feeds, count - 1)
        with pytest.raises(CursorTooOld):
            log_of(feeds, 1)
        start = log_of(feeds, count - 1).start_version
        assert 1 < start < count - 2
        assert versions(feeds, start) == list(range(start + 1, count)), "without a gap"
        size = sum(len(entry.block) for entry in log_of(feeds, start).events_after(0))
        assert event_log.LOG_BYTES - 3000 < size <= event_log.LOG_BYTES
    await cluster.write(count, "x" * 2000)
    await until_version(feeds, count)
    assert len(versions(feeds, count - 1)) == 1
    log = log_of(feeds, count)
    assert sum(len(entry.block) for entry in log.events_after(0)) <= event_log.IDLE_LOG_BYTES


async def test_who_comes_from_before_the_start_brings_a_watch_that_becomes_one_with_it() -> None:
    cluster: Any = Cluster()
    for version in (2, 3, 4):
        await cluster.write(version)
    feeds = pool(cluster)
    async with feeds.listening(N):
        assert (await feeds.start_point(N, None)).cursor == 4
        start = await feeds.start_point(N, 2)
        assert (start.cursor, start.records) == (2, None)
        await until_version(feeds, 2)
        async with asyncio.timeout(20):
            while versions(feeds, 2) != [3, 4]:
                await log_of(feeds, 2).next_change()
        await cluster.write(5)
        await until_version(feeds, 5)
        assert versions(feeds, 2) == [3, 4, 5]
        assert versions(feeds, 4) == [5]
        assert log_of(feeds, 5).start_version == 2
        assert cluster.watching == 1
    assert not feeds._feeds.get(N)


async def test_those_who_come_together_share_a_list() -> None:
    asked = 0

    class Slow(Cluster):
        async def list_all(self, namespace: str, parse: object) -> ObjectList[Listed]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return await super().list_all(namespace, parse)

    cluster: Any = Slow()
    feeds = pool(cluster)
    async with feeds.listening(N):
        starts = await asyncio.gather(*(feeds.start_point(N, None) for _ in range(50)))
        assert {start.cursor for start in starts} == {1}
        assert asked == 1


async def test_a_replica_that_is_ahead_of_this_one_needs_no_list() -> None:
    """As when a listener moves from a replica whose watch has just told more."""
    cluster: Any = Cluster()
    feeds = pool(cluster)
    async with feeds.listening(N):
        assert (await feeds.start_point(N, None)).cursor == 1
        await asyncio.sleep(0)
        await cluster.write(7)
        start = await feeds.start_point(N, 7)
        assert (start.cursor, start.records) == (7, None)
        assert (await feeds.start_point(N, 8)).records is not None, "never a version"
        await cluster.write(9)
        await until_version(feeds, 9)
        assert versions(feeds, 7) == [9]
        assert not feeds._feeds.get(N)


@pytest.mark.parametrize(
    "error", [Expired("too old"), Rejected("no right", 403), RuntimeError("a fault of ours")]
)
async def test_a_feed_that_cannot_catch_up_ends(error: Exception) -> None:
    """Listeners then get the current state."""

    class Failing(Cluster):
        async def watch(
            self, namespace: str, version: str, opened: Callable[[], None] = lambda: None
        ) -> AsyncGenerator[WatchEvent[Conversion]]:
            if version == "2":
                raise error
            async for event in super().watch(namespace, version):
                yield event

    cluster: Any = Failing()
    for version in (2, 3):
        await cluster.write(version)
    feeds = pool(cluster)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "_FIRST_DELAY_SECONDS", 0.01)
        patch.setattr(feed, "_LONGEST_DELAY_SECONDS", 0.01)
        async with feeds.listening(N):
            assert (await feeds.start_point(N, 2)).records is None
            await asyncio.wait_for(asyncio.shield(log_of(feeds, 2).next_change()), 20)
            with pytest.raises(CursorTooOld):
                log_of(feeds, 2)
            assert log_of(feeds, 3).alive, "others are not disturbed"


async def test_listeners_that_come_together_share_the_state_and_lose_no_event() -> None:
    """A slow listener keeps its state for long, so 256 of them must not have 256 copies."""
    cluster: Any = Cluster()
    await cluster.write(2)
    feeds = pool(cluster)
    async with feeds.listening(N):
        first = await feeds.start_point(N, None)
        await cluster.write(3)
        await until_version(feeds, 3)
        second = await feeds.start_point(N, None)
        assert second is first
        log = feeds.log(N, second.cursor, second.log)
        assert [entry.version for entry in log.events_after(second.cursor)] == [3]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(feed, "_SHARED_SECONDS", 0.0)
            assert (await feeds.start_point(N, None)).cursor == 3
        assert (await feeds.start_point(N, None, ended=False)).records == ()
        one = await feeds.start_point(N, None, "j3")
        assert [record.name for record in one.records or ()] == ["j3"]
    assert not feeds._snapshots


def repair(store: Store, version: int) -> None:
    """The watch has reached ``version``, but it has lost an event."""
    store.begin_audit()
    store.apply(WatchEvent("BOOKMARK", str(version)))
    lost = record_of(conversion({"phase": "Failed"}, name="lost", rv=version - 1))
    listed = (*store.records(), lost)
    assert not store.audit(ObjectList(listed, str(version)))


async def test_listeners_get_the_state_again_after_an_event_that_the_watch_lost() -> None:
    """Their cursor is newer than the event, so no log says that they lack it."""
    cluster: Any = Cluster()
    await cluster.write(2)
    feeds = pool(cluster)
    stores = feeds._stores
    async with feeds.listening(N):
        start = await feeds.start_point(N, None)
        store = await stores.current(N)
        repair(store, 9)
        with pytest.raises(CursorTooOld):
            feeds.log(N, 9, start.log)
        again = await feeds.start_point(N, None)
        assert [record.name for record in again.records or ()] == ["j2", "lost"]
        assert feeds.log(N, again.cursor, again.log) is store.log
        for cursor in (2, 9):
            resumed = await feeds.start_point(N, cursor)
            assert resumed.records is not None, "also one that has left in between"


async def test_listeners_get_the_state_again_after_a_backup_was_restored() -> None:
    """Versions go back, so a cursor of before would be ahead of all events."""
    cluster: Any = Cluster()
    await cluster.write(100)
    feeds = pool(cluster)
    async with feeds.listening(N):
        start = await feeds.start_point(N, None)
        store = await feeds._stores.current(N)
        store.replace(ObjectList((), "50"))
        with pytest.raises(CursorTooOld):
            feeds.log(N, start.cursor, start.log)


async def test_feeds_that_have_ended_are_forgotten_and_others_are_few() -> None:
    """Each has a summary of all conversions, and listeners never all leave."""

    class Silent(Cluster):
        """The watches of feeds tell nothing, so no feed catches up."""

        async def watch(
            self, namespace: str, version: str, opened: Callable[[], None] = lambda: None
        ) -> AsyncGenerator[WatchEvent[Conversion]]:
            if int(version) < 20:
                await asyncio.Event().wait()
            opened()
            async for event in super().watch(namespace, version):
                yield event

    cluster: Any = Silent()
    await cluster.write(20)
    feeds = pool(cluster)
    async with feeds.listening(N):
        for last in range(19, 9, -1):
            await feeds.start_point(N, last)
        assert len(feeds._feeds[N]) == feed._MAX_FEEDS
        for one in feeds._feeds[N]:
            one.stop()
        assert (await feeds.start_point(N, 5)).records is None
        assert len(feeds._feeds[N]) == 1
