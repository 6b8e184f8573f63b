"""Lists and watches one resource of one namespace or of all namespaces, for an event handler.

A list that is refused or not answered is unknown, never empty: the handler keeps what it has, and
the observer learns that the list is not known.

Watches are fast but not reliable: they end, expire, or stay open without sending events. So the
reflector lists again every minute, even if its watch looks healthy. The list repairs missed events,
including deletions.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError, Expired, Rejected, Unavailable
from conversion_operator.cluster.objects import EventHandler, Resource

RELIST_SECONDS: Final = 60.0
"""The longest time between two lists."""

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0
_EARLIEST_RELIST: Final = 0.8
"""The shortest time between two lists, as a part of the longest. The reflectors of many namespaces
start together. With random times, they do not all list at the same moment."""
_WATCH_END_SECONDS: Final = 3.0
"""How long before the next list the server ends the watch. A connection whose watch has ended is
used again. One whose watch is cut is not."""

logger = logging.getLogger(__name__)


def watch_cure(scope: str) -> str:
    """What to do if the API server does not allow a list or a watch."""
    if scope == ALL_NAMESPACES:
        return "Apply deploy/cluster-wide, or name the namespaces in WATCH_NAMESPACES"
    return "Apply deploy/namespace there, or remove the namespace from WATCH_NAMESPACES"


def place(scope: str) -> str:
    """A namespace or ALL_NAMESPACES, as text for people."""
    return "all namespaces" if scope == ALL_NAMESPACES else scope


class ListObserver(Protocol):
    """Receives the outcome of each list request."""

    def requested(self, resource: Resource, namespace: str) -> None:
        """A list request is about to be sent."""

    def answered(self, resource: Resource, namespace: str, requested_at: float) -> None:
        """The list that was requested at this monotonic time was answered."""

    def refused(self, resource: Resource, namespace: str, reason: str) -> None:
        """The API server does not allow the list."""


class Reflector:
    """Passes complete lists to ``handler`` and, if ``watching``, the watch events between them."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str,
        handler: EventHandler,
        observer: ListObserver,
        *,
        watching: bool = True,
    ) -> None:
        self.name = f"{resource} in {place(namespace)}"
        self._cluster, self._handler, self._observer = cluster, handler, observer
        self.resource, self._namespace = resource, namespace
        self._watching = watching
        # What failed last: list, watch or both.
        self._failing: set[str] = set()
        self._watch_backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        self._relist_requested = False
        # The timeout of the current watch or delay. None while a list is under way.
        self._pause: asyncio.Timeout | None = None

    def relist(self) -> None:
        """List again now. A list that is under way is followed by another one."""
        self._relist_requested = True
        if self._pause is not None and not self._pause.expired():
            self._pause.reschedule(0)

    async def run(self) -> None:
        """Run until cancelled."""
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        while True:
            try:
                version = await self._list()
            except ClusterError as error:
                if isinstance(error, Rejected):
                    self._observer.refused(self.resource, self._namespace, str(error))
                self._log_failure("list", error)
                await self._wait(_delay(error, backoff))
                continue
            backoff.reset()
            await self._follow(version)

    def _log_failure(self, verb: str, error: ClusterError) -> None:
        """Log the first failure in a row. The others would fill the log."""
        level = logging.DEBUG if verb in self._failing else logging.ERROR
        self._failing.add(verb)
        cure = ""
        if isinstance(error, Rejected):
            cure = f". {watch_cure(self._namespace)}"
        logger.log(level, "Cannot %s %s; retrying: %s%s", verb, self.name, error, cure)

    def _log_success(self, verb: str) -> None:
        if verb in self._failing:
            self._failing.discard(verb)
            logger.info("Can %s %s again", verb, self.name)

    async def _list(self) -> str:
        self._relist_requested = False
        self._observer.requested(self.resource, self._namespace)
        requested_at = time.monotonic()
        find_known = self._handler.find_known
        objects = await self._cluster.list_all(self.resource, self._namespace, find_known)
        await self._handler.replace(self.resource, self._namespace, objects)
        self._observer.answered(self.resource, self._namespace, requested_at)
        self._log_success("list")
        return objects.version

    async def _follow(self, version: str) -> None:
        """Watch until the next list is due. Without ``watching``, only wait."""
        seconds = RELIST_SECONDS * random.uniform(_EARLIEST_RELIST, 1.0)  # noqa: S311 no secret
        if not self._watching:
            await self._wait(seconds)
            return
        end = time.monotonic() + seconds - _WATCH_END_SECONDS
        try:
            async with self._limited(seconds):
                while (left := end - time.monotonic()) > 1:
                    version = await self._watch(version, left)
                    self._watch_backoff.reset()
        except TimeoutError:
            self._watch_backoff.reset()
        except Expired:
            # A watch expires now and then. The delay protects a server that always returns 410.
            await self._wait(_FIRST_DELAY_SECONDS)
        except ClusterError as error:
            # The list is known. Without a watch, it is repeated more often.
            self._log_failure("watch", error)
            await self._wait(_delay(error, self._watch_backoff))

    async def _wait(self, seconds: float) -> None:
        """Wait, but not after a call of :meth:`relist`."""
        with suppress(TimeoutError):
            async with self._limited(seconds):
                await asyncio.Event().wait()

    @asynccontextmanager
    async def _limited(self, seconds: float) -> AsyncIterator[None]:
        """A timeout that :meth:`relist` ends early."""
        try:
            async with asyncio.timeout(0 if self._relist_requested else seconds) as self._pause:
                yield
        finally:
            self._pause = None

    async def _watch(self, version: str, seconds: float) -> str:
        """Watch until the server ends the watch. Returns the version to watch from next."""
        namespace = self._namespace
        async for event in self._cluster.watch(self.resource, namespace, version, seconds):
            version = event.version
            self._handler.apply(event)
            self._log_success("watch")
        return version


def _delay(error: ClusterError, backoff: Backoff) -> float:
    requested = error.retry_after if isinstance(error, Unavailable) else None
    return max(requested or 0.0, backoff.next())
