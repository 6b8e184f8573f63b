"""The log that listeners share, over a cluster made of queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from conversion_operator.cluster.errors import Expired, Refused
from conversion_operator.cluster.objects import Body, ObjectList, WatchEvent
from converter_gateway import feed
from converter_gateway.feed import Hub, Missed
from tests.unit.gateway.test_events import body

N = "n"


class Cluster:
    """One namespace: what was written, in order, for lists and watches from any version."""

    def __init__(self) -> None:
        self.changes: list[WatchEvent[Body]] = []
        self.watching = 0
        self.nobody_watches = asyncio.Event()
        self._more = asyncio.Condition()

    async def write(self, version: int, logs: str = "") -> None:
        async with self._more:
            told = body({"phase": "Failed", "logs": logs}, name=f"j{version}", rv=version)
            self.changes.append(WatchEvent("ADDED", str(version), told))
            self._more.notify_all()

    async def list_all(self, namespace: str, labels: str = "") -> ObjectList[Body]:
        return self._listing(max([1, *map(version_of, self.changes)]))

    async def list_at(self, namespace: str, version: str) -> ObjectList[Body]:
        return self._listing(int(version))

    def _listing(self, version: int) -> ObjectList[Body]:
        known = tuple(
            c.object for c in self.changes if c.object is not None and version_of(c) <= version
        )
        return ObjectList(known, str(version))

    async def watch(
        self, namespace: str, version: str, name: str = ""
    ) -> AsyncGenerator[WatchEvent[Body]]:
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


def version_of(change: WatchEvent[Body]) -> int:
    return int(change.version)


async def until_version(hub: Hub, version: int) -> None:
    async with asyncio.timeout(20):
        while (known := hub.feed(N, version)).version < version:
            await known.changed()


def versions(hub: Hub, cursor: int) -> list[int]:
    return [entry.version for entry in hub.feed(N, cursor).after(cursor)]


async def test_the_log_is_bounded_and_who_is_too_slow_is_told_so() -> None:
    cluster: Any = Cluster()
    hub = Hub(cluster)
    async with hub.listening(N):
        assert (await hub.begin(N, None)).cursor == 1
        count = feed._LOG_BYTES // 2000 + 100
        for version in range(2, count):
            await cluster.write(version, "x" * 2000)
        async with asyncio.timeout(20):
            while hub._feeds[N][0].version < count - 1:
                await hub._feeds[N][0].changed()
        with pytest.raises(Missed):
            hub.feed(N, 1)
        start = hub._feeds[N][0].start
        assert 1 < start < count - 2
        assert versions(hub, start) == list(range(start + 1, count)), "without a gap"
        log = hub._feeds[N][0]._log
        assert sum(len(entry.block) for entry in log) <= feed._LOG_BYTES


async def test_who_comes_from_before_the_start_brings_a_watch_that_becomes_one_with_it() -> None:
    cluster: Any = Cluster()
    for version in (2, 3, 4):
        await cluster.write(version)
    hub = Hub(cluster)
    async with hub.listening(N):
        assert (await hub.begin(N, None)).cursor == 4
        beginning = await hub.begin(N, 2)
        assert (beginning.cursor, beginning.bodies) == (2, None)
        await until_version(hub, 2)
        async with asyncio.timeout(20):
            while versions(hub, 2) != [3, 4]:
                await hub.feed(N, 2).changed()
        await cluster.write(5)
        await until_version(hub, 5)
        assert versions(hub, 2) == [3, 4, 5]
        assert versions(hub, 4) == [5]
        alive = [one for one in hub._feeds[N] if one.alive]
        assert [one.start for one in alive] == [2]
    assert not hub._feeds
    await asyncio.wait_for(cluster.nobody_watches.wait(), 20)


async def test_those_who_come_together_share_a_list() -> None:
    asked = 0

    class Slow(Cluster):
        async def list_all(self, namespace: str, labels: str = "") -> ObjectList[Body]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return await super().list_all(namespace, labels)

    cluster: Any = Slow()
    hub = Hub(cluster)
    async with hub.listening(N):
        beginnings = await asyncio.gather(*(hub.begin(N, None) for _ in range(50)))
        assert {beginning.cursor for beginning in beginnings} == {1}
        assert asked == 1
        assert len(hub._feeds[N]) == 1


async def test_a_watch_that_has_expired_is_not_followed_any_more() -> None:
    class Old(Cluster):
        async def watch(
            self, namespace: str, version: str, name: str = ""
        ) -> AsyncGenerator[WatchEvent[Body]]:
            raise Expired("too old")
            yield  # a generator

    cluster: Any = Old()
    hub = Hub(cluster)
    async with hub.listening(N):
        await hub.begin(N, None)
        await asyncio.wait_for(asyncio.shield(hub.feed(N, 1).changed()), 20)
        with pytest.raises(Missed):
            hub.feed(N, 1)


@pytest.mark.parametrize("error", [Refused("no right", 403), RuntimeError("a fault of ours")])
async def test_a_watch_that_fails_for_good_does_not_have_listeners_spin(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """They begin anew as soon as a feed is over, with a list each time."""

    class Failing(Cluster):
        async def watch(
            self, namespace: str, version: str, name: str = ""
        ) -> AsyncGenerator[WatchEvent[Body]]:
            self.nobody_watches.set()
            raise error
            yield  # a generator

    cluster: Any = Failing()
    hub = Hub(cluster)
    async with hub.listening(N):
        await hub.begin(N, None)
        await asyncio.wait_for(cluster.nobody_watches.wait(), 20)
        changed = hub.feed(N, 1).changed()
        await asyncio.wait({changed}, timeout=0.05)
        assert not changed.done()
        assert hub.feed(N, 1).alive
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
