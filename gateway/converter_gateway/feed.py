"""The stream events of a namespace, for any number of listeners over one watch.

A listener has a cursor: the version up to which it knows everything. It reads the later events from
a log that all listeners share, so a slow listener costs nothing. Versions are the API server's
resourceVersions, so a cursor is valid at every replica. If a replica's log does not reach back to a
cursor, it lists the ConversionJobs as they were at that version, and watches from there.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.conversions import Conversion, Conversions
from conversion_operator.cluster.errors import ClusterError, Expired, Unavailable
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway import events
from converter_gateway.events import Summary

_LOG_BYTES: Final = 1024 * 1024
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream event: its version, the conversion's name, and the encoded block."""

    version: int
    job_id: str
    block: bytes


class CursorTooOld(Exception):
    """The events after a cursor are no longer known. The listener needs the current state."""


class Feed:
    """One watch of a namespace, and the log of its stream events after version ``start``.

    It calls ``advanced`` after each watch event.
    """

    def __init__(
        self,
        cluster: Conversions,
        namespace: str,
        objects: ObjectList[Conversion],
        advanced: Callable[[Feed], None],
    ) -> None:
        self.start = self.version = int(objects.version)
        self.alive = True
        self.namespace = namespace
        self._cluster, self._advanced = cluster, advanced
        self._known = {c.key.uid: events.summarise(c) for c in objects.items}
        self._log: list[Entry] = []
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """End the watch and wake the listeners."""
        self._end()
        self._task.cancel()

    def after(self, cursor: int) -> tuple[Entry, ...]:
        """The events after ``cursor``, oldest first. ``cursor`` must not be before ``start``."""
        return tuple(self._log[bisect_right(self._log, cursor, key=lambda e: e.version) :])

    def changed(self) -> asyncio.Future[None]:
        """Done after the next watch event. All listeners share it, so never cancel it."""
        return self._changed

    def prepend(self, older: Feed) -> None:
        """Take over the log of an older feed that has caught up with this one."""
        self._log[:0] = [entry for entry in older._log if entry.version <= self.start]
        self.start = older.start
        self._trim()

    async def _run(self) -> None:
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        try:
            while True:
                try:
                    await self._watch()
                    backoff.reset()
                except Unavailable as error:
                    logger.warning("the watch for stream events broke: %s", error)
                    await asyncio.sleep(max(backoff.next(), error.retry_after or 0.0))
        except Expired:
            # If every watch expires at once, this bounds the rate of list requests.
            await asyncio.sleep(_FIRST_DELAY)
        except ClusterError as error:
            logger.error("cannot watch for stream events: %s", error)
            await asyncio.sleep(_LONGEST_DELAY)
        except Exception:
            # Listeners start a new feed at once, which may fail in the same way.
            logger.exception("a feed of stream events failed")
            await asyncio.sleep(_LONGEST_DELAY)
        finally:
            self._end()

    async def _watch(self) -> None:
        watched = self._cluster.watch(self.namespace, str(self.version))
        async with aclosing(watched):
            async for event in watched:
                self._apply(event)

    def _apply(self, event: WatchEvent[Conversion]) -> None:
        version = int(event.version)
        if version <= self.version:
            return  # already in the log: listeners must not get the same id twice
        if event.object is not None:
            self._append(event.object, version, deleted=event.type == "DELETED")
        self.version = version
        done, self._changed = self._changed, asyncio.get_running_loop().create_future()
        done.set_result(None)
        self._advanced(self)

    def _append(self, conversion: Conversion, version: int, *, deleted: bool) -> None:
        uid = conversion.key.uid
        before = self._known.pop(uid, None)
        event = events.event_of(before, conversion, deleted=deleted)
        if not deleted:
            self._known[uid] = _latest(before, conversion)
        if event is not None:
            block = events.encode(event, version)
            self._log.append(Entry(version, conversion.key.name, block))
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


def _latest(before: Summary | None, conversion: Conversion) -> Summary:
    # A conversion that has ended stays ended, whatever is written afterwards.
    if before is not None and before.phase.terminal:
        return before
    return events.summarise(conversion)


