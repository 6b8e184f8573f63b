"""The test API server with many conversions, and what it sees of the operator.

It keeps no history: a benchmark makes a thousand times the writes of a test.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.kinds import CONVERSIONJOBS, EVENTS, JOBS, LEASES, PODS, STORED
from tests.component.support.podstatus import is_terminal
from tests.component.support.scripts import succeed
from tests.component.support.storage import StoredChange
from tests.component.support.tools import conversion_job

TERMINAL: Final = ("Succeeded", "Failed", "Cancelled")
RUN_SECONDS: Final = 0.8
"""Start times have whole seconds, so a pod runs for 0.32 s on average."""
_LEASE_SECONDS: Final = 10.0
_CHANGES_KEPT: Final = 5_000
_TRIM_EVERY: Final = 1_000


@dataclass(slots=True)
class Progress:
    """How far the conversions are, counted from the writes to the storage."""

    queued: set[str] = field(default_factory=set)
    finished: dict[str, str] = field(default_factory=dict)
    jobs_created: int = 0
    jobs_deleted: int = 0
    live_pods: int = 0
    most_live_pods: int = 0
    report_seconds: list[float] = field(default_factory=list)
    """From the end of a pod to the terminal phase of its conversion."""
    first_job_at: float | None = None


class BenchmarkServer:
    """Holds the conversions, runs their pods, and counts."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.progress = Progress()
        self.requests: Counter[str] = Counter()
        """Requests of the operator, by verb and resource."""
        self._pod_ends: dict[str, float] = {}
        self._counted = 0
        self._since_trim = 0
        self.api.storage.listeners.append(self._on_change)
        self.cluster = FakeCluster(
            self.api.storage, self.api.clock, self.api.simulation, self.api.pod_logs
        )
        self.cluster.default = succeed(run_seconds=RUN_SECONDS)

    def add_conversions(self, count: int) -> None:
        """Creates conversions that wait. Their names have the order of their creation."""
        for number in range(count):
            self.api.create(conversion_job(f"c-{number:06}"))

    def configure(self, **settings: str) -> None:
        """Changes the operator's ConfigMap."""
        data = {name.upper(): text for name, text in settings.items()}
        self.api.patch("configmaps", "my-network-converter-operator", {"data": data}, NAMESPACE)

    async def pass_time(self, seconds: float) -> None:
        """Moves the clock, and waits until the operator has written its Lease after that.

        The response contains the time.
        """
        self.api.clock.advance(seconds)
        leases = self.api.storage.tables[LEASES]
        writes = leases.log[-1].rv if leases.log else 0
        while not leases.log or leases.log[-1].rv == writes:
            await self.api.storage.changed.wait(_LEASE_SECONDS)
        await asyncio.sleep(0.2)

    def count_requests(self) -> None:
        """Adds the requests since the last call, and forgets them."""
        log = self.api.audit.requests
        for request in log:
            what = "/".join(filter(None, (request.plural, request.subresource)))
            self.requests[f"{request.verb} {what or request.path}"] += 1
        log.clear()

    def describe_failures(self) -> Counter[str]:
        """How the conversions ended that did not succeed."""
        return Counter(end for end in self.progress.finished.values() if end != "Completed")

    # Inside

    def _on_change(self, change: StoredChange) -> None:
        if change.kind is CONVERSIONJOBS:
            self._on_conversion(change)
        elif change.kind is PODS:
            self._on_pod(change)
        elif change.kind is JOBS and change.type == "ADDED":
            self.progress.jobs_created += 1
            if self.progress.first_job_at is None:
                self.progress.first_job_at = time.monotonic()
        elif change.kind is JOBS and change.type == "DELETED":
            self.progress.jobs_deleted += 1
        self._since_trim += 1
        if self._since_trim >= _TRIM_EVERY:
            self._since_trim = 0
            self._trim()

    def _on_conversion(self, change: StoredChange) -> None:
        status: dict[str, Any] = change.new.obj.get("status") or {}
        phase = status.get("phase", "")
        if phase not in ("", "Pending"):  # Pending is the CRD's default: nobody has seen it
            self.progress.queued.add(change.uid)
        if phase in TERMINAL and change.uid not in self.progress.finished:
            self.progress.finished[change.uid] = status.get("reason", "")
            ended = self._pod_ends.pop(change.uid, None)
            if ended is not None:
                self.progress.report_seconds.append(time.monotonic() - ended)

    def _on_pod(self, change: StoredChange) -> None:
        was = change.old is not None and not is_terminal(change.old.obj)
        lives = change.type != "DELETED" and not is_terminal(change.new.obj)
        progress = self.progress
        progress.live_pods += lives - was
        progress.most_live_pods = max(progress.most_live_pods, progress.live_pods)
        if was and not lives:
            labels = change.new.obj["metadata"].get("labels") or {}
            self._pod_ends[labels.get("converter.mynetwork.io/conversion-uid", "")] = (
                time.monotonic()
            )

    def _trim(self) -> None:
        """Forgets old changes, as compaction does, and old Events, as their lease does."""
        storage = self.api.storage
        storage.changes.clear()
        for kind in STORED:
            table = storage.tables[kind]
            if len(table.log) > _CHANGES_KEPT:
                del table.log[:-_CHANGES_KEPT]
                table.compacted = table.log[0].rv - 1
        events = storage.tables[EVENTS].live
        for key in list(events)[:-_CHANGES_KEPT]:
            storage.dependents.pop(events.pop(key).obj["metadata"]["uid"], None)
