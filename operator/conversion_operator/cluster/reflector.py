"""Keeps a view in step with one resource of one namespace: list, then watch, again and again.

Level by list, speed by watch: a watch that ends, stalls, expires or lies is repaired by the next
list, which also finds what was deleted meanwhile. Lists are repeated even if the watch is well.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Final

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError, Expired, Refused, Unavailable
from conversion_operator.cluster.objects import EventHandler, ObjectList, Resource

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Health:
    """When a reflector last asked for a list, by the monotonic clock."""

    tried_at: float


class Reflector:
    """Feeds a sink with complete lists and, if ``watching``, with changes in between."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str,
        handler: EventHandler,
        *,
        relist_seconds: float,
        watching: bool = True,
    ) -> None:
        self.health = Health(time.monotonic())
        self.resource, self.namespace = resource, namespace
        self._cluster = cluster
        self._handler = handler
        self._relist_seconds, self._watching = relist_seconds, watching

    async def run(self) -> None:
        """Until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                version = await self._list()
                pause = _FIRST_PAUSE
                await self._follow(version)
            except Refused as error:
                # No right to look there: nothing of ours can be there, or what was known stands.
                # The others must not wait for it.
                self._handler.replace(self.resource, self.namespace, ObjectList((), "0"))
                logger.error(
                    "may not list %s in namespace %s; apply deploy/namespace there, or take it "
                    "off WATCH_NAMESPACES: %s",
                    self.resource,
                    self.namespace,
                    error,
                )
                await asyncio.sleep(_LONGEST_PAUSE)
            except ClusterError as error:
                asked = error.retry_after if isinstance(error, Unavailable) else None
                wait = max(asked or 0.0, pause * random.uniform(0.8, 1.2))  # noqa: S311
                logger.warning(
                    "lost touch with %s in %s, trying again in %.1f s: %s",
                    self.resource,
                    self.namespace,
                    wait,
                    error,
                )
                await asyncio.sleep(wait)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self) -> str:
        self.health.tried_at = time.monotonic()
        objects = await self._cluster.list_all(self.resource, self.namespace)
        self._handler.replace(self.resource, self.namespace, objects)
        return objects.version

    async def _follow(self, version: str) -> None:
        """Watch until the next list is due. Returns to be listed again."""
        if not self._watching:
            await asyncio.sleep(self._relist_seconds)
            return
        try:
            async with asyncio.timeout(self._relist_seconds):
                while True:
                    version = await self._watch(version)
        except TimeoutError:
            return
        except Expired:
            # Expired once is ordinary; a server that says so at every turn must not be flooded.
            await asyncio.sleep(_FIRST_PAUSE)

    async def _watch(self, version: str) -> str:
        async for event in self._cluster.watch(self.resource, self.namespace, version):
            version = event.version
            if event.object is not None:
                self._handler.apply(event)
        return version
