"""Follows Jobs, pods and ConversionJobs from their watches, and says when each step happened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.percentiles import percentile

Obj = dict[str, Any]

TERMINAL: Final = ("Succeeded", "Failed", "Cancelled")
_JOB_LABEL: Final = "batch.kubernetes.io/job-name"


@dataclass(slots=True)
class Observer:
    """Monotonic times by name.

    ``submitted`` is filled in by who creates the objects. For a plain Job, ``finished`` is when its
    condition Complete was seen. For a conversion, it is when its terminal phase was seen.
    """

    conversions: bool
    submitted: dict[str, float] = field(default_factory=dict)
    job_seen: dict[str, float] = field(default_factory=dict)
    pod_ended: dict[str, float] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    containers: dict[str, str] = field(default_factory=dict)
    """The names by the id of their container."""
    most_live: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _owner: dict[str, str] = field(default_factory=dict)
    _live: set[str] = field(default_factory=set)

    def take_job(self, event: str, job: Obj, now: float) -> None:
        name = job["metadata"]["name"]
        owners = job["metadata"].get("ownerReferences") or []
        owner = owners[0]["name"] if owners else name
        self._owner[name] = owner
        if event == "DELETED" or owner not in self.submitted:
            return
        self.job_seen.setdefault(owner, now)
        if not self.conversions:
            for condition in job.get("status", {}).get("conditions", ()):
                if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                    self._finish(owner, now, "" if condition["type"] == "Complete" else "Failed")

    def take_pod(self, event: str, pod: Obj, now: float) -> None:
        meta = pod["metadata"]
        job = (meta.get("labels") or {}).get(_JOB_LABEL)
        if job is None:
            return
        name = self._owner.get(job, job)
        ended = event == "DELETED" or pod["status"].get("phase") in TERMINAL
        for container in pod["status"].get("containerStatuses") or ():
            if runtime_id := container.get("containerID"):
                self.containers[runtime_id.rpartition("/")[2]] = name
            # A kubelet reports this before it ends the pod, and the slot is free from then on.
            ended |= "terminated" in (container.get("state") or {})
        if ended:
            self._live.discard(meta["uid"])
            self.pod_ended.setdefault(name, now)
        elif meta["uid"] not in self._live:
            self._live.add(meta["uid"])
            self.most_live = max(self.most_live, len(self._live))

    def take_conversion(self, event: str, conversion: Obj, now: float) -> None:
        status = conversion.get("status") or {}
        if event != "DELETED" and status.get("phase") in TERMINAL:
            reason = "" if status["phase"] == "Succeeded" else status.get("reason", "Failed")
            self._finish(conversion["metadata"]["name"], now, reason)

    def _finish(self, name: str, now: float, failure: str) -> None:
        if name in self.submitted and name not in self.finished:
            self.finished[name] = now
            if failure:
                self.failed[name] = failure
            self.changed.set()

    @property
    def unfinished(self) -> int:
        return len(self.submitted) - len(self.finished)

    async def next_end(self) -> None:
        """Waits until another one has finished."""
        self.changed.clear()
        await self.changed.wait()

    async def until_finished(self, count: int, seconds: float) -> bool:
        """Waits until ``count`` have finished. False if the time is over before that."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.finished) < count:
                    await self.next_end()
        except TimeoutError:
            return False
        return True

    @property
    def rate(self) -> float:
        """Finished per second, from the first submission to the last end."""
        if not self.finished:
            return 0.0
        return len(self.finished) / (max(self.finished.values()) - min(self.submitted.values()))

    @property
    def rate_after_submission(self) -> float:
        """Finished per second after the last submission, while the API server creates nothing."""
        if not self.finished:
            return 0.0
        begin, end = max(self.submitted.values()), max(self.finished.values())
        count = sum(time > begin for time in self.finished.values())
        return count / (end - begin) if count else 0.0

    def finished_over_time(self) -> list[tuple[float, int]]:
        """How many had finished by a number of seconds after the first submission."""
        if not self.submitted:
            return []
        begin = min(self.submitted.values())
        ends = sorted(end - begin for end in self.finished.values())
        return [(0.0, 0), *((round(end, 2), count) for count, end in enumerate(ends, 1))]

    def latencies(self) -> dict[str, float | None]:
        """Medians and 99th percentiles, in seconds."""
        to_job = _differences(self.submitted, self.job_seen)
        to_end = _differences(self.pod_ended, self.finished)
        return {
            "submit_to_job_p50": _of(to_job, 50),
            "submit_to_job_p99": _of(to_job, 99),
            "pod_end_to_finished_p50": _of(to_end, 50),
            "pod_end_to_finished_p99": _of(to_end, 99),
        }


def _differences(begin: dict[str, float], end: dict[str, float]) -> list[float]:
    return [end[name] - begin[name] for name in begin.keys() & end.keys()]


def _of(values: list[float], percent: float) -> float | None:
    return round(percentile(values, percent), 3) if values else None
