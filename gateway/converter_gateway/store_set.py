"""The stores that one list and one watch keep current: of one namespace, or of all. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway.records import Record
from converter_gateway.store import Store


class Listed(NamedTuple):
    """A ConversionJob of a list."""

    namespace: str
    record: Record


class StoreSet:
    """Stores by namespace. ``version`` is the version up to which the watch has told everything.

    Each store has a version of its own, that of the last event of its namespace or of the last
    bookmark. So a change in one namespace costs the others nothing.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.version = 0
        self._now = now
        self._stores: dict[str, Store] = {}
        self._lists = False
        self._change: asyncio.Future[None] | None = None

    def __iter__(self) -> Iterator[Store]:
        return iter(self._stores.values())

    def of(self, namespace: str) -> Store:
        """The store of a namespace. It is empty if no list has shown an object there."""
        store = self._stores.get(namespace)
        if store is None:
            store = self._stores[namespace] = Store(self._now)
            if self.version:
                store.replace(ObjectList((), str(self.version)))
            if self._lists:
                store.begin_list()
        return store

    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that have a store."""
        return tuple(self._stores)

    def find(self, namespace: str, name: str) -> Record | None:
        """The record of a ConversionJob. None if no store has it. Makes no store."""
        store = self._stores.get(namespace)
        return store.get(name) if store else None

    @property
    def has_listeners(self) -> bool:
        """True while somebody reads a log. Visits the namespaces."""
        return any(store.has_listeners for store in self)

    def next_change(self) -> asyncio.Future[None]:
        """A future that is done after the next event. Callers share and never cancel it."""
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        return self._change

    def end(self) -> None:
        """The stores get no more events."""
        for store in self:
            store.log.end()

    def begin_list(self) -> None:
        """A list is requested to replace the stores with it."""
        self._lists = True
        for store in self:
            store.begin_list()

    def replace(self, objects: ObjectList[Listed]) -> None:
        """Take a list from which the watch starts. Visits all objects."""
        self.version, self._lists = int(objects.version), False
        for namespace, found in self._by_namespace(objects).items():
            self.of(namespace).replace(found)

    def apply(self, event: WatchEvent[Conversion]) -> None:
        """Take a watch event. A bookmark is about all stores: visits the namespaces."""
        if event.object is not None:
            self.of(event.object.key.namespace).apply(event)
        else:
            for store in self:
                store.apply(event)
        self.version = max(self.version, int(event.version))
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def begin_audit(self) -> None:
        """A list is requested to compare the stores with it."""
        for store in self:
            store.begin_audit()

    def audit(self, objects: ObjectList[Listed]) -> list[str]:
        """Compare with a list, when the watch has reached its version.

        Returns the namespaces that have missed something. Visits all objects, once for each list,
        and drops the stores of namespaces in which nothing is left.
        """
        lists = self._by_namespace(objects)
        missed = [name for name, found in lists.items() if not self.of(name).audit(found)]
        for name, store in list(self._stores.items()):
            if not len(store) and not store.has_listeners:
                store.log.end()
                del self._stores[name]
        return missed

    def _by_namespace(self, objects: ObjectList[Listed]) -> dict[str, ObjectList[Record]]:
        """The list of each namespace that has a store or objects."""
        found: dict[str, list[Record]] = {name: [] for name in self._stores}
        for namespace, record in objects.items:
            found.setdefault(namespace, []).append(record)
        return {
            name: ObjectList(tuple(records), objects.version) for name, records in found.items()
        }
