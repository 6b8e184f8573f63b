"""The requests for ConversionQueues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from pydantic import ValidationError

from conversion_operator.api import names
from conversion_operator.api.queues import ConversionQueueSpec, ConversionQueueStatus
from conversion_operator.cluster.fields import parse_time
from conversion_operator.cluster.objects import Body, WatchEvent
from conversion_operator.cluster.transport import Client
from conversion_operator.core.model import EPOCH, Key
from conversion_operator.core.queue_status import QueueObject

_PROBLEM_MAX: Final = 256


class QueueRequests(Client):
    """The part of the operator's client that reads ConversionQueues."""

    async def list_queues(self, namespace: str) -> tuple[tuple[QueueObject, ...], str]:
        """LIST the ConversionQueues, with the version of the list."""
        pages = await self._transport.list_pages(queues_path(namespace), [], _parse_page)
        items = tuple(item for page, _ in pages for item in page)
        return items, pages[0][1]

    async def watch_queues(
        self, namespace: str, version: str
    ) -> AsyncIterator[WatchEvent[QueueObject]]:
        """Watch the ConversionQueues: the changes after ``version``."""
        query = [("resourceVersion", version)]
        async for event in self._transport.watch(queues_path(namespace), query):
            found = None if event.object is None else parse_queue(event.object)
            yield WatchEvent(event.type, event.version, found)

    async def serves_queues(self) -> bool:
        """GET what the API server serves. False if it serves no ConversionQueues.

        Every account may. Without this answer, a list that fails says nothing.
        """
        found = await self._transport.request("GET", f"/apis/{names.API_VERSION}")
        return any(each.get("name") == names.QUEUE_PLURAL for each in found["resources"])


def queues_path(namespace: str, name: str = "") -> str:
    """The path of the ConversionQueues of a namespace, or of one of them."""
    path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.QUEUE_PLURAL}"
    return f"{path}/{name}" if name else path


def parse_queue(body: Body) -> QueueObject:
    """Parse a ConversionQueue. Does not raise for a spec or a status that cannot be read."""
    meta = body["metadata"]
    spec, problem = _read_spec(body.get("spec") or {})
    return QueueObject(
        key=Key(meta["namespace"], meta["name"], meta["uid"]),
        version=meta["resourceVersion"],
        generation=meta.get("generation", 0),
        created=parse_time(meta.get("creationTimestamp")) or EPOCH,
        spec=spec,
        unreadable=problem,
        status=_read_status(body.get("status") or {}),
    )


def _read_spec(body: Body) -> tuple[ConversionQueueSpec | None, str]:
    """The spec, and why it cannot be read.

    A later release may know more fields. To ignore one could start more than it allows.
    """
    try:
        return ConversionQueueSpec.model_validate(body), ""
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in ("spec", *first["loc"]))
        return None, f"{field}: {first['msg']}"[:_PROBLEM_MAX]


def _read_status(body: Body) -> ConversionQueueStatus:
    try:
        return ConversionQueueStatus.model_validate(body)
    except ValidationError:
        return ConversionQueueStatus()  # the next write replaces it


def _parse_page(page: Body) -> tuple[list[QueueObject], str]:
    return [parse_queue(item) for item in page["items"]], page["metadata"]["resourceVersion"]
