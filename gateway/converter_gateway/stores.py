"""Keeps one store for each namespace that callers ask about.

Each namespace has one list and one watch. If the operator serves all namespaces, and the API server
allows it, one list and one watch feed the stores of all of them.

A list that was not answered is unknown, never empty. The watch goes on from the version that it
has reached, so it misses nothing when it breaks. Each minute, a list is compared with the store,
because no watch is perfect.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing, suppress
from itertools import chain
from typing import Final

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.conversions import (
    Conversion,
    ConversionClient,
    parse_conversion,
)
from conversion_operator.cluster.errors import (
    ClusterError,
    Expired,
    NotFound,
    Rejected,
    Unavailable,
)
from conversion_operator.cluster.objects import Body, ObjectList
from converter_gateway.errors import ApiError
from converter_gateway.records import Record, record_of
from converter_gateway.store import Store
from converter_gateway.store_set import Listed, StoreSet

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0
_SHORTEST_DELAY_SECONDS: Final = 0.2  # if a caller waits for the outcome
AUDIT_SECONDS: Final = 60.0
_AUDIT_GRACE_SECONDS: Final = 30.0
"""How long the watch may be behind a list. Bookmarks come at least as often as watches end."""
_PATIENCE_SECONDS: Final = 5.0
"""How long a request waits for a store that is not current."""
_SHORT_PATIENCE_SECONDS: Final = 1.0
"""The same for a request that can ask the API server for one object instead."""
_UNUSED_SECONDS: Final = 600.0
_UNUSED_FAILING_SECONDS: Final = 120.0
"""The same for a store that is not current, such as that of a namespace that nobody serves."""
_MAX_STORES: Final = 1000
"""Whoever may read all namespaces can name any number of them, also ones that do not exist."""
_LISTS_AT_ONCE: Final = 4
# A job id becomes part of a URL of the API server. It must not change the rest of the URL.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

logger = logging.getLogger(__name__)


class StoreWatch:
    """Keeps the store of one namespace current, or those of ALL_NAMESPACES."""

    def __init__(self, cluster: ConversionClient, namespace: str, lists: asyncio.Semaphore) -> None:
        self.namespace, self.stores = namespace, StoreSet(cluster.now)
        self._place = "all namespaces" if namespace == ALL_NAMESPACES else namespace
        self.used_at = self.heard_at = time.monotonic()
        self._cluster, self._lists = cluster, lists
        # Why the store is not current. None while it is.
        self._error: Exception | None = ApiError(
            503, f"the conversions of {self._place} are not known yet, try again", 1
        )
        self._failing = False
        self._backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        self._wanted = asyncio.Event()
        # Done after the next try to become current.
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = cluster.start(self._run())

    @property
    def is_current(self) -> bool:
        """True if the first list was answered, and the watch has not failed since."""
        return self._error is None

    @property
    def is_refused(self) -> bool:
        """True if the API server does not allow the list or the watch."""
        return isinstance(self._error, Rejected)

    async def wait_until_current(self, patience: float) -> None:
        """Return when the stores are current. Raises ApiError or a ClusterError if they are not.

        Waits for the outcome of the next try, at most ``patience`` seconds.
        """
        if self._error is not None:
            self._wanted.set()
            await asyncio.wait({self.outcome}, timeout=patience)
        if self._error is not None:
            raise self._error.with_traceback(None)

    def stop(self) -> None:
        """End the watch and the logs."""
        self._task.cancel()
        self.stores.end()

    async def _run(self) -> None:
        while True:
            try:
                await self._start()
                await self._follow()
            except ClusterError as error:
                self._fail(error)
            except Exception:
                logger.exception("the store of %s failed", self._place)
                self._fail(Unavailable("internal error"))
            await self._pause()

    async def _start(self) -> None:
        self.stores.begin_list()
        self.stores.replace(await self._list())
        self._succeed()

    async def _list(self) -> ObjectList[Listed]:
        async with self._lists:
            objects = await self._cluster.list_all(self.namespace, self._parse)
        self._heard()
        return objects

    def _parse(self, body: Body) -> Listed:
        namespace = body["metadata"]["namespace"]
        return Listed(namespace, self._record(namespace, body))

    def _record(self, namespace: str, body: Body) -> Record:
        """The record of a listed object. The known one if it has not changed."""
        meta = body["metadata"]
        known = self.stores.find(namespace, meta["name"])
        if known is None or known.uid != meta["uid"]:
            return record_of(parse_conversion(body))
        if str(known.version) == meta["resourceVersion"]:
            return known
        try:
            return record_of(parse_conversion(body))
        except (AttributeError, KeyError, TypeError, ValueError):
            logger.exception("Cannot parse an object; keeping what is known of it")
            return known  # it exists, so it must not look deleted

    async def _follow(self) -> None:
        """Watch from the version of the store on. Raises Expired if this is too old."""
        audits = self._cluster.start(self._audit_regularly())
        try:
            while True:
                begun = time.monotonic()
                try:
                    await self._watch()
                except Unavailable as error:
                    self._fail(error)
                    await self._pause()
                else:
                    self._backoff.reset()
                    if time.monotonic() - begun < _FIRST_DELAY_SECONDS:
                        await asyncio.sleep(_FIRST_DELAY_SECONDS)
        finally:
            audits.cancel()

    async def _watch(self) -> None:
        slow = Unavailable(f"the API server does not accept the watch of {self._place}")
        timer = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._fail, slow)

        def opened() -> None:
            timer.cancel()
            self._succeed()

        watched = self._cluster.watch(self.namespace, str(self.stores.version), opened)
        try:
            async with aclosing(watched):
                async for event in watched:
                    self._heard()
                    self.stores.apply(event)
        finally:
            timer.cancel()

    async def _audit_regularly(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_SECONDS)
            try:
                await self._audit()
            except ClusterError as error:
                logger.warning("cannot list ConversionJobs of %s: %s", self._place, error)
            except Exception:
                logger.exception("the audit of %s failed", self._place)

    async def _audit(self) -> None:
        stores, before = self.stores, self.stores.version
        stores.begin_audit()
        objects = await self._list()
        if int(objects.version) < before:
            logger.error("the versions of %s went back: were they restored?", self._place)
            stores.replace(objects)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_AUDIT_GRACE_SECONDS):
                while stores.version < int(objects.version):
                    await asyncio.wait({stores.next_change()})
        if stores.version < int(objects.version):
            # What the watch tells later is older than the list, and is then ignored.
            logger.error("the watch of %s is behind its list", self._place)
            stores.replace(objects)
            return
        for namespace in stores.audit(objects):
            logger.error("the watch of %s has missed changes", namespace)

    def _heard(self) -> None:
        self.heard_at = time.monotonic()

    def _succeed(self) -> None:
        self._heard()
        if self._failing:
            logger.info("can list and watch ConversionJobs of %s again", self._place)
        self._failing = False
        self._error = None
        self._tell()

    def _fail(self, error: ClusterError) -> None:
        """Callers are told ``error``. Logs the first failure in a row only."""
        if isinstance(error, Expired):
            logger.info("the watch of %s expired", self._place)
            error = Unavailable(str(error))
        elif not self._failing:
            self._failing = True
            level = logging.ERROR if isinstance(error, Rejected) else logging.WARNING
            cure = ""
            if self.namespace == ALL_NAMESPACES and isinstance(error, Rejected):
                cure = ". Apply deploy/cluster-wide. Until then, single namespaces are watched"
            logger.log(level, "cannot list and watch %s: %s%s", self._place, error, cure)
        self._error = error
        self._tell()

    def _tell(self) -> None:
        done, self.outcome = self.outcome, asyncio.get_running_loop().create_future()
        done.set_result(None)

    async def _pause(self) -> None:
        """Wait before the next try, but no longer than the server asks for if a caller waits."""
        after = getattr(self._error, "retry_after", None) or 0.0
        self._wanted.clear()
        await asyncio.sleep(max(after, _SHORTEST_DELAY_SECONDS))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._backoff.next() - after)):
                await self._wanted.wait()


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

    async def current(self, patience: float = _PATIENCE_SECONDS) -> Store:
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
