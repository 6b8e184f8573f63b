"""The operator's client of the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import Configuration

from conversion_operator.api import names, served
from conversion_operator.api.queues import ConversionQueueStatus
from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.api.status import ConversionJobStatus, Notification
from conversion_operator.cluster import parsing
from conversion_operator.cluster.bodies import event_body, lease_body
from conversion_operator.cluster.errors import Conflict, NotFound, Rejected, Unavailable
from conversion_operator.cluster.objects import (
    Body,
    ConfigMap,
    Event,
    FindKnown,
    Lease,
    Object,
    ObjectList,
    Resource,
    WatchEvent,
    WritePermit,
)
from conversion_operator.cluster.parse_children import parse_job, parse_pod
from conversion_operator.cluster.profiles import ProfileRequests
from conversion_operator.cluster.queues import QueueRequests, queues_path
from conversion_operator.core.children import Job, Pod
from conversion_operator.core.model import Conversion, Key, Metadata
from conversion_operator.core.queue_status import QueueObject

# A leader renews its Lease more than once within its deadline, even if a request gets no response.
# See controller/leadership.py.
_LEASE_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
# A log comes from its node. If the node does not respond, a worker waits for it.
_LOG_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_LOG_MAX_BYTES: Final = 16384
_LOG_LINES: Final = (40, 5, 1)
_EVENTS: Final = 200
# Each reflector lists at its start. With hundreds of namespaces, the lists wait here and not for a
# connection, where they would time out and be repeated.
_LISTS_AT_ONCE: Final = 16
_MANAGED_BY_US: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"

_PREFIXES: Final = {
    Resource.CONVERSIONS: f"/apis/{names.API_VERSION}",
    Resource.JOBS: "/apis/batch/v1",
    Resource.PODS: "/api/v1",
}


class Cluster(QueueRequests, ProfileRequests):
    """The requests that the operator makes. Every method raises a ClusterError.

    Every write, except to the Lease, takes the permit of the term in which it was decided. The
    write is not sent when this term is over.
    """

    def __init__(
        self, configuration: Configuration, user_agent: str, field_manager: str = names.MANAGED_BY
    ) -> None:
        super().__init__(configuration, user_agent)
        self._field_manager = field_manager
        self._writes: set[asyncio.Task[dict[str, Any]]] = set()
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)

    async def finish_writes(self, seconds: float) -> None:
        """Wait until all writes have a response, but no longer than ``seconds``."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=seconds)

    async def list_all(
        self, resource: Resource, namespace: str, find_known: FindKnown = lambda *_: None
    ) -> ObjectList[Object]:
        """LIST our objects. Without a resourceVersion, the server returns the newest state.

        ``namespace`` may be ALL_NAMESPACES. :func:`parsing.parse_list` describes ``find_known``.
        """
        query = [] if resource is Resource.CONVERSIONS else [("labelSelector", _MANAGED_BY_US)]
        async with self._lists:
            parsed = await self._transport.list_pages(
                _path(resource, namespace),
                query,
                lambda page: parsing.parse_list(
                    parsing.PARSERS[resource], page, partial(find_known, resource)
                ),
            )
        return parsing.join_slices(parsed)

    async def watch(
        self, resource: Resource, namespace: str, version: str, seconds: float
    ) -> AsyncIterator[WatchEvent[Object]]:
        """Watch our objects: the changes after ``version``, for about so many seconds.

        ``namespace`` may be ALL_NAMESPACES.
        """
        query = [("resourceVersion", version)]
        if resource is not Resource.CONVERSIONS:
            query.append(("labelSelector", _MANAGED_BY_US))
        path = _path(resource, namespace)
        async for event in self._transport.watch(path, query, seconds=seconds):
            yield parsing.parse_event(parsing.PARSERS[resource], event)

    async def create_job(self, body: Body, permit: WritePermit) -> Job:
        """POST a Job."""
        path = _path(Resource.JOBS, body["metadata"]["namespace"])
        return parse_job(await self._write(permit, "POST", path, body))

    async def get_conversion(self, key: Key) -> Conversion:
        """GET the ConversionJob with this name. Its uid may be another one."""
        path = _path(Resource.CONVERSIONS, key.namespace, key.name)
        return parsing.parse_used(await self._transport.request("GET", path))

    async def get_metadata(self, key: Key) -> Metadata:
        """GET the labels and annotations of a ConversionJob. Raises NotFound if it is another."""
        path = _path(Resource.CONVERSIONS, key.namespace, key.name)
        found = parsing.parse_metadata(await self._transport.request("GET", path))
        if found.uid != key.uid:
            raise NotFound(f"{key.name} was deleted; another ConversionJob has its name now")
        return found

    async def get_job(self, namespace: str, name: str) -> Job:
        """GET a Job."""
        path = _path(Resource.JOBS, namespace, name)
        return parse_job(await self._transport.request("GET", path))

    async def get_pod(self, namespace: str, name: str) -> Pod:
        """GET a pod."""
        path = _path(Resource.PODS, namespace, name)
        return parse_pod(await self._transport.request("GET", path))

    async def list_pods(self, namespace: str, conversion_uid: str) -> tuple[Pod, ...]:
        """LIST the pods of one conversion, by our labels.

        The admission policies protect the label managed-by, so a list without it would have pods
        that anybody may create.
        """
        selector = f"{_MANAGED_BY_US},{names.UID_LABEL}={conversion_uid}"
        query = [("labelSelector", selector)]
        parsed = await self._transport.list_pages(
            _path(Resource.PODS, namespace), query, partial(parsing.parse_list, parse_pod)
        )
        return parsing.join_slices(parsed).items

    async def delete_job(self, job: Job, permit: WritePermit, *, foreground: bool) -> None:
        """DELETE a Job by name and uid."""
        policy = "Foreground" if foreground else "Background"
        path = _path(Resource.JOBS, job.namespace, job.name)
        await self._delete(permit, path, job.uid, propagationPolicy=policy)

    async def delete_pod(self, pod: Pod, permit: WritePermit, *, force: bool) -> None:
        """DELETE a pod by name and uid."""
        options = {"gracePeriodSeconds": 0} if force else {}
        path = _path(Resource.PODS, pod.namespace, pod.name)
        await self._delete(permit, path, pod.uid, **options)

    async def delete_conversion(self, key: Key, permit: WritePermit) -> None:
        """DELETE a ConversionJob by name and uid. The garbage collector then deletes its Jobs."""
        path = _path(Resource.CONVERSIONS, key.namespace, key.name)
        await self._delete(permit, path, key.uid, propagationPolicy="Background")

    async def write_status(
        self, conversion: Conversion, status: ConversionJobStatus, permit: WritePermit
    ) -> Conversion:
        """PATCH the status of this version of a ConversionJob. Raises Conflict if it is old.

        A merge patch would keep old fields that the new status does not have. The API server would
        also apply it to a new object with the same name as a deleted one.
        """
        patch: list[Body] = [{"op": "add", "path": "/status", "value": status.to_json()}]
        return await self._patch_status(conversion, patch, permit)

    async def write_notification(
        self, conversion: Conversion, after: Notification, permit: WritePermit
    ) -> Conversion:
        """PATCH only status.notify of this version of a ConversionJob.

        Raises Conflict if the version is old. So the value that is replaced is the one that was
        read. The patch replaces nothing else, so no change of another field is lost.
        """
        patch: list[Body] = [
            {"op": "replace", "path": "/status/notify", "value": after.to_json()},
        ]
        return await self._patch_status(conversion, patch, permit)

    async def write_observed_generation(
        self, conversion: Conversion, permit: WritePermit
    ) -> Conversion:
        """PATCH only status.observedGeneration of this version of a ConversionJob.

        The rest of the status stays as it is stored, even what this release cannot read. Raises
        Conflict if the version is old.
        """
        path = "/status/observedGeneration"
        patch: list[Body] = [{"op": "add", "path": path, "value": conversion.generation}]
        return await self._patch_status(conversion, patch, permit)

    async def write_queue_status(
        self, queue: QueueObject, status: ConversionQueueStatus, permit: WritePermit
    ) -> str:
        """PATCH the status of this version of a ConversionQueue. Raises Conflict if it is old.

        Returns the version after the write.
        """
        patch: list[Body] = [
            {"op": "test", "path": "/metadata/uid", "value": queue.key.uid},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": queue.version},
            {"op": "add", "path": "/status", "value": status.to_json()},
        ]
        path = queues_path(queue.key.namespace, queue.key.name) + "/status"
        query = [("fieldManager", self._field_manager)]
        stored = await self._write(permit, "PATCH", path, patch, query)
        return str(stored["metadata"]["resourceVersion"])

    async def claim_exists(self, namespace: str, name: str) -> bool:
        """GET a PersistentVolumeClaim. False if it does not exist."""
        try:
            await self._transport.request(
                "GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
            )
        except NotFound:
            return False
        return True

    async def served_schema(self) -> Body:
        """GET the schema of ConversionJobs, as the API server serves it. Every account may.

        Raises NotFound if no ConversionJobs are served.
        """
        document = await self._transport.request("GET", f"/openapi/v3/apis/{names.API_VERSION}")
        schema = served.served_schema(document)
        if schema is None:
            raise NotFound("the API server serves no schema of ConversionJobs")
        return schema

    async def latest_warning(self, namespace: str, uid: str) -> str:
        """LIST the Warning Events about an object, and return the latest. "" if there is none."""
        query = [("fieldSelector", f"involvedObject.uid={uid},type=Warning")]
        path = f"/api/v1/namespaces/{namespace}/events"
        return await self._transport.first_page(path, query, _EVENTS, parsing.latest_warning)

    async def log_tail(self, namespace: str, pod: str) -> str:
        """GET the end of a pod's log. The server limits its size, even within a long line.

        Returns "" if the pod has no log yet or no longer exists.
        """
        text = b""
        for lines in _LOG_LINES:
            text = await self._read_log(namespace, pod, lines)
            # A cut response has the oldest of these lines. Fewer lines show the latest ones.
            if len(text) < _LOG_MAX_BYTES:
                break
        return text.decode(errors="replace")

    async def _read_log(self, namespace: str, pod: str, lines: int) -> bytes:
        query = [("tailLines", str(lines)), ("limitBytes", str(_LOG_MAX_BYTES))]
        try:
            response = await self._transport.send(
                "GET", _path(Resource.PODS, namespace, pod) + "/log", query, limits=_LOG_TIMEOUT
            )
            return await response.read()
        except (NotFound, Rejected):
            return b""  # the container has not started, or its pod was deleted
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the log of {pod} is incomplete: {error!r}") from error

    async def find_config_map(self, namespace: str, name: str) -> tuple[ConfigMap | None, str]:
        """LIST the ConfigMap with this name. None if there is none. With the version of the list.

        A right for one name allows this, and a later watch.
        """
        query = [("fieldSelector", f"metadata.name={name}")]
        body = await self._transport.request("GET", _config_maps(namespace), query)
        found = [parsing.parse_config_map(item) for item in body["items"]]
        return (found[0] if found else None), body["metadata"]["resourceVersion"]

    async def watch_config_map(
        self, namespace: str, name: str, version: str
    ) -> AsyncIterator[ConfigMap | None]:
        """Watch the ConfigMap with this name: its states after ``version``. None: deleted."""
        query = [("fieldSelector", f"metadata.name={name}"), ("resourceVersion", version)]
        async for event in self._transport.watch(_config_maps(namespace), query):
            if event.object is not None:
                deleted = event.type == "DELETED"
                yield None if deleted else parsing.parse_config_map(event.object)

    async def create_event(self, event: Event, reporter: str, permit: WritePermit) -> None:
        """POST an Event. ``reporter`` is the identity of this operator."""
        path = f"/api/v1/namespaces/{event.about.namespace}/events"
        await self._write(permit, "POST", path, event_body(event, reporter, self.now()))

    async def get_lease(self, namespace: str, name: str) -> Lease:
        """GET a Lease."""
        path = _lease_path(namespace, name)
        return parsing.parse_lease(
            await self._transport.request("GET", path, limits=_LEASE_TIMEOUT)
        )

    async def create_lease(self, namespace: str, name: str, lease: Lease) -> Lease:
        """POST a Lease."""
        body = lease_body(namespace, name, lease, self.now())
        path = _lease_path(namespace)
        return parsing.parse_lease(
            await self._transport.request("POST", path, body=body, limits=_LEASE_TIMEOUT)
        )

    async def replace_lease(self, namespace: str, name: str, lease: Lease) -> Lease:
        """PUT a Lease. Raises Conflict if the stored version is not ``lease.version``."""
        body = lease_body(namespace, name, lease, self.now())
        path = _lease_path(namespace, name)
        return parsing.parse_lease(
            await self._transport.request("PUT", path, body=body, limits=_LEASE_TIMEOUT)
        )

    async def _patch_status(
        self, conversion: Conversion, patch: list[Body], permit: WritePermit
    ) -> Conversion:
        """PATCH the status. An old version gets 409, a failed test of the uid 422."""
        key = conversion.key
        path = _path(Resource.CONVERSIONS, key.namespace, key.name) + "/status"
        version = str(conversion.version)
        guards: list[Body] = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]
        query = [("fieldManager", self._field_manager)]
        body = [*guards, *patch]
        return parsing.parse_used(await self._write(permit, "PATCH", path, body, query))

    async def _delete(self, permit: WritePermit, path: str, uid: str, **options: object) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        try:
            await self._write(permit, "DELETE", path, body | options)
        except (NotFound, Conflict):
            return  # the object no longer exists, or another object has its name

    async def _write(
        self,
        permit: WritePermit,
        verb: str,
        path: str,
        body: Any,
        query: list[tuple[str, str]] | None = None,
    ) -> dict[str, Any]:
        """Send a write. All writes pass here, except those to the Lease.

        The request continues if the caller is cancelled, so that :meth:`finish_writes` can wait for
        its response.
        """
        permit.check()
        request = asyncio.create_task(self._transport.request(verb, path, query, body))
        self._writes.add(request)
        request.add_done_callback(self._end_write)
        return await asyncio.shield(request)

    def _end_write(self, request: asyncio.Task[dict[str, Any]]) -> None:
        self._writes.discard(request)
        if not request.cancelled():
            request.exception()  # otherwise asyncio logs it if the caller was cancelled


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    if namespace == ALL_NAMESPACES:
        return f"{_PREFIXES[resource]}/{resource}"
    base = f"{_PREFIXES[resource]}/namespaces/{namespace}/{resource}"
    return f"{base}/{name}" if name else base


def _config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def _lease_path(namespace: str, name: str = "") -> str:
    base = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return f"{base}/{name}" if name else base
