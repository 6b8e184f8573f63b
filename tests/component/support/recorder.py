"""Events of the controllers and kubelets around the API server."""

from __future__ import annotations

from tests.component.support.clock import ServerClock
from tests.component.support.errors import ApiError, Obj
from tests.component.support.kinds import EVENTS
from tests.component.support.store import Store

ACTOR = "world"


class Recorder:
    """Writes core Events, and counts repeated ones up as client-go's correlator does."""

    def __init__(self, store: Store, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock
        self._names: dict[tuple[str, str, str], str] = {}

    def record(
        self, about: Obj, component: str, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """One Event about an object."""
        meta = about["metadata"]
        namespace = meta.get("namespace", "default")
        key = (meta["uid"], reason, message)
        name = self._names.get(key)
        if name is not None and self._store.find(EVENTS, namespace, name):
            self._store.mutate(EVENTS, namespace, name, self._count, ACTOR)
            return
        stamp = self._clock.stamp()
        self._names[key] = name = f"{meta['name']}.{self._store.rv:016x}"
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
            self._store.create(EVENTS, namespace, event, ACTOR)
        except ApiError as error:
            # A namespace that is going takes no Events; nobody misses them.
            if error.code not in (403, 404):
                raise

    def _count(self, event: Obj) -> None:
        event["count"] += 1
        event["lastTimestamp"] = self._clock.stamp()
