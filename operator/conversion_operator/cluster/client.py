"""The operator's client of the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Final

import aiohttp

from conversion_operator.api import names
from conversion_operator.api.status import ConversionJobStatus, Notification
from conversion_operator.cluster import parsing
from conversion_operator.cluster.admissions import (
    ANNOTATION,
    SLOTS_ANNOTATION,
    format_admissions,
    format_slots,
)
from conversion_operator.cluster.errors import Conflict, NotFound, Rejected, Unavailable
from conversion_operator.cluster.mark_key import format_key
from conversion_operator.cluster.objects import (
    Body,
    Event,
    FindKnown,
    Lease,
    Object,
    ObjectList,
    Resource,
    WatchEvent,
)
from conversion_operator.cluster.transport import Client
from conversion_operator.core.model import Conversion, Job, Key, Pod

_LOG_MAX_BYTES: Final = 16384
_LOG_MAX_LINES: Final = 40
_EVENTS: Final = 50
_MANAGED_BY_US: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"

_PREFIXES: Final = {
    Resource.CONVERSIONS: f"/apis/{names.API_VERSION}",
    Resource.JOBS: "/apis/batch/v1",
    Resource.PODS: "/api/v1",
}


class Cluster(Client):
    """The requests that the operator makes. Every method raises a ClusterError."""

    async def list_all(
        self, resource: Resource, namespace: str, find_known: FindKnown = lambda *_: None
    ) -> ObjectList[Object]:
        """LIST our objects. Without a resourceVersion, the server returns the newest state.

        :func:`parsing.parse_list` describes ``find_known``.
        """
        query = [] if resource is Resource.CONVERSIONS else [("labelSelector", _MANAGED_BY_US)]
        parsed = await self._transport.list_pages(
            _path(resource, namespace),
            query,
            lambda page: parsing.parse_list(
                parsing.PARSERS[resource], page, partial(find_known, resource)
            ),
        )
        return parsing.join_pages(parsed)

    async def watch(
        self, resource: Resource, namespace: str, version: str
    ) -> AsyncIterator[WatchEvent[Object]]:
        """Watch our objects: the changes after ``version``."""
        query = [("resourceVersion", version)]
        if resource is not Resource.CONVERSIONS:
            query.append(("labelSelector", _MANAGED_BY_US))
        async for event in self._transport.watch(_path(resource, namespace), query):
            yield parsing.parse_event(parsing.PARSERS[resource], event)

    async def create_job(self, body: Body) -> Job:
        """POST a Job."""
        path = _path(Resource.JOBS, body["metadata"]["namespace"])
        return parsing.parse_job(await self._transport.request("POST", path, body=body))

    async def get_job(self, namespace: str, name: str) -> Job:
        """GET a Job."""
        path = _path(Resource.JOBS, namespace, name)
        return parsing.parse_job(await self._transport.request("GET", path))

    async def list_pods(self, namespace: str, conversion_uid: str) -> tuple[Pod, ...]:
        """LIST the pods of one conversion, by label."""
        query = [("labelSelector", f"{names.UID_LABEL}={conversion_uid}")]
        parsed = await self._transport.list_pages(
            _path(Resource.PODS, namespace), query, partial(parsing.parse_list, parsing.parse_pod)
        )
        return parsing.join_pages(parsed).items

    async def delete_job(self, job: Job, *, foreground: bool) -> None:
        """DELETE a Job by name and uid."""
        policy = "Foreground" if foreground else "Background"
        await self._delete(
            _path(Resource.JOBS, job.namespace, job.name), job.uid, propagationPolicy=policy
        )

    async def delete_pod(self, pod: Pod, *, force: bool) -> None:
        """DELETE a pod by name and uid."""
        options = {"gracePeriodSeconds": 0} if force else {}
        await self._delete(_path(Resource.PODS, pod.namespace, pod.name), pod.uid, **options)

    async def delete_conversion(self, key: Key) -> None:
        """DELETE a ConversionJob by name and uid. The garbage collector then deletes its Jobs."""
        path = _path(Resource.CONVERSIONS, key.namespace, key.name)
        await self._delete(path, key.uid, propagationPolicy="Background")

    async def write_status(self, key: Key, status: ConversionJobStatus) -> Conversion:
        """PATCH the status with a JSON Patch that tests the uid.

        A merge patch would keep old fields that the new status does not have. The API server would
        also apply it to a new object with the same name as a deleted one.
        """
        patch: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "add", "path": "/status", "value": status.to_json()},
        ]
        return await self._patch_status(key, patch)

    async def write_notification(
        self, key: Key, before: Notification, after: Notification
    ) -> Conversion:
        """PATCH only status.notify, with a JSON Patch that tests the uid and ``before``.

        Raises an error if the stored value is no longer ``before``.
        """
        patch: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "test", "path": "/status/notify", "value": before.to_json()},
            {"op": "replace", "path": "/status/notify", "value": after.to_json()},
        ]
        return await self._patch_status(key, patch)

    async def claim_exists(self, namespace: str, name: str) -> bool:
        """GET a PersistentVolumeClaim. False if it does not exist."""
        try:
            await self._transport.request(
                "GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
            )
        except NotFound:
            return False
        return True

    async def latest_warning(self, namespace: str, uid: str) -> str:
        """LIST the Warning Events about an object, and return the latest. "" if there is none."""
        query = [("fieldSelector", f"involvedObject.uid={uid},type=Warning")]
        path = f"/api/v1/namespaces/{namespace}/events"
        return await self._transport.first_page(path, query, _EVENTS, parsing.latest_warning)

    async def log_tail(self, namespace: str, pod: str) -> str:
        """GET the end of a pod's log. The server limits its size, even within a long line.

        Returns "" if the pod has no log yet or no longer exists.
        """
        query = [("tailLines", str(_LOG_MAX_LINES)), ("limitBytes", str(_LOG_MAX_BYTES))]
        try:
            response = await self._transport.send(
                "GET", _path(Resource.PODS, namespace, pod) + "/log", query
            )
            return (await response.read()).decode(errors="replace")
        except (NotFound, Rejected):
            return ""  # the container has not started, or its pod was deleted
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the log of {pod} is incomplete: {error!r}") from error

    async def create_event(self, event: Event, reporter: str) -> None:
        """POST an Event. ``reporter`` is the identity of this operator."""
        path = f"/api/v1/namespaces/{event.about.namespace}/events"
        await self._transport.request("POST", path, body=_event_body(event, reporter, self.now()))

    async def get_lease(self, namespace: str, name: str) -> Lease:
        """GET a Lease."""
        return parsing.parse_lease(
            await self._transport.request("GET", _lease_path(namespace, name))
        )

    async def create_lease(self, namespace: str, name: str, lease: Lease) -> Lease:
        """POST a Lease."""
        body = _lease_body(namespace, name, lease, self.now())
        path = _lease_path(namespace)
        return parsing.parse_lease(await self._transport.request("POST", path, body=body))

    async def replace_lease(self, namespace: str, name: str, lease: Lease) -> Lease:
        """PUT a Lease. Raises Conflict if the stored version is not ``lease.version``."""
        body = _lease_body(namespace, name, lease, self.now())
        path = _lease_path(namespace, name)
        return parsing.parse_lease(await self._transport.request("PUT", path, body=body))

    async def _patch_status(self, key: Key, patch: list[dict[str, object]]) -> Conversion:
        path = _path(Resource.CONVERSIONS, key.namespace, key.name) + "/status"
        return parsing.parse_conversion(await self._transport.request("PATCH", path, body=patch))

    async def _delete(self, path: str, uid: str, **options: object) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        try:
            await self._transport.request("DELETE", path, body=body | options)
        except (NotFound, Conflict):
            return  # the object no longer exists, or another object has its name


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    base = f"{_PREFIXES[resource]}/namespaces/{namespace}/{resource}"
    return f"{base}/{name}" if name else base


def _lease_path(namespace: str, name: str = "") -> str:
    base = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return f"{base}/{name}" if name else base


def _lease_body(namespace: str, name: str, lease: Lease, now: datetime) -> Body:
    metadata = {
        "name": name,
        "namespace": namespace,
        "annotations": {
            ANNOTATION: format_admissions(lease.admissions),
            **format_key(lease.key),
            SLOTS_ANNOTATION: format_slots(lease.slots),
        },
    }
    if lease.version:
        metadata["resourceVersion"] = lease.version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.duration,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "leaseTransitions": lease.transitions,
        },
    }


def _event_body(event: Event, reporter: str, now: datetime) -> Body:
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": event.about.namespace, "generateName": "conversionjob-"},
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": event.about.namespace,
            "name": event.about.name,
            "uid": event.about.uid,
        },
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": names.MANAGED_BY},
        "reportingComponent": names.MANAGED_BY,
        "reportingInstance": reporter,
    }
