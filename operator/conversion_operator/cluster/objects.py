"""What the operator needs of a cluster, as a Protocol, and the values that go over it.

Bodies are JSON objects as the API server has them. Every method raises
:class:`~conversion_operator.cluster.errors.ClusterError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Body = Mapping[str, Any]


class Resource(StrEnum):
    """The resources that are listed and watched, by their plural names."""

    CONVERSIONS = "conversionjobs"
    JOBS = "jobs"
    PODS = "pods"


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A complete list and the version it is of."""

    items: tuple[Body, ...]
    version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    kind: str
    body: Body


class EventHandler(Protocol):
    """Where a reflector puts what it learns."""

    def replace(self, resource: Resource, namespace: str, listing: ObjectList) -> None:
        """All there is of a resource in a namespace."""

    def apply(self, resource: Resource, change: WatchEvent) -> None:
        """One change."""
