"""Serves the stream events of a namespace to any number of listeners, with one watch.

A listener has a cursor: it has received all events up to this version. It reads later events from a
log that all listeners share, so a slow listener needs no memory of its own. Versions are the API
server's resourceVersions, so a cursor is valid at every replica. If the log of a replica starts
after a cursor, the replica lists the ConversionJobs as they were at the cursor, and watches from
there.
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
from conversion_operator.cluster.conversions import Conversion, ConversionClient
from conversion_operator.cluster.errors import ClusterError, Expired, Unavailable
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway import events
from converter_gateway.events import Summary

_LOG_BYTES: Final = 1024 * 1024
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream event: its version, the conversion's name, and the encoded block."""

    version: int
    job_id: str
    block: bytes


class CursorTooOld(Exception):
    """The log no longer has all events after a cursor. The listener needs the current state."""


class Feed:
    """One watch of a namespace, and the log of its stream events after ``start_version``.

    ``objects`` is the list to watch from. The feed calls ``on_advance`` after each watch event.
    """

    def __init__(
        self,
        cluster: ConversionClient,
        namespace: str,
        objects: ObjectList[Conversion],
        on_advance: Callable[[Feed], None],
    ) -> None:
        self.start_version = self.version = int(objects.version)
        self.alive = True
        self.namespace = namespace
        self._cluster, self._on_advance = cluster, on_advance
        self._known = {c.key.uid: events.summarise(c) for c in objects.items}
        self._log: list[Entry] = []
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """End the watch and wake the listeners."""
        self._end()
        self._task.cancel()

    def events_after(self, cursor: int) -> tuple[Entry, ...]:
        """The events after ``cursor``, oldest first. ``start_version`` is the oldest cursor."""
        return tuple(self._log[bisect_right(self._log, cursor, key=lambda e: e.version) :])

    def next_change(self) -> asyncio.Future[None]:
        """A future that is done after the next watch event. Shared: callers must not cancel it."""
        return self._changed

    def prepend(self, older: Feed) -> None:
        """Put the log of an older feed before the log of this feed. The older has caught up."""
        self._log[:0] = [entry for entry in older._log if entry.version <= self.start_version]
        self.start_version = older.start_version
        self._trim()

    async def _run(self) -> None:
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        try:
            while True:
                try:
                    await self._watch()
                    backoff.reset()
                except Unavailable as error:
                    logger.warning("the watch for stream events broke: %s", error)
                    await asyncio.sleep(max(backoff.next(), error.retry_after or 0.0))
        except Expired:
            # If every watch expires immediately, this delay limits the rate of list requests.
            await asyncio.sleep(_FIRST_DELAY_SECONDS)
        except ClusterError as error:
            logger.error("cannot watch for stream events: %s", error)
            await asyncio.sleep(_LONGEST_DELAY_SECONDS)
        except Exception:
            # Listeners then start a new feed, which may fail in the same way. Wait first.
            logger.exception("a feed of stream events failed")
            await asyncio.sleep(_LONGEST_DELAY_SECONDS)
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
            return  # the log has it already: listeners must not get the same id twice
        if event.object is not None:
            self._append(event.object, version, deleted=event.type == "DELETED")
        self.version = version
        done, self._changed = self._changed, asyncio.get_running_loop().create_future()
        done.set_result(None)
        self._on_advance(self)

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
            self.start_version = self._log[drop].version
            drop += 1
        del self._log[:drop]

    def _end(self) -> None:
        self.alive = False
        if not self._changed.done():
            self._changed.set_result(None)


def _latest(before: Summary | None, conversion: Conversion) -> Summary:
    # A later write to an ended conversion must not cause another end event.
    if before is not None and before.phase.terminal:
        return before
    return events.summarise(conversion)


@dataclass(frozen=True, slots=True)
class StartPoint:
    """Where a listener starts: after ``cursor``.

    The listener first gets the state of ``conversions``. None: it needs no current state.
    """

    cursor: int
    conversions: tuple[Conversion, ...] | None = None


