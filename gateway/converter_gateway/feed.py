"""The events of a namespace, for any number of listeners over one watch.

A listener has a cursor: the version up to which it knows everything. It reads the events after
it from a log that all listeners share, so that a slow one costs nothing. Resource versions are the
API server's, so that a cursor is good at any replica: one that has no log so far back lists the
ConversionJobs as they were at that version, and watches from there on.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from conversion_operator.cluster.conversions import Conversions
from conversion_operator.cluster.errors import ClusterError, Expired, Unavailable
from conversion_operator.cluster.objects import Body, ObjectList, WatchEvent
from converter_gateway import events
from converter_gateway.events import Seen

_LOG_BYTES: Final = 1024 * 1024
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: its version, the conversion's name, and the block of the stream."""

    version: int
    job_id: str
    block: bytes


class Missed(Exception):
    """What came after a cursor is no longer known: the present state has to be sent anew."""


class Feed:
    """One watch of a namespace, and the log of what it told, from ``start`` on.

    ``advanced`` is called whenever it has learnt anything.
    """

    def __init__(
        self,
        cluster: Conversions,
        namespace: str,
        listing: ObjectList[Body],
        advanced: Callable[[Feed], None],
    ) -> None:
        self.start = self.version = int(listing.version)
        self.alive = True
        self.namespace = namespace
        self._cluster, self._advanced = cluster, advanced
        self._seen = {body["metadata"]["uid"]: events.look(body) for body in listing.items}
        self._log: list[Entry] = []
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Close the watch. Listeners are woken, and find out."""
        self._end()
        self._task.cancel()

    def after(self, cursor: int) -> tuple[Entry, ...]:
        """The events after ``cursor``, which is not before ``start``; oldest first."""
        return tuple(self._log[bisect_right(self._log, cursor, key=lambda e: e.version) :])

    def changed(self) -> asyncio.Future[None]:
        """Done as soon as there is anything new. Everybody's: wait for it, do not cancel it."""
        return self._changed

    def adopt(self, older: Feed) -> None:
        """Take over the log of a feed that began earlier and has caught up with this one."""
        self._log[:0] = [entry for entry in older._log if entry.version <= self.start]
        self.start = older.start
        self._trim()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    await self._watch()
                    pause = _FIRST_PAUSE
                except Unavailable as error:
                    logger.warning("the watch for events broke: %s", error)
                    await asyncio.sleep(max(pause, error.retry_after or 0.0))
                    pause = min(pause * 2, _LONGEST_PAUSE)
        except Expired:
            # A server that says so at every turn must not be flooded with lists.
            await asyncio.sleep(_FIRST_PAUSE)
        except ClusterError as error:
            logger.error("no watch for events: %s", error)
            await asyncio.sleep(_LONGEST_PAUSE)
        except Exception:
            # Listeners begin anew at once, and would meet the same.
            logger.exception("the feed of events failed")
            await asyncio.sleep(_LONGEST_PAUSE)
        finally:
            self._end()

    async def _watch(self) -> None:
        changes = self._cluster.watch(self.namespace, str(self.version))
        async with aclosing(changes):
            async for change in changes:
                self._apply(change)

    def _apply(self, change: WatchEvent[Body]) -> None:
        version = int(change.version)
        if version <= self.version:
            return  # told already: an event with this id must not come twice
        if change.object is not None:
            self._tell(change.object, version, deleted=change.type == "DELETED")
        self.version = version
        done, self._changed = self._changed, asyncio.get_running_loop().create_future()
        done.set_result(None)
        self._advanced(self)

    def _tell(self, body: Body, version: int, *, deleted: bool) -> None:
        meta = body["metadata"]
        before = self._seen.pop(meta["uid"], None)
        event = events.event_of(before, body, deleted=deleted)
        if not deleted:
            self._seen[meta["uid"]] = _latest(before, body)
        if event is not None:
            self._log.append(Entry(version, meta["name"], events.encode(event, version)))
            self._trim()

    def _trim(self) -> None:
        excess = sum(len(entry.block) for entry in self._log) - _LOG_BYTES
        drop = 0
        while excess > 0:
            excess -= len(self._log[drop].block)
            self.start = self._log[drop].version
            drop += 1
        del self._log[:drop]

    def _end(self) -> None:
        self.alive = False
        if not self._changed.done():
            self._changed.set_result(None)


