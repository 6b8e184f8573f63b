"""Lists and watches one resource of one namespace, for an event handler.

Watches are fast but not reliable: they end, expire, or stay open without sending events. So the
reflector lists again every minute, even if its watch looks healthy. The list repairs missed events,
including deletions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError, Expired, Rejected, Unavailable
from conversion_operator.cluster.objects import EventHandler, ObjectList, Resource

RELIST_SECONDS: Final = 60.0
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0

logger = logging.getLogger(__name__)


class Reflector:
    """Passes complete lists to ``handler`` and, if ``watching``, the watch events between them.

    It calls ``on_list`` before each list request.
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str,
        handler: EventHandler,
        on_list: Callable[[], None],
        *,
        watching: bool = True,
    ) -> None:
        self.name = f"{resource} in {namespace}"
        self._cluster, self._handler, self._on_list = cluster, handler, on_list
        self._resource, self._namespace = resource, namespace
        self._watching = watching

    async def run(self) -> None:
        """Run until cancelled."""
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        while True:
            try:
                version = await self._list()
                backoff.reset()
                await self._follow(version)
            except Rejected as error:
                # Without the right to list, the operator cannot have created Jobs there. With an
                # empty list, the store is complete, so the other namespaces can start.
                self._handler.replace(self._resource, self._namespace, ObjectList((), "0"))
                logger.error(
                    "May not list %s. Apply deploy/namespace there, or remove the namespace from "
                    "WATCH_NAMESPACES: %s",
                    self.name,
                    error,
                )
                await asyncio.sleep(_LONGEST_DELAY_SECONDS)
            except ClusterError as error:
                requested = error.retry_after if isinstance(error, Unavailable) else None
                delay = max(requested or 0.0, backoff.next())
                logger.warning(
                    "Cannot list or watch %s; retrying in %.1f s: %s", self.name, delay, error
                )
                await asyncio.sleep(delay)

    async def _list(self) -> str:
        self._on_list()
        find_known = self._handler.find_known
        objects = await self._cluster.list_all(self._resource, self._namespace, find_known)
        self._handler.replace(self._resource, self._namespace, objects)
        return objects.version

    async def _follow(self, version: str) -> None:
        """Watch until the next list is due. Without ``watching``, only wait."""
        if not self._watching:
            await asyncio.sleep(RELIST_SECONDS)
            return
        try:
            async with asyncio.timeout(RELIST_SECONDS):
                while True:
                    version = await self._watch(version)
        except TimeoutError:
            return
        except Expired:
            # A watch expires now and then. The delay protects a server that always returns 410.
            await asyncio.sleep(_FIRST_DELAY_SECONDS)

    async def _watch(self, version: str) -> str:
        """Watch until the server ends the watch. Returns the version to watch from next."""
        async for event in self._cluster.watch(self._resource, self._namespace, version):
            version = event.version
            self._handler.apply(event)
        return version
