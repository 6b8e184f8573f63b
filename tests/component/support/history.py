"""What happened, from the log of changes: which Jobs were ever made, which pods lived when.

Nothing here polls: every write of every object is in the log, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tests.component.support import metadata, podstatus
from tests.component.support.errors import Obj
from tests.component.support.jobcontroller import finished
from tests.component.support.kinds import CONVERSIONJOBS, JOBS, PODS, Kind
from tests.component.support.store import Change, Store

ATTEMPT_LABEL: Final = "converter.mynetwork.io/attempt"
CONVERSION_LABEL: Final = "converter.mynetwork.io/conversion-uid"


@dataclass(frozen=True, slots=True)
class MadeJob:
    """A Job that was created once. ``owner`` is the UID of its ConversionJob."""

    uid: str
    name: str
    owner: str
    attempt: str
    made: Change


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when something held a slot, in versions of the store; ``end`` None: it does."""

    uid: str
    name: str
    job: str
    owner: str
    start: int
    end: int | None

    def at(self, rv: int) -> bool:
        """Whether it held a slot right after the write with this version."""
        return self.start <= rv and (self.end is None or rv < self.end)


class History:
    """A view of a store's log; make a new one after new changes."""

    def __init__(self, store: Store) -> None:
        self._changes = list(store.changes)
        self.jobs = [self._job(change) for change in self.of(JOBS) if change.type == "ADDED"]
        self.owners = {job.uid: job.owner for job in self.jobs if job.owner}
        self.pod_lives = self._lives(PODS, podstatus.is_terminal)
        self.job_lives = self._lives(JOBS, finished)

    def of(self, kind: Kind, uid: str | None = None) -> list[Change]:
        """Changes of one kind, or of one object."""
        return [c for c in self._changes if c.kind is kind and uid in (None, c.uid)]

    def statuses(self, uid: str) -> list[Obj]:
        """Every status a ConversionJob ever had, in order, without repetitions."""
        found: list[Obj] = []
        for change in self.of(CONVERSIONJOBS, uid):
            status = change.new.obj.get("status")
            if status is not None and (not found or found[-1] != status):
                found.append(status)
        return found

    def phases(self, uid: str) -> list[str]:
        """The phases a ConversionJob went through, without repetitions."""
        found: list[str] = []
        for status in self.statuses(uid):
            phase = status.get("phase", "")
            if not found or found[-1] != phase:
                found.append(phase)
        return found

    def slots_before(self, change: Change) -> int:
        """Slots held just before a Job was made: unfinished Jobs, and live pods without one."""
        before = change.rv - 1
        jobs = {life.uid for life in self.job_lives if life.at(before)}
        pods = {life.job or life.uid for life in self.pod_lives if life.at(before)}
        return len(jobs | pods)

    def _job(self, change: Change) -> MadeJob:
        job = change.new.obj
        meta = job["metadata"]
        attempt = (meta.get("labels") or {}).get(ATTEMPT_LABEL, meta["name"])
        return MadeJob(change.uid, meta["name"], _owner(job), attempt, change)

    def _lives(self, kind: Kind, ended: Callable[[Obj], bool]) -> list[Life]:
        starts: dict[str, Change] = {}
        ends: dict[str, int] = {}
        for change in self.of(kind):
            starts.setdefault(change.uid, change)
            if change.type == "DELETED" or ended(change.new.obj):
                ends.setdefault(change.uid, change.rv)
        return [self._life(first, ends.get(uid)) for uid, first in starts.items()]

    def _life(self, first: Change, end: int | None) -> Life:
        obj = first.new.obj
        job = _owner(obj) if first.kind is PODS else first.uid
        owner = self.owners.get(job) or (obj["metadata"].get("labels") or {}).get(
            CONVERSION_LABEL, ""
        )
        return Life(first.uid, obj["metadata"]["name"], job, owner, first.rv, end)


def peak(lives: Iterable[Life]) -> tuple[int, int]:
    """Most of these at the same time, and the version at which it was first so many."""
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
