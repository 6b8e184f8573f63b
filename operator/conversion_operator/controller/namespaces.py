"""Starts and ends the watches of the namespaces while the operator runs.

A namespace that leaves the settings is watched until nothing that this operator has begun there is
under way. So its slots stay counted, and the ends of its conversions are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Final

from conversion_operator.controller.sync import GRACE_SECONDS, NamespaceSync

_END_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)

Parts = Mapping[str, Coroutine[Any, Any, None]]


class Namespaces:
    """The namespaces that are served, and the tasks that watch them.

    ``parts`` returns the coroutines that watch a namespace, by name. ``on_failure`` gets each task
    that has ended by itself. ``under_way`` returns whether something of ours is under way in a
    namespace. ``forget`` forgets what is known of a namespace that is no longer watched.
    """

    def __init__(
        self,
        sync: NamespaceSync,
        parts: Callable[[str], Parts],
        on_failure: Callable[[asyncio.Task[None]], None],
        under_way: Callable[[str], bool],
        forget: Callable[[str], None],
    ) -> None:
        self._sync, self._parts, self._on_failure = sync, parts, on_failure
        self._under_way, self._forget = under_way, forget
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """All tasks that watch a namespace."""
        return [task for tasks in self._tasks.values() for task in tasks]

    async def wait_for(self, prefix: str) -> None:
        """Wait until the tasks whose names begin with ``prefix`` have ended by themselves."""
        if tasks := [task for task in self.tasks if task.get_name().startswith(prefix)]:
            await asyncio.wait(tasks)

    def serve(self, wanted: Collection[str]) -> None:
        """Serve these namespaces, and leave all others."""
        for namespace in wanted:
            if namespace not in self._tasks:
                logger.info("Serving the namespace %s", namespace)
            self._sync.serve(namespace)
            self._start(namespace)
        for namespace in set(self._sync.namespaces).difference(wanted):
            if not self._sync.is_leaving(namespace):
                logger.info("Leaving the namespace %s: nothing more starts there", namespace)
            self._sync.leave(namespace)

    def leave(self, namespaces: Iterable[str]) -> None:
        """Watch namespaces that are not served, but in which conversions may still run."""
        for namespace in namespaces:
            if namespace not in self._sync.namespaces:
                self._sync.leave(namespace)
                self._start(namespace)

    async def release(self) -> None:
        """End the watches of the leaving namespaces in which nothing is under way.

        Called once a second. Visits all conversions, Jobs and pods for each leaving namespace.
        """
        for namespace in self._sync.namespaces:
            if self._sync.is_leaving(namespace) and self._may_go(namespace):
                await self._end(namespace)

    def _may_go(self, namespace: str) -> bool:
        if self._sync.refused_for(namespace) >= GRACE_SECONDS:
            logger.warning(
                "The lists of %s are refused: conversions that run there do not count any more",
                namespace,
            )
            return True
        return self._sync.admissible(namespace) and not self._under_way(namespace)

    def _start(self, namespace: str) -> None:
        if namespace in self._tasks:
            return
        self._tasks[namespace] = [
            asyncio.create_task(part, name=name) for name, part in self._parts(namespace).items()
        ]
        for task in self._tasks[namespace]:
            task.add_done_callback(self._on_failure)

    async def _end(self, namespace: str) -> None:
        for task in self._tasks[namespace]:
            task.cancel()
        await asyncio.wait(self._tasks[namespace], timeout=_END_SECONDS)
        if not self._sync.is_leaving(namespace):  # it came back meanwhile
            del self._tasks[namespace]
            self._start(namespace)
            return
        del self._tasks[namespace]
        self._sync.forget(namespace)
        self._forget(namespace)
        logger.info("The namespace %s is let go", namespace)
