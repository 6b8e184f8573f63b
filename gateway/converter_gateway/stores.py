"""Keeps one store for each namespace that callers ask about.

Each namespace has one list and one watch. If the operator serves all namespaces, and the API server
allows it, one list and one watch feed the stores of all of them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain
from typing import Final

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.conversions import Conversion, ConversionClient
from conversion_operator.cluster.errors import ClusterError, NotFound, Rejected
from converter_gateway.errors import ApiError
from converter_gateway.records import Record
from converter_gateway.store import Store
from converter_gateway.store_watch import PATIENCE_SECONDS, StoreWatch

_SHORT_PATIENCE_SECONDS: Final = 1.0
"""How long a request waits for a store if it can ask the API server for one object instead."""
_UNUSED_SECONDS: Final = 600.0
_UNUSED_FAILING_SECONDS: Final = 120.0
"""The same for a store that is not current, such as that of a namespace that nobody serves."""
_MAX_STORES: Final = 1000
"""Whoever may read all namespaces can name any number of them, also ones that do not exist."""
_LISTS_AT_ONCE: Final = 4
# A job id becomes part of a URL of the API server. It must not change the rest of the URL.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class NamespaceStore:
    """The store of one namespace, with the watch that keeps it current, alone or with others."""

    def __init__(self, watch: StoreWatch, namespace: str) -> None:
        self._watch, self._namespace = watch, namespace

    @property
    def with_others(self) -> bool:
        """True if the watch is one of all namespaces."""
        return self._watch.namespace == ALL_NAMESPACES

    @property
    def store(self) -> Store:
        """What is known of the namespace."""
        return self._watch.stores.of(self._namespace)

    @property
    def is_current(self) -> bool:
        """True if the first list was answered, and the watch has not failed since."""
        return self._watch.is_current

    async def current(self, patience: float = PATIENCE_SECONDS) -> Store:
        """The store, when it is current. Raises ApiError or a ClusterError that says why it is not.

        Waits for the outcome of the next try, at most ``patience`` seconds.
        """
        await self._watch.wait_until_current(patience)
        return self.store


class Stores:
    """The stores of a replica. They open when they are first needed, and close when unused."""

    def __init__(
        self, cluster: ConversionClient, configured: Callable[[], Collection[str]] = tuple
    ) -> None:
        """``configured`` has the namespaces of the settings, or ALL_NAMESPACES.

        Their stores stay open.
        """
        self._cluster, self._configured = cluster, configured
        self._watches: dict[str, StoreWatch] = {}
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._first_tries: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def open_configured(self) -> None:
        """Open the stores of the settings before anybody asks for them."""
        self._first_tries = [self._open(namespace).outcome for namespace in self._configured()]

    @property
    def has_tried(self) -> bool:
        """True if each store of the settings is current, or has failed to become so."""
        return all(tried.done() for tried in self._first_tries)

    async def first_tries(self) -> None:
        """Wait until :attr:`has_tried`."""
        if self._first_tries:
            await asyncio.wait(self._first_tries)

    def watch(self, namespace: str) -> NamespaceStore:
        """The store of a namespace and its watch. Opens it if necessary.

        The caller has checked that somebody who asks for the namespace may do so.
        """
        if ALL_NAMESPACES in self._configured():
            everywhere = self._open(ALL_NAMESPACES)
            # A namespace whose store is current stays with it until that of all is.
            alone = namespace in self._watches and self._watches[namespace].is_current
            if everywhere.is_current or not (alone or everywhere.is_refused):
                return NamespaceStore(everywhere, namespace)
        return NamespaceStore(self._open(namespace), namespace)

    def _open(self, namespace: str) -> StoreWatch:
        watch = self._watches.get(namespace)
        if watch is None:
            self._close_unused()
            if len(self._watches) >= _MAX_STORES:
                raise ApiError(503, "this replica serves too many namespaces, try again", 10)
            watch = StoreWatch(self._cluster, namespace, self._lists)
            self._watches[namespace] = watch
            self._close_later()
        watch.used_at = time.monotonic()
        return watch

    async def current(self, namespace: str) -> Store:
        """The store of a namespace. Raises ApiError or a ClusterError if it is not current."""
        watch = self.watch(namespace)
        try:
            return await watch.current()
        except Rejected:
            if not watch.with_others:
                raise
        return await self.watch(namespace).current()  # the watch of this namespace alone

    async def find(self, namespace: str, name: str) -> Record | None:
        """One ConversionJob. None if it does not exist. Raises a ClusterError.

        If the store does not have it, or is not current, asks the API server for this object: it
        may be newer than what the watch has told.
        """
        if not _NAME.fullmatch(name):
            return None
        watch = self.watch(namespace)
        with suppress(ApiError, ClusterError):
            store = await watch.current(_SHORT_PATIENCE_SECONDS)
            if known := store.get(name):
                return known
        try:
            return watch.store.take(await self._cluster.get(namespace, name))
        except NotFound:
            return None

    def take(self, conversion: Conversion) -> Record:
        """Take an object from the response to a request of this replica."""
        return self.watch(conversion.key.namespace).store.take(conversion)

    def namespaces(self) -> set[str]:
        """The namespaces of the settings, and those that this replica has a store of."""
        stores = (watch.stores.namespaces() for watch in self._watches.values())
        return {*self._configured(), *self._watches, *chain.from_iterable(stores)}

    def __iter__(self) -> Iterator[StoreWatch]:
        """All open watches, those that only callers have named included."""
        return iter(self._watches.values())

    def of_settings(self) -> Iterator[StoreWatch]:
        """The open watches of the settings, for the metrics. Visits the configured namespaces.

        The others are those that callers name. They may be refused, and callers choose how many
        there are.
        """
        found = (self._watches.get(namespace) for namespace in tuple(self._configured()))
        return filter(None, found)

    def _close_later(self) -> None:
        """Close what is unused once in _UNUSED_FAILING_SECONDS, until only configured ones stay."""
        if self._timer is None and self._watches.keys() - set(self._configured()):
            later = asyncio.get_running_loop().call_later
            self._timer = later(_UNUSED_FAILING_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._close_unused()
        self._close_later()

    def _close_unused(self) -> None:
        """Visits the namespaces, when another one is opened and by a timer."""
        configured, now = self._configured(), time.monotonic()
        for watch in list(self._watches.values()):
            kept = _UNUSED_SECONDS if watch.is_current else _UNUSED_FAILING_SECONDS
            unused = now - watch.used_at >= kept and not watch.stores.has_listeners
            if unused and watch.namespace not in configured:
                watch.stop()
                del self._watches[watch.namespace]
