"""Which Jobs were created and when each pod was alive, from the log of changes.

The log holds every write of every object in order, so nothing short-lived is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tests.component.support import metadata, podstatus
from tests.component.support.errors import Obj
from tests.component.support.jobcontroller import finished
from tests.component.support.kinds import CONVERSIONJOBS, JOBS, PODS, Kind
from tests.component.support.storage import ObjectStorage, StoredChange

ATTEMPT_LABEL: Final = "converter.mynetwork.io/attempt"
CONVERSION_LABEL: Final = "converter.mynetwork.io/conversion-uid"


@dataclass(frozen=True, slots=True)
class CreatedJob:
    """A created Job. ``owner`` is the UID of its ConversionJob."""

    uid: str
    name: str
    owner: str
    attempt: str
    created: StoredChange


@dataclass(frozen=True, slots=True)
class Life:
    """The resourceVersions between which a Job or pod held a slot.

    ``end`` is None while it still holds the slot.
    """

    uid: str
    name: str
    job: str
    owner: str
    start: int
    end: int | None

    def at(self, rv: int) -> bool:
        """Whether it held a slot right after the write with this resourceVersion."""
        return self.start <= rv and (self.end is None or rv < self.end)


class History:
    """The log of changes at one moment. Create another one to see later changes."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._changes = list(storage.changes)
        self.jobs = [self._job(change) for change in self.of(JOBS) if change.type == "ADDED"]
        self.owners = {job.uid: job.owner for job in self.jobs if job.owner}
        self.pod_lives = self._lives(PODS, podstatus.is_terminal)
        self.job_lives = self._lives(JOBS, finished)

    def of(self, kind: Kind, uid: str | None = None) -> list[StoredChange]:
        """Changes of one kind, or of one object."""
        return [c for c in self._changes if c.kind is kind and uid in (None, c.uid)]

    def statuses(self, uid: str) -> list[Obj]:
        """All statuses of a ConversionJob in order, without repetitions."""
        found: list[Obj] = []
        for change in self.of(CONVERSIONJOBS, uid):
            status = change.new.obj.get("status")
            if status is not None and (not found or found[-1] != status):
                found.append(status)
        return found

    def phases(self, uid: str) -> list[str]:
        """All phases of a ConversionJob in order, without repetitions."""
        found: list[str] = []
        for status in self.statuses(uid):
            phase = status.get("phase", "")
            if not found or found[-1] != phase:
                found.append(phase)
        return found

    def slots_before(self, change: StoredChange) -> int:
        """Slots held just before a change: by unfinished Jobs and by live pods without a Job.

        A Job whose pod has ended holds none, although its conditions come later: its backoffLimit
        is 0, so it starts no other pod. A suspended Job without a live pod holds none.
        """
        before = change.rv - 1
        jobs = {life.uid for life in self.job_lives if life.at(before)}
        pods = {life.job or life.uid for life in self.pod_lives if life.at(before)}
        specs = {c.uid: c.new.obj["spec"] for c in self.of(JOBS) if c.rv <= before}
        jobs -= {uid for uid, spec in specs.items() if spec.get("suspend")}
        ends = (c for c in self.of(PODS) if c.rv <= before and podstatus.is_terminal(c.new.obj))
        return len((jobs - {_owner(c.new.obj) for c in ends}) | pods)

    def _job(self, change: StoredChange) -> CreatedJob:
        job = change.new.obj
        meta = job["metadata"]
        attempt = (meta.get("labels") or {}).get(ATTEMPT_LABEL, meta["name"])
        return CreatedJob(change.uid, meta["name"], _owner(job), attempt, change)

    def _lives(self, kind: Kind, ended: Callable[[Obj], bool]) -> list[Life]:
        starts: dict[str, StoredChange] = {}
        ends: dict[str, int] = {}
        for change in self.of(kind):
            starts.setdefault(change.uid, change)
            if change.type == "DELETED" or ended(change.new.obj):
                ends.setdefault(change.uid, change.rv)
        return [self._life(first, ends.get(uid)) for uid, first in starts.items()]

    def _life(self, first: StoredChange, end: int | None) -> Life:
        obj = first.new.obj
        job = _owner(obj) if first.kind is PODS else first.uid
        owner = self.owners.get(job) or (obj["metadata"].get("labels") or {}).get(
            CONVERSION_LABEL, ""
        )
        return Life(first.uid, obj["metadata"]["name"], job, owner, first.rv, end)


def peak(lives: Iterable[Life]) -> tuple[int, int]:
    """The largest number held at the same time, and the first resourceVersion with it."""
    steps: list[tuple[int, int]] = []
    for life in lives:
        steps.append((life.start, 1))
        if life.end is not None:
            steps.append((life.end, -1))
    most = at = now = 0
    for rv, step in sorted(steps):
        now += step
        if now > most:
            most, at = now, rv
    return most, at


def _owner(obj: Obj) -> str:
    owner = metadata.controller_of(obj)
    return owner["uid"] if owner else ""
