"""What the operator does on a cluster, over :mod:`conversion_operator.cluster.transport`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import aiohttp

from conversion_operator.api import names
from conversion_operator.api.status import ConversionJobStatus, Notification
from conversion_operator.cluster.errors import Conflict, NotFound, Refused, Unavailable
from conversion_operator.cluster.objects import (
    Body,
    Lease,
    Object,
    ObjectList,
    Resource,
    WatchEvent,
)
from conversion_operator.cluster.parsing import (
    PARSERS,
    parse_conversion,
    parse_event,
    parse_job,
    parse_lease,
    parse_list,
    parse_pod,
)
from conversion_operator.cluster.transport import Client
from conversion_operator.core.fence import ANNOTATION, format_admissions
from conversion_operator.core.model import Conversion, Job, Key, Pod

_LOG_BYTES: Final = 16384
_LOG_LINES: Final = 40
_OURS: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"

_PREFIXES: Final = {
    Resource.CONVERSIONS: f"/apis/{names.API_VERSION}",
    Resource.JOBS: "/apis/batch/v1",
    Resource.PODS: "/api/v1",
}


class Cluster(Client):
    """What the operator does on a cluster. Every method raises a ClusterError."""

    async def list_all(self, resource: Resource, namespace: str) -> ObjectList[Object]:
        """LIST our objects. Without a resourceVersion the answer is never an old one."""
        query = [] if resource is Resource.CONVERSIONS else [("labelSelector", _OURS)]
        answer = await self._transport.request("GET", _path(resource, namespace), query)
        return parse_list(PARSERS[resource], answer)

    async def watch(
        self, resource: Resource, namespace: str, version: str
    ) -> AsyncIterator[WatchEvent[Object]]:
        """Watch our objects from ``version`` on."""
        query = [("resourceVersion", version)]
        if resource is not Resource.CONVERSIONS:
            query.append(("labelSelector", _OURS))
        async for event in self._transport.watch(_path(resource, namespace), query):
            yield parse_event(PARSERS[resource], event)

    async def create_job(self, body: Body) -> Job:
        """POST a Job."""
        path = _path(Resource.JOBS, body["metadata"]["namespace"])
        return parse_job(await self._transport.request("POST", path, body=body))

    async def get_job(self, namespace: str, name: str) -> Job:
        """GET a Job."""
        path = _path(Resource.JOBS, namespace, name)
        return parse_job(await self._transport.request("GET", path))

    async def list_pods(self, namespace: str, conversion_uid: str) -> tuple[Pod, ...]:
        """LIST the pods with the conversion's label."""
        query = [("labelSelector", f"{names.UID_LABEL}={conversion_uid}")]
        answer = await self._transport.request("GET", _path(Resource.PODS, namespace), query)
        return parse_list(parse_pod, answer).items

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
        """DELETE a ConversionJob by name and uid, its Jobs after it."""
        path = _path(Resource.CONVERSIONS, key.namespace, key.name)
        await self._delete(path, key.uid, propagationPolicy="Background")

    async def write_status(self, key: Key, status: ConversionJobStatus) -> Conversion:
        """One JSON Patch of the status subresource, tied to the uid.

        A merge patch would leave stale fields behind, and the API server accepts one with a
        foreign uid; this one fails for a namesake of a deleted object.
        """
        patch: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "add", "path": "/status", "value": status.to_json()},
        ]
        return await self._patch_status(key, patch)

    async def write_notification(
        self, key: Key, before: Notification, after: Notification
    ) -> Conversion:
        """One JSON Patch of status.notify alone, tied to the uid and to what was read."""
        patch: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "test", "path": "/status/notify", "value": before.to_json()},
            {"op": "replace", "path": "/status/notify", "value": after.to_json()},
        ]
        return await self._patch_status(key, patch)

    async def claim_exists(self, namespace: str, name: str) -> bool:
        """GET a PersistentVolumeClaim."""
        try:
            await self._transport.request(
                "GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
            )
        except NotFound:
            return False
        return True

    async def latest_warning(self, namespace: str, uid: str) -> str:
        """LIST the events about one object, which are few."""
        query = [("fieldSelector", f"involvedObject.uid={uid},type=Warning"), ("limit", "50")]
        answer = await self._transport.request(
            "GET", f"/api/v1/namespaces/{namespace}/events", query
        )
        events = sorted(answer["items"], key=lambda e: e.get("lastTimestamp") or "")
        return f"{events[-1].get('reason')}: {events[-1].get('message')}" if events else ""

    async def log_tail(self, namespace: str, pod: str) -> str:
        """GET the end of a pod's log. The size is bounded by the server, line by line or not."""
        query = [("tailLines", str(_LOG_LINES)), ("limitBytes", str(_LOG_BYTES))]
        try:
            response = await self._transport.send(
                "GET", _path(Resource.PODS, namespace, pod) + "/log", query
            )
            return (await response.read()).decode(errors="replace")
        except (NotFound, Refused):
            return ""  # the container has not started, or is gone
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the log of {pod} broke off: {error!r}") from error

    async def post_event(self, body: Body) -> None:
        """POST an Event."""
        namespace = body["metadata"]["namespace"]
        await self._transport.request("POST", f"/api/v1/namespaces/{namespace}/events", body=body)

    async def get_lease(self, namespace: str, name: str) -> Lease:
        """GET a Lease."""
        return parse_lease(await self._transport.request("GET", _lease_path(namespace, name)))

    async def create_lease(self, namespace: str, name: str, lease: Lease) -> Lease:
        """POST a Lease."""
        body = _lease_body(namespace, name, lease, self.now())
        path = _lease_path(namespace)
        return parse_lease(await self._transport.request("POST", path, body=body))

    async def replace_lease(self, namespace: str, name: str, lease: Lease) -> Lease:
        """PUT a Lease. Raises Conflict if it is no longer at ``lease.version``."""
        body = _lease_body(namespace, name, lease, self.now())
        path = _lease_path(namespace, name)
        return parse_lease(await self._transport.request("PUT", path, body=body))

    async def _patch_status(self, key: Key, patch: list[dict[str, object]]) -> Conversion:
        path = _path(Resource.CONVERSIONS, key.namespace, key.name) + "/status"
        return parse_conversion(await self._transport.request("PATCH", path, body=patch))

    async def _delete(self, path: str, uid: str, **options: object) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        try:
            await self._transport.request("DELETE", path, body=body | options)
        except (NotFound, Conflict):
            return  # gone, or another of the same name: in both cases this one does not exist


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
        "annotations": {ANNOTATION: format_admissions(lease.admissions)},
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
