"""Gives each listener the log that has all stream events after its cursor.

Usually this is the log of the store. If a listener resumes from before the start of this log, the
replica lists the ConversionJobs as they were at the cursor, and watches from there, until it has
caught up with the store. The older events then become a part of the store's log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.conversions import Conversion, ConversionClient, parse_conversion
from conversion_operator.cluster.errors import ClusterError, Expired, Unavailable
from conversion_operator.cluster.objects import Body, ObjectList, WatchEvent
from converter_gateway import events
from converter_gateway.estimates import Estimate
from converter_gateway.event_log import LOG_BYTES, Entry, EventLog
from converter_gateway.events import Summary
from converter_gateway.records import Record
from converter_gateway.store import Store
from converter_gateway.stores import Stores

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0
_SHARED_SECONDS: Final = 1.0
_MAX_FEEDS: Final = 4
"""How many feeds of one namespace may catch up at the same time. Each knows all conversions."""

logger = logging.getLogger(__name__)


class CursorTooOld(Exception):
    """No log has all events after a cursor. The listener needs the current state."""


class Feed:
    """A watch that catches up from ``known``: a list of uids with their summaries.

    The feed calls ``on_advance`` after each watch event. ``estimate`` gives the estimate for a
    name and a uid, as of now.
    """

    def __init__(
        self,
        cluster: ConversionClient,
        namespace: str,
        known: ObjectList[tuple[str, Summary]],
        on_advance: Callable[[Feed], None],
        estimate: Callable[[str, str], Estimate],
    ) -> None:
        self.log = EventLog(int(known.version), LOG_BYTES)
        self.namespace = namespace
        self._cluster, self._on_advance, self._estimate = cluster, on_advance, estimate
        self._known = dict(known.items)
        self._task = cluster.start(self._run())

    def stop(self) -> None:
        """End the watch and wake the listeners."""
        self.log.end()
        self._task.cancel()

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
            # Listeners then start again, which may fail in the same way. Wait first.
            logger.exception("a feed of stream events failed")
            await asyncio.sleep(_LONGEST_DELAY_SECONDS)
        finally:
            self._known.clear()
            self.log.end()

    async def _watch(self) -> None:
        watched = self._cluster.watch(self.namespace, str(self.log.version))
        async with aclosing(watched):
            async for event in watched:
                self._apply(event)

    def _apply(self, event: WatchEvent[Conversion]) -> None:
        version = int(event.version)
        if version <= self.log.version:
            return  # the log has it already: listeners must not get the same id twice
        if event.object is not None:
            self._append(event.object, version, deleted=event.type == "DELETED")
        self.log.advance(version)
        self._on_advance(self)

    def _append(self, conversion: Conversion, version: int, *, deleted: bool) -> None:
        uid = conversion.key.uid
        before = self._known.pop(uid, None)
        event = events.event_of(before, conversion, deleted=deleted)
        if not deleted:
            self._known[uid] = events.summarise(conversion)
        if event is not None:
            name = conversion.key.name
            block = events.encode(event, version, self._estimate(name, uid))
            self.log.append(Entry(version, name, block))


@dataclass(frozen=True, slots=True)
class StartPoint:
    """Where a listener starts: after ``cursor``, with ``log``.

    The listener first gets the state of ``records``, the one that changed last at the end. None: it
    needs no current state.
    """

    cursor: int
    log: EventLog
    records: tuple[Record, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A start point with the state, and when it was taken."""

    taken_at: float
    start: StartPoint


