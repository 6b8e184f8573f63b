"""The Cluster over the official client, on plain JSON.

The client's typed models are not used: they refuse objects that are incomplete, as a pod is
in its first moments. What is used of it is configuration, authentication with the token re-read
as it is rotated, TLS and URLs. Every request has time limits on this side: a server or network
that goes silent without closing the connection must not hold anything up.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import orjson
from kubernetes.aio import client, config

from conversion_operator.api import names
from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    Expired,
    NotFound,
    Refused,
    Unavailable,
)
from conversion_operator.cluster.interface import Body, Change, Listing, Resource
from conversion_operator.core.model import Job, Key, Pod

_READ: Final = aiohttp.ClientTimeout(total=30, connect=5)
# Short enough that a write sent just before leadership was lost cannot arrive after another
# operator has taken over (see controller/leadership.py).
_WRITE: Final = aiohttp.ClientTimeout(total=8, connect=5)
# The server ends a watch after this time; one that is silent for longer is dead.
_WATCH_SECONDS: Final = 45
_WATCH: Final = aiohttp.ClientTimeout(total=None, connect=5, sock_read=_WATCH_SECONDS + 15)
_LOG_BYTES: Final = 16384
_LOG_LINES: Final = 40
_OURS: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"

_PREFIXES: Final = {
    Resource.CONVERSIONS: f"/apis/{names.API_VERSION}",
    Resource.JOBS: "/apis/batch/v1",
    Resource.PODS: "/api/v1",
}


async def load_configuration() -> client.Configuration:
    """From the service account of the pod, else from the kubeconfig, as kubectl would."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration, persist_config=False)
    return configuration


