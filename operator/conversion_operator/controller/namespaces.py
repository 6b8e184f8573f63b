"""Starts and ends the watches of the namespaces while the operator runs.

A namespace that leaves the settings is watched until nothing that this operator has begun there is
under way. So its slots stay counted, and the ends of its conversions are written.

The watches of all namespaces together replace those of single namespaces, and the other way round,
when their lists are known. Until then both exist.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Final

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.reflector import place
from conversion_operator.controller.sync import GRACE_SECONDS, NamespaceSync

_END_SECONDS: Final = 10.0
BY_NAME_SECONDS: Final = 10.0
"""How long the lists of all namespaces are refused before the namespaces in which conversions may
run are watched by their names."""

logger = logging.getLogger(__name__)

Parts = Mapping[str, Coroutine[Any, Any, None]]


class Namespaces:
    """The scopes that are served, and the tasks that watch them.

    ``parts`` returns the coroutines that watch a scope, by name. ``on_failure`` gets each task that
    has ended by itself. ``under_way`` returns whether something of ours is under way in a scope.
    ``forget`` forgets what is known of a scope that is no longer watched.
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
        # The namespaces of the former leader, until the lists of all namespaces contain them.
        self._inherited: set[str] = set()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """All tasks that watch a scope."""
        return [task for tasks in self._tasks.values() for task in tasks]

    async def wait_for(self, prefix: str) -> None:
        """Wait until the tasks whose names begin with ``prefix`` have ended by themselves."""
        if tasks := [task for task in self.tasks if task.get_name().startswith(prefix)]:
            await asyncio.wait(tasks)

    def serve(self, wanted: Collection[str]) -> None:
        """Serve these scopes, and leave all others.

        Single namespaces stay as they are until the lists of all namespaces are known.
        """
        for namespace in wanted:
            if namespace not in self._tasks:
                logger.info("Serving %s", place(namespace))
            self._sync.serve(namespace)
            self._start(namespace)
        if ALL_NAMESPACES in wanted:
            return
        for namespace in set(self._sync.namespaces).difference(wanted):
            if not self._is_leaving(namespace):
                logger.info("Leaving %s: nothing more starts there", place(namespace))
            self._sync.leave(namespace)

    def leave(self, namespaces: Iterable[str]) -> None:
        """Watch namespaces that are not served, but in which conversions may still run."""
        if ALL_NAMESPACES in self._tasks:
            self._inherited.update(namespaces)
            return
        for namespace in namespaces:
            if namespace not in self._sync.namespaces:
                self._sync.leave(namespace)
                self._start(namespace)

    async def release(self) -> None:
        """End the watches of the leaving scopes in which nothing is under way.

        Called once a second. Visits all conversions, Jobs and pods for each leaving scope.
        """
        self._watch_inherited()
        for scope in self._sync.namespaces:
            if self._is_replaced(scope) or (self._is_leaving(scope) and self._may_go(scope)):
                await self._end(scope)

    def _watch_inherited(self) -> None:
        """Follow by name what runs, while all namespaces cannot be listed."""
        if self._sync.lists_current(ALL_NAMESPACES):
            self._inherited.clear()
        elif self._sync.refused_for(ALL_NAMESPACES) >= BY_NAME_SECONDS:
            for namespace in self._inherited.difference(self._sync.namespaces):
                self._sync.leave(namespace)
                self._start(namespace)
            self._inherited.clear()

    def _is_leaving(self, scope: str) -> bool:
        """True if the settings do not contain this scope itself."""
        if scope == ALL_NAMESPACES:
            return not self._sync.serves_all
        return self._sync.is_leaving(scope)

    def _is_replaced(self, scope: str) -> bool:
        """True if the watches of all namespaces show what those of this namespace show."""
        sync = self._sync
        return scope != ALL_NAMESPACES and sync.serves_all and sync.lists_current(ALL_NAMESPACES)

    def _may_go(self, namespace: str) -> bool:
        if namespace == ALL_NAMESPACES and not self._sync.all_listed_by_name():
            return False
        if self._sync.refused_for(namespace) >= GRACE_SECONDS:
            logger.warning(
                "The lists of %s are refused: conversions that run there do not count any more",
                place(namespace),
            )
            return True
        return self._sync.lists_current(namespace) and not self._under_way(namespace)

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
        if not self._is_leaving(namespace) and not self._is_replaced(namespace):  # it came back
            del self._tasks[namespace]
            self._start(namespace)
            return
        del self._tasks[namespace]
        self._sync.forget(namespace)
        self._forget(namespace)
        logger.info("The watches of %s have ended", place(namespace))
