"""All that happens to conversions, their Jobs and pods, from watches kept for the whole run.

A watch misses no state an object is ever stored in, so what is computed from these histories is
exact: nothing that lived for a short while between two looks is overlooked.
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
class Event:
    """One event of a watch; ``at`` is when it arrived, by the monotonic clock."""

    kind: str
    body: Body
    at: float

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.body["metadata"]["uid"])


@dataclass
class History:
    """All events of one resource, and what there is of it now, by uid."""

    events: list[Event] = field(default_factory=list)
    current: dict[str, Body] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        self.events.append(event)
        if event.kind == "DELETED":
            self.current.pop(event.uid, None)
        else:
            self.current[event.uid] = event.body

    def of(self, uid: str) -> list[Event]:
        """The events of one object."""
        return [event for event in self.events if event.uid == uid]


class World:
    """One watch for each resource, on a thread of its own. Use as a context manager."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.conversions, self.jobs = History(), History()
        self.pods, self.events = History(), History()
        self.operators = History()
        self._kubectl = kubectl
        self._changed = threading.Condition()
        self._broken: str | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> World:
        for name, path in _PATHS.items():
            watch = subprocess.Popen(
                self._kubectl.command("get", "--raw", f"{path}watch=true&timeoutSeconds=7200"),
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append(watch)
            follow = threading.Thread(target=self._follow, args=(name, watch.stdout), daemon=True)
            self._threads.append(follow)
            follow.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(timeout=10)
        for thread in self._threads:
            thread.join()

    def _follow(self, name: str, lines: IO[str]) -> None:
        history: History = getattr(self, name)
        with lines:
            for line in lines:
                event = json.loads(line)
                with self._changed:
                    history.add(Event(event["type"], event["object"], time.monotonic()))
                    self._changed.notify_all()
        with self._changed:
            self._broken = name
            self._changed.notify_all()

    def until(self, probe: Callable[[], T], what: str, seconds: float = 60) -> T:
        """The first true value of ``probe``, which is asked again after each event."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (found := probe()):
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds:.0f} s: {what}"
                assert self._broken is None, f"the watch of {self._broken} ended"
                self._changed.wait(left)
            return found

    def snapshot(self, name: str) -> list[Event]:
        """The events of a resource so far."""
        with self._changed:
            return list(getattr(self, name).events)

    def pods_of(self, conversion_uid: str) -> list[Body]:
        """The pods there are of a conversion."""
        return [p for p in tuple(self.pods.current.values()) if owner(p) == conversion_uid]


def owner(child: Body) -> str:
    """The uid of the conversion that a Job or pod belongs to."""
    return str(child["metadata"]["labels"][names.UID_LABEL])


def live(pod: Body) -> bool:
    """True until a pod has ended: it may run, or be about to, or not have stopped yet."""
    return pod["status"].get("phase") not in ("Succeeded", "Failed")


def runs(pod: Body) -> bool:
    """True while its container runs."""
    states = pod["status"].get("containerStatuses") or [{}]
    return live(pod) and "running" in states[0].get("state", {})


def together(events: list[Event], counts: Callable[[Body], bool]) -> Iterator[dict[str, str]]:
    """After each event, the objects for which ``counts`` holds: uid → uid of the conversion."""
    there: dict[str, str] = {}
    for event in events:
        if event.kind != "DELETED" and counts(event.body):
            there[event.uid] = owner(event.body)
        else:
            there.pop(event.uid, None)
        yield there
