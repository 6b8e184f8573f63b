"""ConversionJobs as a client sees them, in any namespace, and who may do what with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from conversion_operator.api import names
from conversion_operator.cluster.errors import Expired
from conversion_operator.cluster.objects import Body, ObjectList, WatchEvent
from conversion_operator.cluster.transport import Client


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token belongs to, as the API server says."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()


class Conversions(Client):
    """ConversionJobs as a client sees them. Every method raises a ClusterError."""

    async def create(self, namespace: str, body: Body) -> Body:
        """POST a ConversionJob."""
        return await self._transport.request("POST", _path(namespace), body=body)

    async def get(self, namespace: str, name: str) -> Body:
        """GET a ConversionJob."""
        return await self._transport.request("GET", _path(namespace, name))

    async def list_all(self, namespace: str, labels: str = "") -> ObjectList[Body]:
        """LIST, read from the store: resourceVersion is left unset on purpose."""
        query = [("labelSelector", labels)] if labels else []
        answer = await self._transport.request("GET", _path(namespace), query)
        return ObjectList(tuple(answer["items"]), answer["metadata"]["resourceVersion"])

    async def list_at(self, namespace: str, version: str) -> ObjectList[Body]:
        """LIST of one version exactly, which the server reads from its history."""
        query = [("resourceVersion", version), ("resourceVersionMatch", "Exact")]
        answer = await self._transport.request("GET", _path(namespace), query)
        told = answer["metadata"]["resourceVersion"]
        if told != version:
            # Clients have to see for themselves that a server heeds resourceVersionMatch.
            raise Expired(f"asked for a list of version {version}, got one of {told}")
        return ObjectList(tuple(answer["items"]), version)

    async def watch(
        self, namespace: str, version: str, name: str = ""
    ) -> AsyncGenerator[WatchEvent[Body]]:
        """GET with watch."""
        query = [("resourceVersion", version)]
        if name:
            query.append(("fieldSelector", f"metadata.name={name}"))
        async with aclosing(self._transport.watch(_path(namespace), query)) as changes:
            async for change in changes:
                yield change

    async def cancel(self, namespace: str, name: str, uid: str) -> Body:
        """PATCH spec.cancel, tied to the uid."""
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/spec/cancel", "value": True},
        ]
        return await self._transport.request("PATCH", _path(namespace, name), body=patch)

    async def review_token(self, token: str, audience: str) -> Caller | None:
        """POST a TokenReview."""
        kind = "authentication.k8s.io/v1"
        body = {
            "apiVersion": kind,
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await self._transport.request("POST", f"/apis/{kind}/tokenreviews", body=body)
        status = answer.get("status") or {}
        # A server that knows no audiences says nothing of them, and has not checked ours.
        if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
            return None
        user = status["user"]
        return Caller(user["username"], user.get("uid", ""), tuple(user.get("groups") or ()))

    async def may(self, caller: Caller, verb: str, namespace: str) -> bool:
        """POST a SubjectAccessReview."""
        kind = "authorization.k8s.io/v1"
        attributes = {
            "group": names.GROUP,
            "resource": names.PLURAL,
            "verb": verb,
            "namespace": namespace,
        }
        spec = {
            "user": caller.username,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": kind, "kind": "SubjectAccessReview", "spec": spec}
        path = f"/apis/{kind}/subjectaccessreviews"
        answer = await self._transport.request("POST", path, body=body)
        return bool((answer.get("status") or {}).get("allowed"))


def _path(namespace: str, name: str = "") -> str:
    base = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}"
    return f"{base}/{name}" if name else base
