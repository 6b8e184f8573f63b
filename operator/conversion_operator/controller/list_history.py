"""Checks that lists and what is known are of one history of the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from conversion_operator.cluster.objects import Object, Resource
from conversion_operator.core.model import Conversion

_SLICE: Final = 200
"""How many objects of a list are taken before other tasks may run: 5 ms."""

T = TypeVar("T")


class HistoryWentBack(Exception):
    """The versions of the API server went back, as after a restore of etcd from a backup.

    Versions no longer say which of two states is newer, and deleted objects may exist again. The
    operator must restart, and list everything again.
    """


class ListHistory:
    """The versions of the lists. ``find_known`` returns the newest known value of an object."""

    def __init__(self, find_known: Callable[[Resource, str], Object | None]) -> None:
        self._find_known = find_known
        self._versions: dict[tuple[Resource, str], int] = {}

    async def check(
        self, resource: Resource, namespace: str, items: Sequence[Object], version: int
    ) -> None:
        """Raise HistoryWentBack if a list and what is known cannot be of the same history."""
        last = self._versions.get((resource, namespace), 0)
        if version < last:
            raise HistoryWentBack(f"a list of {resource} has version {version} after {last}")
        self._versions[resource, namespace] = version
        for part in slices(items):
            for item in part:
                known = self._find_known(resource, uid_of(item))
                # A list contains everything up to its version. Only what is newer may differ.
                if known is not None and item.version < known.version <= version:
                    raise HistoryWentBack(
                        f"a list of {resource} of version {version} has version {item.version} of "
                        f"{uid_of(item)}, after version {known.version}"
                    )
            await asyncio.sleep(0)

    def forget(self, namespace: str) -> None:
        """Forget the versions of the lists of a namespace, or of ALL_NAMESPACES."""
        for resource in Resource:
            self._versions.pop((resource, namespace), None)


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The parts of a list. Other tasks run after each."""
    return (items[start : start + _SLICE] for start in range(0, len(items), _SLICE))


def uid_of(item: Object) -> str:
    """The uid of a ConversionJob, a Job or a pod."""
    return item.key.uid if isinstance(item, Conversion) else item.uid