class FeedPool:
    """The logs of all namespaces that have listeners."""

    def __init__(self, cluster: ConversionClient, stores: Stores) -> None:
        self._cluster, self._stores = cluster, stores
        self._feeds: dict[str, list[Feed]] = {}
        # By namespace, and whether they have the conversions that have ended.
        self._snapshots: dict[tuple[str, bool], _Snapshot] = {}

    @asynccontextmanager
    async def listening(self, namespace: str) -> AsyncIterator[None]:
        """Keep the logs of the namespace while a listener is in this context."""
        store = self._stores.watch(namespace).store
        store.listen(1)
        try:
            yield
        finally:
            store.listen(-1)
            self._stores.watch(namespace)  # it was used until now
            if not store.has_listeners:
                for feed in self._feeds.pop(namespace, ()):
                    feed.stop()
                for ended in (False, True):
                    self._snapshots.pop((namespace, ended), None)

    async def start_point(
        self, namespace: str, last: int | None, job_id: str | None = None, *, ended: bool = True
    ) -> StartPoint:
        """Where a listener starts: after version ``last`` if possible, else at the current state.

        The state is that of ``job_id``, None: of all conversions, without ``ended`` only of those
        that have not ended. Raises ApiError or a ClusterError.
        """
        store = await self._stores.current(namespace)
        if last is not None and await self._can_resume(namespace, last):
            log = self._find_log(namespace, last)
            if log is not None:
                return StartPoint(last, log)
        if job_id is None:
            return self._shared_state(namespace, store, ended=ended)
        record = store.told_of(job_id)
        return StartPoint(store.version, store.log, (record,) if record else ())

    def _shared_state(self, namespace: str, store: Store, *, ended: bool) -> StartPoint:
        """The state of a namespace. Listeners that come within a second share it.

        Many may come at once, and a slow one keeps its state until it has read it. The state may
        be a second old, because the log continues it.
        """
        now, known = time.monotonic(), self._snapshots.get((namespace, ended))
        if (
            known is not None
            and known.start.log is store.log
            and store.log.start_version <= known.start.cursor
            and now - known.taken_at < _SHARED_SECONDS
        ):
            return known.start
        start = StartPoint(store.version, store.log, store.told(ended=ended))
        self._snapshots[namespace, ended] = _Snapshot(now, start)
        return start

    def estimate(self, namespace: str, name: str, uid: str) -> Estimate:
        """When a conversion starts and ends, about, as far as the store knows now."""
        return self._stores.watch(namespace).store.estimate(name, uid)

    async def exists(self, namespace: str, job_id: str) -> bool:
        """True if the conversion exists. Raises a ClusterError."""
        return await self._stores.find(namespace, job_id) is not None

    def log(self, namespace: str, cursor: int, previous: EventLog) -> EventLog:
        """The log that has all events after ``cursor``. Raises CursorTooOld.

        ``previous`` is the log that the listener has read until now.
        """
        log = self._find_log(namespace, cursor)
        if log is None or not previous.complete:
            raise CursorTooOld
        return log

    def _find_log(self, namespace: str, cursor: int) -> EventLog | None:
        logs = [log for log in self._logs(namespace) if log.alive and log.start_version <= cursor]
        return max(logs, key=lambda log: log.start_version, default=None)

    def _logs(self, namespace: str) -> list[EventLog]:
        feeds = self._feeds.get(namespace, ())
        return [self._stores.watch(namespace).store.log, *(feed.log for feed in feeds)]

    async def _can_resume(self, namespace: str, last: int) -> bool:
        """True if a log has the events after ``last``. Starts a feed if necessary."""
        if self._stores.watch(namespace).store.may_have_missed(last):
            return False
        log = self._find_log(namespace, last)
        try:
            if log is None:
                if len(self._live_feeds(namespace)) >= _MAX_FEEDS:
                    return False
                known = await self._cluster.list_at(namespace, str(last), _summarise)
                if self._find_log(namespace, last) is None:
                    estimate = partial(self.estimate, namespace)
                    feed = Feed(self._cluster, namespace, known, self._merge, estimate)
                    self._feeds.setdefault(namespace, []).append(feed)
            elif last > log.version:
                # Another replica may be ahead of this one. Or it was never a version of the server.
                return last <= await self._cluster.current_version(namespace)
        except ClusterError as error:
            # The version is too old, or was never a version of this cluster. API servers return
            # different errors for this.
            logger.info("cannot resume after version %d: %s", last, error)
            return False
        return True

    def _live_feeds(self, namespace: str) -> list[Feed]:
        """The feeds that have not ended. Forgets the others."""
        feeds = self._feeds.setdefault(namespace, [])
        feeds[:] = (feed for feed in feeds if feed.log.alive)
        return feeds

    def _merge(self, feed: Feed) -> None:
        """Merge ``feed`` into a newer log if it has caught up with the start of the newer one."""
        feeds = self._feeds.get(feed.namespace, [])
        for other in self._logs(feed.namespace):
            caught_up = feed.log.start_version <= other.start_version <= feed.log.version
            if other is not feed.log and other.alive and caught_up:
                other.prepend(feed.log)
                feeds.remove(feed)
                feed.stop()
                return


def _summarise(body: Body) -> tuple[str, Summary]:
    conversion = parse_conversion(body)
    return conversion.key.uid, events.summarise(conversion)
