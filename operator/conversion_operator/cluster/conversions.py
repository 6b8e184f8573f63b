"""The gateway's client of the API server: ConversionJobs, and the permissions of callers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from kubernetes.aio.client import Configuration

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.cluster.errors import Expired
from conversion_operator.cluster.list_queue import ListQueue
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from conversion_operator.cluster.parsing import (
    join_pages,
    parse_conversion,
    parse_event,
    parse_list,
)
from conversion_operator.cluster.transport import Client
from conversion_operator.core.model import Children, Conversion, Key, Policy
from conversion_operator.core.standing import find_standing

__all__ = ["Caller", "Conversion", "ConversionClient", "queue_positions"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a token, as the API server reports it."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class ConversionClient(Client):
    """The requests that the gateway makes. Every method raises a ClusterError."""

    def __init__(self, configuration: Configuration, user_agent: str) -> None:
        super().__init__(configuration, user_agent)
        self._lists = ListQueue[ObjectList[Conversion]]()

    async def close(self) -> None:
        """Cancel the lists in progress, and close all connections."""
        self._lists.close()
        await super().close()

    async def create(
        self,
        namespace: str,
        name: str,
        spec: ConversionJobSpec,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
    ) -> Conversion:
        """POST a ConversionJob."""
        metadata = {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels),
            "annotations": dict(annotations),
        }
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": metadata,
            "spec": spec.to_json(),
        }
        return parse_conversion(await self._transport.request("POST", _path(namespace), body=body))

    async def get(self, namespace: str, name: str) -> Conversion:
        """GET a ConversionJob."""
        return parse_conversion(await self._transport.request("GET", _path(namespace, name)))

    async def list_all(self, namespace: str, labels: str = "") -> ObjectList[Conversion]:
        """LIST. Without a resourceVersion, the server returns the newest state.

        ``labels`` is a label selector. "": all ConversionJobs.
        """
        return await self._list(namespace, [("labelSelector", labels)] if labels else [])

    async def list_at(self, namespace: str, version: str) -> ObjectList[Conversion]:
        """LIST the state at this version, from the history of the server.

        Raises Expired, or another ClusterError, if the server cannot read this version.
        """
        query = [("resourceVersion", version), ("resourceVersionMatch", "Exact")]
        objects = await self._list(namespace, query)
        if objects.version != version:
            # A server may ignore resourceVersionMatch, so clients must check the version.
            raise Expired(f"asked for a list of version {version}, got version {objects.version}")
        return objects

    async def _list(self, namespace: str, query: list[tuple[str, str]]) -> ObjectList[Conversion]:
        parse = partial(parse_list, parse_conversion)

        async def collect() -> ObjectList[Conversion]:
            return join_pages(await self._transport.list_pages(_path(namespace), query, parse))

        return await self._lists.collect(namespace, tuple(query), collect)

    async def watch(
        self, namespace: str, version: str, name: str = ""
    ) -> AsyncGenerator[WatchEvent[Conversion]]:
        """Watch one or all ConversionJobs of a namespace: the changes after ``version``."""
        query = [("resourceVersion", version)]
        if name:
            query.append(("fieldSelector", f"metadata.name={name}"))
        async with aclosing(self._transport.watch(_path(namespace), query)) as watched:
            async for event in watched:
                yield parse_event(parse_conversion, event)

    async def cancel(self, key: Key) -> None:
        """PATCH spec.cancel, with a JSON Patch that tests the uid."""
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "add", "path": "/spec/cancel", "value": True},
        ]
        await self._transport.request("PATCH", _path(key.namespace, key.name), body=patch)

    async def review_token(self, token: str, audience: str) -> Caller | None:
        """POST a TokenReview, and return the owner. None: not valid for the audience."""
        kind = "authentication.k8s.io/v1"
        body = {
            "apiVersion": kind,
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        review = await self._transport.request("POST", f"/apis/{kind}/tokenreviews", body=body)
        status = review.get("status") or {}
        # A server that does not support audiences returns no audiences. Then it did not check ours.
        if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
            return None
        user = status["user"]
        extra = sorted((user.get("extra") or {}).items())
        return Caller(
            user["username"],
            user.get("uid", ""),
            tuple(user.get("groups") or ()),
            tuple((key, tuple(values)) for key, values in extra),
        )

    async def review_access(self, caller: Caller, verb: str, namespace: str) -> bool:
        """POST a SubjectAccessReview: whether the caller may do ``verb`` on conversionjobs."""
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
            "extra": {key: list(values) for key, values in caller.extra},
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": kind, "kind": "SubjectAccessReview", "spec": spec}
        path = f"/apis/{kind}/subjectaccessreviews"
        review = await self._transport.request("POST", path, body=body)
        return bool((review.get("status") or {}).get("allowed"))


def queue_positions(conversions: Iterable[Conversion]) -> dict[str, int]:
    """The positions in the queue of one namespace, from 1, by uid. Only those that wait have one.

    Uses the operator's own code, so that the gateway and the operator agree. Jobs and pods are not
    known here. Their conversions have a status that says that they run.
    """
    # The gateway does not know the operator's bounds.
    policy, none = Policy(max_cpu="", max_memory=""), Children()
    standings = (find_standing(c.key.uid, c, none, False, policy) for c in conversions)
    waiting = sorted((standing for standing in standings if standing.waits), key=lambda s: s.order)
    return {standing.uid: position for position, standing in enumerate(waiting, 1)}


def _path(namespace: str, name: str = "") -> str:
    base = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}"
    return f"{base}/{name}" if name else base
