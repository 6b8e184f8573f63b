"""Keeps the stores of one list and one watch current: of one namespace, or of all.

A list that was not answered is unknown, never empty. The watch goes on from the version that it
has reached, so it misses nothing when it breaks. Each minute, a list is compared with the store,
because no watch is perfect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, suppress
from typing import Final

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.conversions import ConversionClient, parse_conversion
from conversion_operator.cluster.errors import ClusterError, Expired, Rejected, Unavailable
from conversion_operator.cluster.objects import Body, ObjectList
from converter_gateway.errors import ApiError
from converter_gateway.records import Record, record_of
from converter_gateway.store_set import Listed, StoreSet

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0
_SHORTEST_DELAY_SECONDS: Final = 0.2  # if a caller waits for the outcome
AUDIT_SECONDS: Final = 60.0
_AUDIT_GRACE_SECONDS: Final = 30.0
"""How long the watch may be behind a list. Bookmarks come at least as often as watches end."""
PATIENCE_SECONDS: Final = 5.0
"""How long a request waits for a store that is not current."""

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
        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._fail, slow)

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
        """Callers get ``error``. Only the first failure in a row is logged."""
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