def _latest(before: Seen | None, body: Body) -> Seen:
    # An end is remembered as such whatever is written afterwards.
    return before if before is not None and before.phase.terminal else events.look(body)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a listener begins: ``cursor``, after the present state in ``bodies`` if not None."""

    cursor: int
    bodies: tuple[Body, ...] | None = None


class Hub:
    """The feeds of all namespaces that anybody listens to.

    Of a namespace there is one, but for the time in which another catches up with it on behalf of
    listeners who go on from before its start.
    """

    def __init__(self, cluster: Conversions) -> None:
        self._cluster = cluster
        self._feeds: dict[str, list[Feed]] = {}
        self._listeners: dict[str, int] = {}
        self._lists: dict[tuple[str, int | None], asyncio.Task[ObjectList[Body]]] = {}

    @asynccontextmanager
    async def listening(self, namespace: str) -> AsyncIterator[None]:
        """Keeps the namespace's feeds while anybody is inside."""
        self._listeners[namespace] = self._listeners.get(namespace, 0) + 1
        try:
            yield
        finally:
            self._listeners[namespace] -= 1
            if not self._listeners[namespace]:
                del self._listeners[namespace]
                for feed in self._feeds.pop(namespace, ()):
                    feed.stop()

    async def begin(self, namespace: str, last: int | None) -> Beginning:
        """Go on after ``last`` if that is possible, else from the present. Raises ClusterError."""
        if last is not None:
            feed = self._reaching(namespace, last)
            if feed is not None and last <= feed.version:
                return Beginning(last)
            try:
                self._follow(namespace, await self._list(namespace, last))
            except ClusterError as error:
                # Too old, of another cluster, or made up: servers have several words for it. If
                # the server is away the list below says so.
                logger.info("no events from version %d on: %s", last, error)
            else:
                return Beginning(last)
        listing = await self._list(namespace)
        self._follow(namespace, listing)
        return Beginning(int(listing.version), listing.items)

    def feed(self, namespace: str, cursor: int) -> Feed:
        """One that knows what came after ``cursor``, as of now. Raises Missed."""
        feed = self._reaching(namespace, cursor)
        if feed is None:
            raise Missed
        return feed

    def _reaching(self, namespace: str, cursor: int) -> Feed | None:
        feeds = [f for f in self._feeds.get(namespace, ()) if f.alive and f.start <= cursor]
        return max(feeds, key=lambda feed: feed.start, default=None)

    def _follow(self, namespace: str, listing: ObjectList[Body]) -> None:
        """See to it that there is a feed that reaches back to ``listing``."""
        if self._reaching(namespace, int(listing.version)) is None:
            others = [feed for feed in self._feeds.get(namespace, ()) if feed.alive]
            feed = Feed(self._cluster, namespace, listing, self._advanced)
            self._feeds[namespace] = [*others, feed]

    def _advanced(self, feed: Feed) -> None:
        """Make one of two feeds when the older has caught up with the other's start."""
        for other in self._feeds.get(feed.namespace, ()):
            if other is not feed and other.alive and feed.start <= other.start <= feed.version:
                other.adopt(feed)
                feed.stop()
                return

    async def _list(self, namespace: str, version: int | None = None) -> ObjectList[Body]:
        """Whoever wants the same list at the same time shares one: none is too old to begin."""
        key = (namespace, version)
        task = self._lists.get(key)
        if task is None:
            task = self._lists[key] = asyncio.create_task(self._ask(namespace, version))
            task.add_done_callback(lambda done: self._listed(key, done))
        return await asyncio.shield(task)

    async def _ask(self, namespace: str, version: int | None) -> ObjectList[Body]:
        if version is None:
            return await self._cluster.list_all(namespace)
        return await self._cluster.list_at(namespace, str(version))

    def _listed(self, key: tuple[str, int | None], task: asyncio.Task[ObjectList[Body]]) -> None:
        del self._lists[key]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who waited has left
