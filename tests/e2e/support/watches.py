"""The history of all conversions, Jobs and pods, from watches that last for the whole run.

A watch sees every stored state of an object. So results from these histories are exact: no
short-lived object is missed, as it could be between two polls.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final, TypeVar

from conversion_operator.api import names
from conversion_operator.core.manifest import CONTAINER
from tests.e2e.support.commands import Kubectl

Body = Mapping[str, Any]
T = TypeVar("T")

_OURS: Final = f"labelSelector={names.MANAGED_BY_LABEL}%3D{names.MANAGED_BY}"
_PATHS: Final = {
    "conversions": f"/apis/{names.API_VERSION}/{names.PLURAL}?",
    "jobs": f"/apis/batch/v1/jobs?{_OURS}&",
    "pods": f"/api/v1/pods?{_OURS}&",
    "events": f"/api/v1/events?fieldSelector=involvedObject.kind%3D{names.KIND}&",
    "operators": "/api/v1/namespaces/my-network-converter/pods?",
}


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch; ``at`` is when it arrived, by the monotonic clock."""

    type: str
    body: Body
    at: float

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.body["metadata"]["uid"])


@dataclass
class ResourceHistory:
    """All events of one resource, and its current objects by uid."""

    events: list[WatchEvent] = field(default_factory=list)
    current: dict[str, Body] = field(default_factory=dict)

    def add(self, event: WatchEvent) -> None:
        self.events.append(event)
        if event.type == "DELETED":
            self.current.pop(event.uid, None)
        else:
            self.current[event.uid] = event.body

    def of(self, uid: str) -> list[WatchEvent]:
        """The events of one object."""
        return [event for event in self.events if event.uid == uid]


class Watches:
    """One watch per resource, each in its own thread. Use it as a context manager."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.conversions, self.jobs = ResourceHistory(), ResourceHistory()
        self.pods, self.events = ResourceHistory(), ResourceHistory()
        self.operators = ResourceHistory()
        self._kubectl = kubectl
        self._changed = threading.Condition()
        self._broken: str | None = None
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._closing = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Watches:
        for name in _PATHS:
            follow = threading.Thread(target=self._follow, args=(name,), daemon=True)
            self._threads.append(follow)
            follow.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            for process in self._processes.values():
                process.terminate()
        for thread in self._threads:
            thread.join(timeout=20)

    def _follow(self, name: str) -> None:
        while (watch := self._open(name)) is not None:
            assert watch.stdout is not None
            self._read(getattr(self, name), watch.stdout)
            watch.wait()
            # The API server ends the watches of a custom resource when its CRD changes. A new watch
            # begins with the present states.
            if name != "conversions":
                break
        with self._changed:
            self._broken = name
            self._changed.notify_all()

    def _open(self, name: str) -> subprocess.Popen[str] | None:
        """A new watch of a resource. None when there are to be no more."""
        path = f"{_PATHS[name]}watch=true&timeoutSeconds=7200"
        with self._changed:
            if self._closing:
                return None
            self._processes[name] = subprocess.Popen(
                self._kubectl.command("get", "--raw", path), stdout=subprocess.PIPE, text=True
            )
            return self._processes[name]

    def _read(self, history: ResourceHistory, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                event = json.loads(line)
                with self._changed:
                    history.add(WatchEvent(event["type"], event["object"], time.monotonic()))
                    self._changed.notify_all()

    def until(self, probe: Callable[[], T], what: str, seconds: float = 60) -> T:
        """Wait for the first true value of ``probe``, which is called after each event."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (found := probe()):
                left = deadline - time.monotonic()
                assert left > 0, f"timed out after {seconds:.0f} s: {what}"
                assert self._broken is None, f"the watch of {self._broken} ended"
                self._changed.wait(left)
            return found

    def snapshot(self, name: str) -> list[WatchEvent]:
        """The events of a resource so far."""
        with self._changed:
            return list(getattr(self, name).events)

    def pods_of(self, conversion_uid: str) -> list[Body]:
        """The current pods of a conversion."""
        return [p for p in tuple(self.pods.current.values()) if owner(p) == conversion_uid]


def owner(child: Body) -> str:
    """The uid of the conversion that a Job or pod belongs to."""
    return str(child["metadata"]["labels"][names.UID_LABEL])


def live(pod: Body) -> bool:
    """True until the pod has ended: it may run now or later."""
    return pod["status"].get("phase") not in ("Succeeded", "Failed")


def converting(pod: Body) -> bool:
    """True until the converter has ended, which frees the slot."""
    return live(pod) and "terminated" not in _state(pod)


def runs(pod: Body) -> bool:
    """True while the converter runs."""
    return live(pod) and "running" in _state(pod)


def _state(pod: Body) -> Body:
    """The state of the converter's container. A policy may have added others."""
    containers = pod["status"].get("containerStatuses") or ()
    return next((c.get("state") or {} for c in containers if c["name"] == CONTAINER), {})


def matching_over_time(
    events: list[WatchEvent], matches: Callable[[Body], bool]
) -> Iterator[dict[str, str]]:
    """The objects for which ``matches`` holds after each event: uid → uid of the conversion."""
    matching: dict[str, str] = {}
    for event in events:
        if event.type != "DELETED" and matches(event.body):
            matching[event.uid] = owner(event.body)
        else:
            matching.pop(event.uid, None)
        yield matching