class FeedPool:
    """The feeds of all namespaces that have listeners.

    A namespace usually has one feed. If a listener resumes from before the start of this feed, a
    second feed starts at the listener's cursor. The two are merged when the second has caught up.
    """

    def __init__(self, cluster: ConversionClient) -> None:
        self._cluster = cluster
        self._feeds: dict[str, list[Feed]] = {}
        self._listeners: dict[str, int] = {}
        self._lists: dict[tuple[str, int | None], asyncio.Task[ObjectList[Conversion]]] = {}

    @asynccontextmanager
    async def listening(self, namespace: str) -> AsyncIterator[None]:
        """Keep the feeds of the namespace while a listener is in this context."""
        self._listeners[namespace] = self._listeners.get(namespace, 0) + 1
        try:
            yield
        finally:
            self._listeners[namespace] -= 1
            if not self._listeners[namespace]:
                del self._listeners[namespace]
                for feed in self._feeds.pop(namespace, ()):
                    feed.stop()

    async def start_point(self, namespace: str, last: int | None) -> StartPoint:
        """Where a listener starts: after version ``last`` if possible, else at the current state.

        Starts a feed if no feed has the events after this point. Raises ClusterError.
        """
        if last is not None:
            feed = self._find_feed(namespace, last)
            if feed is not None and last <= feed.version:
                return StartPoint(last)
            try:
                self._ensure_feed(namespace, await self._list(namespace, last))
            except ClusterError as error:
                # The version is too old, or was never a version of this cluster. API servers
                # return different errors for this. If the server is unavailable, the list below
                # fails too.
                logger.info("cannot resume after version %d: %s", last, error)
            else:
                return StartPoint(last)
        objects = await self._list(namespace)
        self._ensure_feed(namespace, objects)
        return StartPoint(int(objects.version), objects.items)

    def feed(self, namespace: str, cursor: int) -> Feed:
        """The feed that has all events after ``cursor``. Raises CursorTooOld."""
        feed = self._find_feed(namespace, cursor)
        if feed is None:
            raise CursorTooOld
        return feed

    def _find_feed(self, namespace: str, cursor: int) -> Feed | None:
        feeds = [f for f in self._feeds.get(namespace, ()) if f.alive and f.start_version <= cursor]
        return max(feeds, key=lambda feed: feed.start_version, default=None)

    def _ensure_feed(self, namespace: str, objects: ObjectList[Conversion]) -> None:
        """Start a feed at the version of the list if no feed has all events after this version."""
        if self._find_feed(namespace, int(objects.version)) is None:
            others = [feed for feed in self._feeds.get(namespace, ()) if feed.alive]
            feed = Feed(self._cluster, namespace, objects, self._merge)
            self._feeds[namespace] = [*others, feed]

    def _merge(self, feed: Feed) -> None:
        """Merge ``feed`` into a newer feed if it has caught up with the start of the newer one."""
        for other in self._feeds.get(feed.namespace, ()):
            if (
                other is not feed
                and other.alive
                and feed.start_version <= other.start_version <= feed.version
            ):
                other.prepend(feed)
                feed.stop()
                return

    async def _list(self, namespace: str, version: int | None = None) -> ObjectList[Conversion]:
        """List. Simultaneous calls for the same list share one request."""
        key = (namespace, version)
        task = self._lists.get(key)
        if task is None:
            task = self._lists[key] = asyncio.create_task(self._request(namespace, version))
            task.add_done_callback(lambda done: self._end_list(key, done))
        return await asyncio.shield(task)

    async def _request(self, namespace: str, version: int | None) -> ObjectList[Conversion]:
        if version is None:
            return await self._cluster.list_all(namespace)
        return await self._cluster.list_at(namespace, str(version))

    def _end_list(
        self, key: tuple[str, int | None], task: asyncio.Task[ObjectList[Conversion]]
    ) -> None:
        del self._lists[key]
        if not task.cancelled():
            # Otherwise asyncio logs the exception if all listeners that waited have left.
            task.exception()
