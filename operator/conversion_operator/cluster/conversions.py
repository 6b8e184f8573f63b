"""The gateway's client of the API server: ConversionJobs, and the permissions of callers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from kubernetes.aio.client import Configuration

from conversion_operator.api import names
from conversion_operator.api.label_syntax import is_subdomain
from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.cluster.errors import Expired, NotFound
from conversion_operator.cluster.list_queue import ListQueue
from conversion_operator.cluster.objects import Body, ObjectList, WatchEvent
from conversion_operator.cluster.parsing import parse_conversion, parse_event
from conversion_operator.cluster.transport import Client
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion, Key, Policy
from conversion_operator.core.standing import find_standing

__all__ = [
    "Caller",
    "Conversion",
    "ConversionClient",
    "Key",
    "QueuePlace",
    "parse_conversion",
    "queue_place",
]

T = TypeVar("T")

_NO_BOUNDS: Final = Policy(max_cpu="", max_memory="")
"""The gateway does not know the operator's bounds."""

logger = logging.getLogger(__name__)


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
        self._lists = ListQueue[ObjectList[Any]]()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` in a task that ends with this client at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel the tasks and the lists in progress, and close all connections."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
        return await self.create_body(body)

    async def create_body(self, body: Body) -> Conversion:
        """POST a ConversionJob."""
        # Without this, an API server whose CRD is older drops the fields that it does not know. A
        # dry run would then convert.
        query = [("fieldValidation", "Strict")]
        path = _path(body["metadata"]["namespace"])
        return parse_conversion(await self._transport.request("POST", path, query, body))

    async def get(self, namespace: str, name: str) -> Conversion:
        """GET a ConversionJob."""
        return parse_conversion(await self.get_body(namespace, name))

    async def get_body(self, namespace: str, name: str) -> Body:
        """GET a ConversionJob as it is stored."""
        return await self._transport.request("GET", _path(namespace, name))

    async def list_all(self, namespace: str, parse: Callable[[Body], T]) -> ObjectList[T]:
        """LIST the newest state. Keeps what ``parse`` returns for each object, and nothing else.

        ``namespace`` may be ALL_NAMESPACES.
        One object that cannot be parsed is left out, and logged.
        """
        return await self._list(namespace, [], parse)

    async def list_at(
        self, namespace: str, version: str, parse: Callable[[Body], T]
    ) -> ObjectList[T]:
        """LIST the state at this version, from the history of the server.

        Callers may ask for such lists, so only a few are collected at the same time. Raises
        Expired, or another ClusterError, if the server cannot read this version.
        """
        query = [("resourceVersion", version), ("resourceVersionMatch", "Exact")]

        async def collect() -> ObjectList[T]:
            return await self._list(namespace, query, parse)

        objects = await self._lists.collect(namespace, version, collect)
        if objects.version != version:
            # A server may ignore resourceVersionMatch, so clients must check the version.
            raise Expired(f"asked for a list of version {version}, got version {objects.version}")
        return objects

    async def current_version(self, namespace: str) -> int:
        """The newest resourceVersion of the server."""
        path = _path(namespace)
        body = await self._transport.first_page(path, [], 1, lambda page: page["metadata"])
        return int(body["resourceVersion"])

    async def _list(
        self, namespace: str, query: list[tuple[str, str]], parse: Callable[[Body], T]
    ) -> ObjectList[T]:
        def parse_page(page: Body) -> ObjectList[T]:
            items = [item for body in page["items"] for item in _try_parse(parse, body)]
            return ObjectList(tuple(items), page["metadata"]["resourceVersion"])

        parsed = await self._transport.list_pages(_path(namespace), query, parse_page)
        return ObjectList(tuple(item for page in parsed for item in page.items), parsed[0].version)

    async def watch(
        self, namespace: str, version: str, opened: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[WatchEvent[Conversion]]:
        """Watch the ConversionJobs of a namespace, or of ALL_NAMESPACES: changes after ``version``.

        Calls ``opened`` when the server has accepted the watch.
        """
        query = [("resourceVersion", version)]
        watched = self._transport.watch(_path(namespace), query, opened)
        async with aclosing(watched):
            async for event in watched:
                yield parse_event(parse_conversion, event)

    async def cancel(self, key: Key) -> Conversion:
        """PATCH spec.cancel, with a JSON Patch that tests the uid."""
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "add", "path": "/spec/cancel", "value": True},
        ]
        path = _path(key.namespace, key.name)
        return parse_conversion(await self._transport.request("PATCH", path, body=patch))

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

    async def list_queues(self, namespace: str) -> list[Body]:
        """LIST the ConversionQueues of the namespace of an installation."""
        path = _path(namespace, plural=names.QUEUE_PLURAL)
        pages = await self._transport.list_pages(path, [], lambda page: list(page["items"]))
        return [body for page in pages for body in page]

    async def get_queue(self, namespace: str, name: str) -> Body:
        """GET a ConversionQueue."""
        return await self._transport.request("GET", _path(namespace, name, names.QUEUE_PLURAL))

    async def set_stop_policy(self, namespace: str, queue: Body, policy: str) -> Body:
        """PATCH spec.stopPolicy of a ConversionQueue, with a JSON Patch that tests the uid."""
        meta = queue["metadata"]
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]}
        ]
        if queue.get("spec") is None:
            patch.append({"op": "add", "path": "/spec", "value": {}})
        patch.append({"op": "add", "path": "/spec/stopPolicy", "value": policy})
        path = _path(namespace, meta["name"], names.QUEUE_PLURAL)
        return await self._transport.request("PATCH", path, body=patch)

    async def review_access(
        self, caller: Caller, verb: str, namespace: str, resource: str = names.PLURAL
    ) -> bool:
        """POST a SubjectAccessReview: whether the caller may do ``verb`` on our ``resource``."""
        kind = "authorization.k8s.io/v1"
        attributes = {
            "group": names.GROUP,
            "resource": resource,
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


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """The place of a conversion that waits for an attempt.

    ``queue`` is its ConversionQueue. Those of one namespace and queue sort by ``key``.
    ``not_before`` is when its back-off ends, None if it has none.
    """

    queue: str

    key: tuple[datetime, int, str, str]
    not_before: datetime | None = None


def queue_place(conversion: Conversion) -> QueuePlace | None:
    """The place of a conversion in the queue of its namespace. None if it does not wait.

    It waits while no attempt is in progress, whatever blocks it: a pause, another conversion or its
    back-off. It does not wait if it has ended or is about to end. Only the object itself is judged,
    so a Job that its status does not record yet does not count.
    """
    standing = find_standing(conversion.key.uid, conversion, Children(), False, _NO_BOUNDS)
    if not standing.waits:
        return None
    return QueuePlace(standing.work.conversion_queue, standing.order, standing.retry_at)


def _try_parse(parse: Callable[[Body], T], body: Body) -> Iterable[T]:
    try:
        return (parse(body),)
    except (AttributeError, KeyError, TypeError, ValueError):
        logger.exception("Cannot parse an object; ignoring it")
        return ()


def _path(namespace: str, name: str = "", plural: str = names.PLURAL) -> str:
    """The path of a list, or of an object. Raises NotFound for a name that no object can have.

    Callers of the HTTP API choose names and namespaces. A name such as ``..`` or ``?limit=1`` would
    ask the API server something else, with the rights of this program.
    """
    if namespace == ALL_NAMESPACES:
        return f"/apis/{names.API_VERSION}/{plural}"
    for part in (namespace, name or namespace):
        if not is_subdomain(part):
            raise NotFound(part)
    base = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{plural}"
    return f"{base}/{name}" if name else base
