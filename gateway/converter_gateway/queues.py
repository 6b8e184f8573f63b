"""ConversionQueues for people who may see or hold them. No HTTP."""

from __future__ import annotations

from typing import Any, Final

from conversion_operator.api.queues import StopPolicy
from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.list_queue import ListQueue
from conversion_operator.cluster.objects import Body
from converter_gateway.audit import WriteRequest
from converter_gateway.translate import ResponseBody

_COUNTS: Final = ("queued", "running", "blocked")


class Queues:
    """The ConversionQueues of the installation. Every method raises ApiError or a ClusterError."""

    def __init__(self, cluster: ConversionClient, namespace: str) -> None:
        """``namespace`` is that of the operator: only its ConversionQueues count."""
        self.namespace = namespace
        self._cluster = cluster
        self._lists = ListQueue[list[Body]]()

    async def list(self, namespace: str | None) -> ResponseBody:
        """All queues. ``namespace``: say of no other one how many conversions it has.

        Asks the API server, once for all callers who wait for it. An installation has few queues.
        """
        found = await self._lists.collect(
            self.namespace, "queues", lambda: self._cluster.list_queues(self.namespace)
        )
        queues = [to_queue(body, namespace) for body in found]
        return {"queues": sorted(queues, key=lambda queue: str(queue["name"]))}

    async def set_stop_policy(
        self, write: WriteRequest, name: str, policy: StopPolicy
    ) -> ResponseBody:
        """Hold or resume a queue. Raises NotFound."""
        write.begin(name)
        queue = await self._cluster.get_queue(self.namespace, name)
        changed = await self._cluster.set_stop_policy(self.namespace, queue, policy)
        write.done("changed")
        return to_queue(changed, None)


def to_queue(body: Body, namespace: str | None) -> ResponseBody:
    """The response about one queue. It leaves out parts of the object that are not valid.

    ``namespace``: leave out the other ones.
    """
    spec, status = _map(body, "spec"), _map(body, "status")
    conditions = {str(each.get("type")): each for each in _items(status, "conditions")}
    accepted = conditions.get("Accepted", {})
    shares: dict[str, dict[str, Any]] = {}
    for source, fields in (
        (spec, {"weight": "weight", "maxParallel": "max_parallel"}),
        (status, {count: count for count in _COUNTS}),
    ):
        for each in _items(source, "namespaces"):
            name = each.get("name")
            if isinstance(name, str) and namespace in (None, name):
                share = shares.setdefault(name, {"name": name})
                share |= {to: _number(each, key) for key, to in fields.items()}
    policy = spec.get("stopPolicy")
    found: ResponseBody = {
        "name": body["metadata"]["name"],
        "max_parallel": _number(spec, "maxParallel"),
        "light_reserved": _number(_map(spec, "light"), "reserved"),
        "stop_policy": policy if policy in list(StopPolicy) else str(StopPolicy.NONE),
        "problem": accepted.get("message") if accepted.get("status") == "False" else None,
        "namespaces": [_present(share) for _, share in sorted(shares.items())],
    } | {count: _number(status, count) for count in _COUNTS}
    return _present(found)


def _map(body: Any, name: str) -> dict[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _items(body: Any, name: str) -> list[dict[str, Any]]:
    found = body.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _number(body: Any, name: str) -> int | None:
    found = body.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