@dataclass(frozen=True, slots=True)
class StartPoint:
    """Where a listener starts: at ``cursor``, after the state of ``conversions`` if not None."""

    cursor: int
    conversions: tuple[Conversion, ...] | None = None


class FeedPool:
    """The feeds of all namespaces that have listeners.

    A namespace has one feed. It has two while an older one, for listeners that resume from before
    the first one's start, catches up.
    """

    def __init__(self, cluster: Conversions) -> None:
        self._cluster = cluster
        self._feeds: dict[str, list[Feed]] = {}
        self._listeners: dict[str, int] = {}
        self._lists: dict[tuple[str, int | None], asyncio.Task[ObjectList[Conversion]]] = {}

    @asynccontextmanager
    async def listening(self, namespace: str) -> AsyncIterator[None]:
        """Keep the feeds of the namespace as long as a listener is in this context."""
        self._listeners[namespace] = self._listeners.get(namespace, 0) + 1
        try:
            yield
        finally:
            self._listeners[namespace] -= 1
            if not self._listeners[namespace]:
                del self._listeners[namespace]
                for feed in self._feeds.pop(namespace, ()):
                    feed.stop()

    async def start(self, namespace: str, last: int | None) -> StartPoint:
        """Resume after version ``last`` if possible, else start from the current state.

        Raises ClusterError.
        """
        if last is not None:
            feed = self._reaching_back_to(namespace, last)
            if feed is not None and last <= feed.version:
                return StartPoint(last)
            try:
                self._ensure_feed(namespace, await self._list(namespace, last))
            except ClusterError as error:
                # The version is too old, of another cluster, or invented. API servers respond to it
                # with different errors. If the server is unavailable, the next list fails too.
                logger.info("cannot resume after version %d: %s", last, error)
            else:
                return StartPoint(last)
        objects = await self._list(namespace)
        self._ensure_feed(namespace, objects)
        return StartPoint(int(objects.version), objects.items)

    def feed(self, namespace: str, cursor: int) -> Feed:
        """The feed that has all events after ``cursor``. Raises CursorTooOld."""
        feed = self._reaching_back_to(namespace, cursor)
        if feed is None:
            raise CursorTooOld
        return feed

    def _reaching_back_to(self, namespace: str, cursor: int) -> Feed | None:
        feeds = [f for f in self._feeds.get(namespace, ()) if f.alive and f.start <= cursor]
        return max(feeds, key=lambda feed: feed.start, default=None)

    def _ensure_feed(self, namespace: str, objects: ObjectList[Conversion]) -> None:
        """Start a feed at the version of the list unless one reaches back to it."""
        if self._reaching_back_to(namespace, int(objects.version)) is None:
            others = [feed for feed in self._feeds.get(namespace, ()) if feed.alive]
            feed = Feed(self._cluster, namespace, objects, self._merge)
            self._feeds[namespace] = [*others, feed]

    def _merge(self, feed: Feed) -> None:
        """Merge two feeds once the older one has caught up with the start of the other."""
        for other in self._feeds.get(feed.namespace, ()):
            if other is not feed and other.alive and feed.start <= other.start <= feed.version:
                other.prepend(feed)
                feed.stop()
                return

    async def _list(self, namespace: str, version: int | None = None) -> ObjectList[Conversion]:
        """List, sharing the request with others that want the same list at the same time."""
        key = (namespace, version)
        task = self._lists.get(key)
        if task is None:
            task = self._lists[key] = asyncio.create_task(self._request(namespace, version))
            task.add_done_callback(lambda done: self._listed(key, done))
        return await asyncio.shield(task)

    async def _request(self, namespace: str, version: int | None) -> ObjectList[Conversion]:
        if version is None:
            return await self._cluster.list_all(namespace)
        return await self._cluster.list_at(namespace, str(version))

    def _listed(
        self, key: tuple[str, int | None], task: asyncio.Task[ObjectList[Conversion]]
    ) -> None:
        del self._lists[key]
        if not task.cancelled():
            task.exception()  # retrieve it: all listeners that waited may have left
