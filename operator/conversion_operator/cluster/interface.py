"""What the operator needs of a cluster, as a Protocol, and the values that go over it.

Bodies are JSON objects as the API server has them. Every method raises
:class:`~conversion_operator.cluster.errors.ClusterError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from conversion_operator.api.status import ConversionJobStatus, Notification
from conversion_operator.core.delivery import Answer
from conversion_operator.core.model import Job, Key, Pod

Body = Mapping[str, Any]


class Resource(StrEnum):
    """The resources that are listed and watched, by their plural names."""

    CONVERSIONS = "conversionjobs"
    JOBS = "jobs"
    PODS = "pods"


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list and the version it is of."""

    items: tuple[Body, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    kind: str
    body: Body


class Cluster(Protocol):
    """A Kubernetes cluster, as far as the operator is concerned."""

    def now(self) -> datetime:
        """The API server's time. The operator's own clock may be wrong."""

    async def list_all(self, resource: Resource, namespace: str) -> Listing:
        """All objects of ours in a namespace, as of now and not from a cache."""

    def watch(self, resource: Resource, namespace: str, version: str) -> AsyncIterator[Change]:
        """What changes after ``version``, until the server ends the stream."""

    async def create_job(self, body: Body) -> Body:
        """Create a Job. Conflict if its name is taken, Refused if it may not be."""

    async def get_job(self, namespace: str, name: str) -> Body:
        """One Job, as of now."""

    async def pods_of(self, namespace: str, conversion_uid: str) -> tuple[Body, ...]:
        """The pods of one conversion, as of now."""

    async def delete_job(self, job: Job, *, foreground: bool) -> None:
        """Delete this very Job; one that is gone already is no error."""

    async def delete_pod(self, pod: Pod, *, force: bool) -> None:
        """Delete this very pod; one that is gone already is no error."""

    async def delete_conversion(self, key: Key) -> None:
        """Delete this very ConversionJob; one that is gone already is no error."""

    async def write_status(self, key: Key, status: ConversionJobStatus) -> Body:
        """Replace the whole status of this very ConversionJob. Returns the object as stored."""

    async def write_notification(self, key: Key, before: Notification, after: Notification) -> Body:
        """Replace status.notify of this very ConversionJob, if it still is ``before``; else
        Refused. Nothing else of the status is touched. Returns the object as stored."""

    async def claim_exists(self, namespace: str, name: str) -> bool:
        """True if the namespace has a PersistentVolumeClaim of that name."""

    async def latest_warning(self, namespace: str, uid: str) -> str:
        """Reason and message of the latest Warning event about an object; "" without one."""

    async def log_tail(self, namespace: str, pod: str) -> str:
        """The last few lines of a pod's log; "" if there is none yet."""

    async def post_event(self, body: Body) -> None:
        """Create an Event."""


class Callbacks(Protocol):
    """What sends callbacks. It never raises for what the receiver does or is."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once, within ten seconds, to an address that may be called; else a problem."""

    async def close(self) -> None:
        """Close all connections."""


class Leases(Protocol):
    """The one Lease by which operators agree on who leads."""

    async def get_lease(self, namespace: str, name: str) -> Body:
        """The Lease, as of now."""

    async def create_lease(self, namespace: str, body: Body) -> Body:
        """Create it. Conflict if somebody else was faster."""

    async def replace_lease(self, namespace: str, body: Body) -> Body:
        """Replace it. Conflict if it is no longer at the resourceVersion in ``body``."""


class Sink(Protocol):
    """Where a reflector puts what it learns."""

    def replace(self, resource: Resource, namespace: str, listing: Listing) -> None:
        """All there is of a resource in a namespace."""

    def apply(self, resource: Resource, change: Change) -> None:
        """One change."""
