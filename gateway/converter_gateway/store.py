"""What a replica knows about the ConversionJobs of one namespace. No I/O.

Everything in it comes from the API server: from a list, from the watch that follows the list, or
from the response to a request of this replica. ``version`` is the resourceVersion up to which the
watch has told everything. An object that this replica has written or read may be newer. It is then
visible at once, and older watch events do not replace it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway import events
from converter_gateway.content_index import ContentIndex
from converter_gateway.estimates import UNKNOWN, Estimate
from converter_gateway.event_log import IDLE_LOG_BYTES, LOG_BYTES, Entry, EventLog
from converter_gateway.listing import Listing
from converter_gateway.outlook import Outlook
from converter_gateway.records import ContentPart, Place, Record, record_of
from converter_gateway.waiting import SHARED, Waiting


class Store:
    """The records of one namespace, in the order of the queue, with counts.

    It is empty until the first :meth:`replace`: callers must not take this for an empty namespace.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.version = 0
        self._now = now
        self._outlook = Outlook()
        self.log = EventLog(0)
        self._listeners = 0
        self._records: dict[str, Record] = {}
        self._waiting = Waiting(self._records.get)
        # By name, what the watch has told last about an object of which the store has a newer
        # version. None: the watch has told nothing.
        self._ahead: dict[str, Record | None] = {}
        self._waiters: WeakValueDictionary[str, asyncio.Future[None]] = WeakValueDictionary()
        # The names of objects that were deleted during an audit. None while there is no audit.
        self._deleted: set[str] | None = None
        # By name, what this replica has written while the first list is in progress. None: there
        # is no list in progress, so the next one will have it.
        self._early: dict[str, Record] | None = None
        # The version of the last list that agreed with the store, or replaced it.
        self._sure = 0
        # Listeners with a cursor from the first to the second version may have missed an event.
        self._missed = (0, 0)
        self._clear()

    def _clear(self) -> None:
        self._records.clear()
        self._ahead.clear()
        self._outlook.clear()
        self._unfinished: dict[str, Record] = {}
        self._waiting.clear()
        self.phases: Counter[Phase] = Counter()
        self.succeeded_seconds, self.succeeded_timed = 0.0, 0
        self.contents = ContentIndex()
        self.listing = Listing()

    # Reading

    def __len__(self) -> int:
        return len(self._records)

    def get(self, name: str) -> Record | None:
        """The record of a ConversionJob. None if the store has none: it may still exist."""
        return self._records.get(name)

    def records(self) -> tuple[Record, ...]:
        """All records. Visits all objects."""
        return tuple(self._records.values())

    def unfinished(self) -> tuple[Record, ...]:
        """The records of the conversions that have not ended. Visits these."""
        return tuple(self._unfinished.values())

    def told(self, *, ended: bool) -> tuple[Record, ...]:
        """The records as the watch has told them: what the log continues.

        The one that changed last is at the end. Without ``ended``, leaves out conversions that
        have ended, and does not visit them. Runs at most once a second for each namespace.
        """
        told = (self._records if ended else self._unfinished) | self._ahead
        chosen = (r for r in told.values() if r is not None and (ended or not r.finished))
        return tuple(sorted(chosen, key=lambda record: record.version))

    def told_of(self, name: str) -> Record | None:
        """One record as the watch has told it. None if it has told none."""
        return self._ahead[name] if name in self._ahead else self._records.get(name)

    def position(self, name: str) -> int | None:
        """The position in its ConversionQueue, from 1. None if the conversion does not wait."""
        record = self._records.get(name)
        if record is None or record.place is None:
            return None
        return self._waiting.position(record.place)

    def reason(self, record: Record) -> str | None:
        """Why a conversion waits, which may be newer than its status. None if it does not wait.

        ``record`` may be newer than that of the store.
        """
        known = self._records.get(record.name)
        if record.place is None or known is None or known.uid != record.uid:
            return None
        return self._waiting.reason(record.place)

    def queue(self) -> Iterator[tuple[int, str, Place]]:
        """The positions, names and places of all conversions that wait, queue by queue."""
        for position, name in self._waiting:
            place = self._records[name].place
            if place is not None:
                yield position, name, replace(place, reason=self._waiting.reason(place))

    def positions(self) -> dict[str, int]:
        """The position of each conversion that waits, by name. Visits these."""
        return {name: position for position, name in self._waiting}

    def estimate(self, name: str, uid: str | None = None) -> Estimate:
        """When a conversion starts and ends, about. Unknown if the store does not have it."""
        if (record := self._records.get(name)) is None or uid not in (None, record.uid):
            return UNKNOWN
        place = record.place
        if place and self._waiting.reason(place) in SHARED:
            return UNKNOWN
        names = self._waiting.names(place.queue) if place else iter(())
        waiting = (self._records[one] for one in names)
        return self._outlook.estimate(record, self.position(name), waiting, self._now().timestamp())

    def content(self, content_id: str) -> list[tuple[Record, ContentPart]]:
        """The ConversionJobs of a content."""
        found = (self._records[name] for name in self.contents.of(content_id))
        return [(record, record.content) for record in found if record.content]

    def change_of(self, name: str) -> asyncio.Future[None]:
        """A future that is done after the next change of this ConversionJob.

        Callers share it, must keep a reference to it, and never cancel it.
        """
        future = self._waiters.get(name)
        if future is None or future.done():
            future = self._waiters[name] = asyncio.get_running_loop().create_future()
        return future

    # Listeners

    @property
    def has_listeners(self) -> bool:
        """True while somebody reads the log."""
        return self._listeners > 0

    def listen(self, change: int) -> None:
        """``change`` more listeners read the log. With listeners, more of it is kept."""
        self._listeners += change
        self.log.limit = LOG_BYTES if self._listeners else IDLE_LOG_BYTES

    def may_have_missed(self, cursor: int) -> bool:
        """True if the watch lost an event that a listener at this cursor may not have got."""
        first, last = self._missed
        return first <= cursor <= last

    # Lists

    def begin_list(self) -> None:
        """A list is requested to replace the store with it."""
        self._early = {}

    def replace(self, objects: ObjectList[Record]) -> None:
        """Take a list from which the watch starts. Listeners must get the current state again.

        Visits all objects: at the start, and when a watch cannot go on where it was.
        """
        version = int(objects.version)
        # Versions go back when etcd is restored from a backup. Then nothing is newer than the list.
        went_back = version < self.version
        newer = [
            record
            for name in self._ahead
            if (record := self._records[name]).version > version and not went_back
        ]
        newer += (r for r in (self._early or {}).values() if r.version > version)
        self._early = None
        self._clear()
        for record in objects.items:
            self._put(record, queued=False)
        for record in newer:
            self._ahead[record.name] = self._records.get(record.name)
            self._put(record, queued=False)
        self._waiting.add_all(self._records.values())
        self.listing.rebuild(self._records.values())
        self._deleted = None
        self.version = self._sure = version
        # The cursors of an earlier history may be valid numbers, but mean something else.
        self._restart_log(complete=not went_back)
        self._outlook.learn_all(self._records.values())
        for name in list(self._waiters):
            self._wake(name)

    def begin_audit(self) -> None:
        """A list is requested to compare the store with it."""
        self._deleted = set()

    def audit(self, objects: ObjectList[Record]) -> bool:
        """Compare with a list whose version the watch has reached. True if nothing was missed.

        Otherwise, repairs the store. Listeners then get the current state again, because the log
        misses events, too. Visits all objects, once for each list.
        """
        version, deleted = int(objects.version), self._deleted or set()
        self._deleted = None
        listed = {record.name: record for record in objects.items}
        missed = {
            name
            for name in self._ahead
            if self._records[name].version <= version and name in listed
        }
        for name, record in listed.items():
            known = self._records.get(name)
            if (known is None and name not in deleted) or (
                known and known.version < record.version
            ):
                missed.add(name)
                self._put(record)
        for name, known in list(self._records.items()):
            if known.version <= version and name not in listed:
                missed.add(name)
                self._delete(name)
        for name in missed:
            self._ahead.pop(name, None)
            self._wake(name)
        if missed:
            self._missed = (self._sure, self.version)
            self._restart_log(complete=False)
        self._sure = version
        return not missed

    # Single objects

    def apply(self, event: WatchEvent[Conversion]) -> None:
        """Take a watch event. One that the watch repeats changes nothing."""
        version = int(event.version)
        if version <= self.version:
            return
        if event.object is not None:
            self._apply(event.object, version, deleted=event.type == "DELETED")
        self.version = version
        self.log.advance(version)

    def take(self, conversion: Conversion) -> Record:
        """Take an object from the response to a request of this replica.

        It is ignored if the watch has already told what happened until then: the object may be
        deleted now. Before the first list it is not visible, because other objects are not either.
        """
        record = record_of(conversion)
        known = self._records.get(record.name)
        if known is not None and known.version >= record.version:
            return known
        if self._early is not None and not self.version:
            self._early[record.name] = record
        if record.version > self.version > 0:
            self._ahead.setdefault(record.name, known)
            self._put(record)
            self._wake(record.name)
        return record

    def _apply(self, conversion: Conversion, version: int, *, deleted: bool) -> None:
        record = record_of(conversion)
        name, known = record.name, self._records.get(record.name)
        before = self._ahead.get(name, known)  # None there: the watch has told nothing
        told = before.summary if before and before.uid == record.uid else None
        event = events.event_of(told, conversion, deleted=deleted)
        if deleted and self._deleted is not None:
            self._deleted.add(name)
        if known is not None and known.version > version:
            if name in self._ahead:
                self._ahead[name] = None if deleted else record
        else:
            self._ahead.pop(name, None)
            if deleted:
                self._delete(name)
            else:
                self._put(record)
            self._wake(name)
        if event is not None:
            block = events.encode(event, version, self.estimate(name, record.uid))
            self.log.append(Entry(version, name, block))

    def _restart_log(self, *, complete: bool) -> None:
        self.log.end(complete=complete)
        self.log = EventLog(self.version, LOG_BYTES if self._listeners else IDLE_LOG_BYTES)

    def _wake(self, name: str) -> None:
        future = self._waiters.get(name)
        if future is not None and not future.done():
            future.set_result(None)

    # The indexes

    def _put(self, record: Record, *, queued: bool = True) -> None:
        """Add or replace a record. Without ``queued``, the caller sorts the queue afterwards."""
        known = self._records.get(record.name)
        if record.place and known is not None and known.uid == record.uid:
            record = replace(record, place=record.place.after(known.place))
        if queued:
            self._outlook.learn(known, record)
            self.listing.move(known, record)
        self._remove(record.name, queued=queued)
        self._records[record.name] = record
        if not record.finished:
            self._unfinished[record.name] = record
        self._count(record, 1)
        if record.place and queued:
            self._waiting.add(record.place)
        if record.content:
            self.contents.add(record.name, record.content)

    def _delete(self, name: str) -> None:
        self.listing.move(self._records.get(name), None)
        self._remove(name)

    def _remove(self, name: str, *, queued: bool = True) -> None:
        """Remove a record from all but the listing."""
        record = self._records.pop(name, None)
        if record is None:
            return
        self._unfinished.pop(name, None)
        self._count(record, -1)
        if record.place and queued:
            self._waiting.remove(record.place)
        if record.content:
            self.contents.remove(name, record.content)

    def _count(self, record: Record, change: int) -> None:
        self.phases[record.phase] += change
        self._outlook.count(record, change)
        if record.seconds is not None:
            self.succeeded_seconds += change * record.seconds
            self.succeeded_timed += change
