"""Watches the ConversionQueues.

ConversionQueues that cannot be read are unknown, not missing: those that are known stay in force.
Before the first answer, nothing starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import (
    ClusterError,
    Rejected,
    Unavailable,
)
from conversion_operator.cluster.objects import WatchEvent
from conversion_operator.core.conversion_queues import NO_QUEUES, ConversionQueues, combine
from conversion_operator.core.queue_status import QueueObject

RELIST_SECONDS: Final = 60.0
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0

logger = logging.getLogger(__name__)


class QueueWatch:
    """The ConversionQueues of the operator's namespace. Calls ``on_change`` when they change.

    ``table`` is what they allow. ``known`` is False before the first answer. ``problem`` says why
    they cannot be read, "" if they can.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._cluster, self._namespace, self._on_change = cluster, namespace, on_change
        self.table: ConversionQueues = NO_QUEUES
        self.problems: Mapping[str, tuple[str, ...]] = {}
        self.objects: dict[str, QueueObject] = {}
        self.known = False
        self.problem = ""

    async def run(self) -> None:
        """Run until cancelled."""
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        while True:
            try:
                version = await self._list()
            except ClusterError as error:
                self._set_problem(str(error))
                await asyncio.sleep(backoff.next())
                continue
            self._set_problem("")
            backoff.reset()
            try:
                await self._follow(version)
            except ClusterError as error:
                # The next list shows what the watch has missed.
                logger.debug("The watch of ConversionQueues ended: %s", error)
                await asyncio.sleep(_FIRST_DELAY_SECONDS)

    async def _list(self) -> str:
        try:
            found, version = await self._cluster.list_queues(self._namespace)
        except (Unavailable, Rejected):
            # The API server checks the permission before it looks for the CRD.
            if await self._cluster.serves_queues():
                raise
            # The CRD is not installed, so there are no ConversionQueues.
            self._use(())
            raise
        self._use(found)
        return version

    async def _follow(self, version: str) -> None:
        """Watch until the server ends the watch, or until the next list is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RELIST_SECONDS):
                async for event in self._cluster.watch_queues(self._namespace, version):
                    self._apply(event)

    def _apply(self, event: WatchEvent[QueueObject]) -> None:
        if event.object is None:
            return  # a bookmark
        rest = {n: each for n, each in self.objects.items() if n != event.object.key.name}
        self._use((*rest.values(), *(() if event.type == "DELETED" else (event.object,))))

    def _use(self, found: Iterable[QueueObject]) -> None:
        oldest_first = sorted(found, key=lambda each: (each.created, each.key.name))
        self.objects = {each.key.name: each for each in oldest_first}
        table, self.problems = combine(
            (each.key.name, each.spec, each.unreadable) for each in oldest_first
        )
        changed = not self.known or table != self.table
        self.table, self.known = table, True
        if changed:
            logger.info("ConversionQueues changed", extra={"queues": sorted(self.objects)})
            self._on_change()

    def _set_problem(self, why: str) -> None:
        """Log a problem once in a row, and its end."""
        problem = why and (
            f"Cannot read the ConversionQueues of {self._namespace}: {why}. "
            f"{'Those that are known stay in force' if self.known else 'Nothing starts'}. Apply "
            "crds/, and the operator's Role in its namespace"
        )
        if bool(problem) != bool(self.problem):
            if problem:
                logger.error("%s", problem)
            else:
                logger.info("The ConversionQueues are read again")
        self.problem = problem