class KubeCluster:
    """A Kubernetes cluster reached over its API server. Close it after use."""

    def __init__(self, configuration: client.Configuration, user_agent: str) -> None:
        configuration.retries = None  # callers look again; repeating blindly is not theirs to want
        self._api = client.ApiClient(configuration)
        self._api.user_agent = user_agent
        # Until a first answer this machine's clock has to do.
        self._server_time = datetime.now(UTC)
        self._server_time_at = time.monotonic()

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    def now(self) -> datetime:
        """The Date header of the latest answer, plus the time since."""
        return self._server_time + timedelta(seconds=time.monotonic() - self._server_time_at)

    async def list_all(self, resource: Resource, namespace: str) -> Listing:
        """All objects of ours, read from the store: resourceVersion is left unset on purpose."""
        query = [] if resource is Resource.CONVERSIONS else [("labelSelector", _OURS)]
        answer = await self._request("GET", _path(resource, namespace), query)
        return Listing(tuple(answer["items"]), answer["metadata"]["resourceVersion"])

    async def watch(
        self, resource: Resource, namespace: str, version: str
    ) -> AsyncIterator[Change]:
        """Changes after ``version``. Bookmarks keep the version fresh while nothing happens."""
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(_WATCH_SECONDS)),
        ]
        if resource is not Resource.CONVERSIONS:
            query.append(("labelSelector", _OURS))
        response = await self._send("GET", _path(resource, namespace), query, limits=_WATCH)
        try:
            async for line in response.content:
                if line.strip():
                    yield _parse_change(line)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"the watch of {resource} broke: {error!r}") from error
        finally:
            response.close()

    async def create_job(self, body: Body) -> Body:
        """POST a Job."""
        path = _path(Resource.JOBS, body["metadata"]["namespace"])
        return await self._request("POST", path, body=body)

    async def get_job(self, namespace: str, name: str) -> Body:
        """GET a Job."""
        return await self._request("GET", _path(Resource.JOBS, namespace, name))

    async def pods_of(self, namespace: str, conversion_uid: str) -> tuple[Body, ...]:
        """LIST the pods with the conversion's label."""
        query = [("labelSelector", f"{names.UID_LABEL}={conversion_uid}")]
        answer = await self._request("GET", _path(Resource.PODS, namespace), query)
        return tuple(answer["items"])

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

    async def write_status(self, key: Key, status: ConversionJobStatus) -> Body:
        """One JSON Patch of the status subresource, tied to the uid.

        A merge patch would leave stale fields behind, and the API server accepts one with a
        foreign uid; this one fails for a namesake of a deleted object.
        """
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "add", "path": "/status", "value": status.to_json()},
        ]
        path = _path(Resource.CONVERSIONS, key.namespace, key.name) + "/status"
        return await self._request("PATCH", path, body=patch)

    async def claim_exists(self, namespace: str, name: str) -> bool:
        """GET a PersistentVolumeClaim."""
        try:
            await self._request(
                "GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
            )
        except NotFound:
            return False
        return True

    async def latest_warning(self, namespace: str, uid: str) -> str:
        """LIST the events about one object, which are few."""
        query = [("fieldSelector", f"involvedObject.uid={uid},type=Warning"), ("limit", "50")]
        answer = await self._request("GET", f"/api/v1/namespaces/{namespace}/events", query)
        events = sorted(answer["items"], key=lambda e: e.get("lastTimestamp") or "")
        return f"{events[-1].get('reason')}: {events[-1].get('message')}" if events else ""

    async def log_tail(self, namespace: str, pod: str) -> str:
        """GET the end of a pod's log. The size is bounded by the server, line by line or not."""
        query = [("tailLines", str(_LOG_LINES)), ("limitBytes", str(_LOG_BYTES))]
        try:
            response = await self._send("GET", _path(Resource.PODS, namespace, pod) + "/log", query)
            return (await response.read()).decode(errors="replace")
        except (NotFound, Refused):
            return ""  # the container has not started, or is gone
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the log of {pod} broke off: {error!r}") from error

    async def post_event(self, body: Body) -> None:
        """POST an Event."""
        namespace = body["metadata"]["namespace"]
        await self._request("POST", f"/api/v1/namespaces/{namespace}/events", body=body)

    async def get_lease(self, namespace: str, name: str) -> Body:
        """GET a Lease."""
        return await self._request("GET", _lease_path(namespace, name))

    async def create_lease(self, namespace: str, body: Body) -> Body:
        """POST a Lease."""
        return await self._request("POST", _lease_path(namespace), body=body)

    async def replace_lease(self, namespace: str, body: Body) -> Body:
        """PUT a Lease; Conflict if it is no longer at the resourceVersion in ``body``."""
        return await self._request(
            "PUT", _lease_path(namespace, body["metadata"]["name"]), body=body
        )

    async def _delete(self, path: str, uid: str, **options: object) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", path, body=body | options)
        except (NotFound, Conflict):
            return  # gone, or another of the same name: in both cases this one does not exist

    async def _request(
        self, verb: str, path: str, query: list[tuple[str, str]] | None = None, body: Any = None
    ) -> dict[str, Any]:
        response = await self._send(verb, path, query or [], body)
        try:
            answer: dict[str, Any] = orjson.loads(await response.read())
            return answer
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{verb} {path}: the answer broke off: {error!r}") from error

    async def _send(
        self,
        verb: str,
        path: str,
        query: list[tuple[str, str]],
        body: Any = None,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        content_type = "application/json-patch+json" if verb == "PATCH" else "application/json"
        method, url, headers, data, _ = await self._api.param_serialize(
            verb,
            path,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._api.call_api(
                method,
                url,
                headers,
                data,
                _request_timeout=limits or (_READ if verb == "GET" else _WRITE),
            )
            response: aiohttp.ClientResponse = answer.response
            self._take_time(response)
            if response.status >= 400:
                text = await response.text(errors="replace")
                raise _error(verb, path, response, text)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{verb} {path}: {error!r}") from error
        return response

    def _take_time(self, response: aiohttp.ClientResponse) -> None:
        stamp = response.headers.get("Date")
        if not stamp:
            return
        # The header has whole seconds. Taking each as it comes would let time run backwards by
        # up to a second between two answers, so it only ever corrects larger differences.
        told = parsedate_to_datetime(stamp)
        if abs((told - self.now()).total_seconds()) > 1.5:
            self._server_time, self._server_time_at = told, time.monotonic()


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    base = f"{_PREFIXES[resource]}/namespaces/{namespace}/{resource}"
    return f"{base}/{name}" if name else base


def _lease_path(namespace: str, name: str = "") -> str:
    base = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return f"{base}/{name}" if name else base


def _parse_change(line: bytes) -> Change:
    event = orjson.loads(line)
    body = event["object"]
    if event["type"] == "ERROR":
        message = body.get("message", "")
        if body.get("code") == 410:
            raise Expired(message)
        raise Unavailable(f"the watch ended with an error: {message}")
    return Change(event["type"], body)


def _error(verb: str, path: str, response: aiohttp.ClientResponse, text: str) -> ClusterError:
    try:
        said = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        said = text[:200]
    message = f"{verb} {path}: {response.status} {said}"
    status = response.status
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(message)
    if status == 410:
        return Expired(message)
    if status == 429 or status >= 500 or status in (401, 408):
        # 401 too: the token was rotated a moment ago, and is read again before long.
        after = response.headers.get("Retry-After", "")
        return Unavailable(message, float(after) if after.isdigit() else None)
    return Refused(said)
