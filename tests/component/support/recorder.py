"""Writes the Events of the simulated controllers and kubelets."""

from __future__ import annotations

from tests.component.support.clock import ServerClock
from tests.component.support.errors import Obj, StatusError
from tests.component.support.kinds import EVENTS
from tests.component.support.storage import ObjectStorage

ACTOR = "cluster"


class Recorder:
    """Writes core Events. A repeated Event increments the count, as in client-go."""

    def __init__(self, storage: ObjectStorage, clock: ServerClock) -> None:
        self._storage = storage
        self._clock = clock
        self._names: dict[tuple[str, str, str], str] = {}

    def record(
        self, about: Obj, component: str, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """Writes one Event about an object."""
        meta = about["metadata"]
        namespace = meta.get("namespace", "default")
        key = (meta["uid"], reason, message)
        name = self._names.get(key)
        if name is not None and self._storage.find(EVENTS, namespace, name):
            self._storage.mutate(EVENTS, namespace, name, self._count, ACTOR)
            return
        stamp = self._clock.stamp()
        self._names[key] = name = f"{meta['name']}.{self._storage.rv:016x}"
        event: Obj = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": meta["name"],
                "namespace": namespace,
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
        }
        try:
            self._storage.create(EVENTS, namespace, event, ACTOR)
        except StatusError as error:
            # A terminating namespace accepts no Events. Nothing needs them.
            if error.code not in (403, 404):
                raise

    def _count(self, event: Obj) -> None:
        event["count"] += 1
        event["lastTimestamp"] = self._clock.stamp()
