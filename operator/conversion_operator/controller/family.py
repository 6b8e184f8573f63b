"""The Jobs and pods with the labels of one conversion, told apart: its own and foreign ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

from conversion_operator.api.status import Attempt
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.identity import (
    Bound,
    Evidence,
    MarkKey,
    claimed_attempt,
    identify_job,
    identify_pods,
)

Child = TypeVar("Child", Job, Pod, Job | Pod)

_FIRST_SEEN: Final = ("conversion_uid", "attempt", "mark", "managed", "duplicate", "queue")
_first_seen: Final = attrgetter(*_FIRST_SEEN)


def _all_but_version(kind: type[Job] | type[Pod]) -> attrgetter[tuple[Any, ...]]:
    return attrgetter(*(field.name for field in fields(kind) if field.name != "version"))


# To make a copy with the other version takes ten times as long.
_facts_of_job: Final = _all_but_version(Job)
_facts_of_pod: Final = _all_but_version(Pod)


class _Tie(NamedTuple):
    """Pods of one attempt that cannot be told apart. They were created in the same second."""

    created: datetime
    uids: set[str]


class Family:
    """All Jobs and pods of one namespace that have the label of one conversion's uid.

    A child is identified when it is first seen, and again when the evidence changes. What is proven
    stays proven: a later version of an object cannot change whose it is.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._jobs: dict[str, Job] = {}
        self._pods: dict[str, Pod] = {}
        self._foreign: dict[str, Job | Pod] = {}
        # The attempts whose pods cannot be told apart.
        self._tied: dict[int, _Tie] = {}
        self._missing: set[str] = set()
        self._children: Children | None = None

    @property
    def empty(self) -> bool:
        """True if there is no Job and no pod."""
        return not (self._jobs or self._pods or self._foreign)

    @property
    def foreign(self) -> Mapping[str, Job | Pod]:
        """The foreign Jobs and pods that exist, by uid."""
        return self._foreign

    @property
    def children(self) -> Children:
        """The conversion's own Jobs and pods, lowest attempt first. Cached until one changes."""
        if self._children is None:
            runs = self.evidence.attempts_by_job_uid()
            found = [_of_attempt(j, runs.get(j.uid, j.attempt)) for j in self._jobs.values()]
            jobs = sorted(found, key=lambda j: (j.attempt, j.duplicate, j.created))
            pods = sorted(self._pods.values(), key=lambda p: (p.attempt, p.duplicate, p.version))
            self._children = Children(tuple(jobs), tuple(pods))
        return self._children

    @property
    def missing(self) -> tuple[Job | Pod, ...]:
        """The own live children that look deleted, Jobs first. They still count."""
        children: tuple[Job | Pod, ...] = (*self.children.jobs, *self.children.pods)
        return tuple(child for child in children if child.uid in self._missing)

    @property
    def marked(self) -> bool:
        """True if a Job or pod that may run, or one of the latest attempt, carries our mark.

        If a Job is known only from the status, another installation may have created it.
        """
        children = self.children
        latest = max([*self.evidence.attempts, *(job.attempt for job in children.jobs)], default=0)
        objects: tuple[Job | Pod, ...] = (*children.jobs, *children.pods)
        return any(
            self.evidence.has_mark_of_job(child)
            for child in objects
            if child.live or child.attempt == latest
        )

    def find(self, uid: str) -> Job | Pod | None:
        """One Job or pod, own or foreign."""
        return self._jobs.get(uid) or self._pods.get(uid) or self._foreign.get(uid)

    def take(self, child: Job | Pod) -> bool:
        """Take a Job or pod, or a newer version of it. Compares it with own children only.

        False if only its version is new: the status of a Job has counts that nothing here reads.
        The order of several pods depends on their versions. Which pods a suspended Job may have is
        asked for one version of it.
        """
        self._children = None
        known = self.find(child.uid)
        if known is not None:
            child = _with_first_labels(child, known)
        if child.uid in self._foreign:
            self._foreign[child.uid] = child
        elif isinstance(child, Job):
            if isinstance(known, Job):
                child = self._jobs[child.uid] = _with_known_pods(child, known)
            elif self._identify_job(child):
                self._identify_all_pods()
        elif isinstance(known, Pod):
            if child.job_name != known.job_name:
                child = replace(child, job_name=known.job_name)
            self._pods[child.uid] = child
        else:
            self._take_new_pod(child)
        if known is None or len(self._pods) > 1:
            return True
        if isinstance(child, Job) and child.needs_list_of_pods:
            return True
        facts = _facts_of_job if isinstance(child, Job) else _facts_of_pod
        return facts(child) != facts(known)

    def _take_new_pod(self, pod: Pod) -> None:
        """Compare a new pod with the own pods of its attempt, of which there are at most two.

        Everybody can create pods with our labels. So the cost does not depend on their number.
        """
        attempt = claimed_attempt(pod, self._jobs, self._foreign.keys(), self.evidence)
        tie = None if attempt is None else self._tied.get(attempt)
        if tie is not None and pod.created == tie.created:
            tie.uids.add(pod.uid)
        if attempt is None or (tie is not None and pod.created >= tie.created):
            self._foreign[pod.uid] = replace(pod, duplicate=False)
        elif tie is not None:
            self._foreign[pod.uid] = pod
            self._identify_all_pods()
        else:
            own = {uid: other for uid, other in self._pods.items() if other.attempt == attempt}
            self._identify_pods({**own, pod.uid: pod})

    def adopt(self, job: Job) -> None:
        """Take a Job that a create request has just returned. What is known may be newer."""
        before = self.evidence.bound.get(job.attempt, Bound())
        if before.job_uid != job.uid:  # the pod that was seen belongs to an earlier Job
            bound = dict(self.evidence.bound) | {job.attempt: Bound(job.uid)}
            self.evidence = replace(self.evidence, bound=bound)
        known = self.find(job.uid)
        if known is None or (known.version < job.version and not known.deleted):
            self.take(job)
        self._identify_all()

    def confirm_no_pod_left(self, uid: str) -> None:
        """Take that a list of pods had no live pod of this suspended Job."""
        job = self._jobs.get(uid)
        if job is not None:
            self._children = None
            suspension = replace(job.suspension, no_pod_left=True)
            self._jobs[uid] = replace(job, suspension=suspension)

    def mark_missing(self, uid: str) -> None:
        """Mark a child that no list or watch contains any more.

        It was deleted, or somebody removed the label that lists and watches select. An own child
        that is live still counts until the API server was asked.
        """
        child = self._jobs.get(uid) or self._pods.get(uid)
        if child is not None and child.live:
            self._missing.add(uid)
        else:
            self.mark_deleted(uid)

    def mark_found(self, uid: str) -> None:
        """Lists and watches contain this child again, or it has ended."""
        self._missing.discard(uid)

    def mark_deleted(self, uid: str) -> None:
        """Keep the last state of an own child that no longer exists. Forget a foreign one."""
        self._children = None
        self._missing.discard(uid)
        if self._foreign.pop(uid, None):
            self._untie(uid)
            return
        if uid in self._jobs:
            self._jobs[uid] = replace(self._jobs[uid], deleted=True)
            self._identify_all_pods()
        elif uid in self._pods:
            pod = self._pods[uid]
            if pod.duplicate and self.evidence.pod_uid(pod.attempt):
                del self._pods[uid]  # nothing is concluded from it
            else:
                self._pods[uid] = replace(pod, deleted=True)
        self._untie(uid)

    def forget_deleted(self, before: int | None = None) -> set[str]:
        """Forget the own children that no longer exist. Returns their uids.

        With ``before``, only those of attempts with a lower number. The pods of a Job that exists
        are kept: without them, it would look as if it was about to start one.
        """
        self._children = None
        kept = {job.name for job in self._jobs.values() if job.live}
        for pod in self._pods.values():
            if not pod.duplicate:
                # From now on, a copy of its mark is worth nothing.
                self._bind(pod.attempt, pod_uid=pod.uid)
        deleted = {
            child.uid
            for child in (*self._jobs.values(), *self._pods.values())
            if child.deleted
            and (before is None or child.attempt < before)
            and not (isinstance(child, Pod) and child.job_name in kept)
        }
        self._jobs = {uid: job for uid, job in self._jobs.items() if uid not in deleted}
        self._pods = {uid: pod for uid, pod in self._pods.items() if uid not in deleted}
        return deleted

    def use_key(self, key: MarkKey) -> None:
        """Check marks with this key from now on."""
        self.evidence = replace(self.evidence, key=key)
        self._identify_all()

    def use_attempts(self, exists: bool, attempts: Mapping[int, Attempt]) -> None:
        """Take what the status says about the attempts. Nothing happens if no proof changed."""
        before = self.evidence
        self.evidence = replace(before, exists=exists, attempts=attempts)
        for number in attempts:
            # A uid that was recorded once counts when the status no longer contains the attempt.
            self._bind(number)
        if exists != before.exists or _proofs(attempts) != _proofs(before.attempts):
            self._identify_all()

    def _identify_all(self) -> None:
        self._children = None
        pods, foreign = self._all_pods(), tuple(self._foreign.values())
        jobs = (*self._jobs.values(), *(child for child in foreign if isinstance(child, Job)))
        self._jobs, self._pods, self._foreign, self._tied = {}, {}, {}, {}
        for job in sorted(jobs, key=lambda job: (job.attempt, job.created)):
            self._identify_job(job)
        self._identify_pods(pods)

    def _identify_job(self, job: Job) -> bool:
        own = identify_job(job, self.evidence)
        if own is None:
            if not job.deleted:
                self._foreign[job.uid] = replace(job, duplicate=False)
            return False
        self._jobs[job.uid] = own
        if not own.duplicate:
            self._bind(own.attempt, job_uid=own.uid)
        return True

    def _identify_pods(self, pods: Mapping[str, Pod]) -> None:
        """Identify these pods: all of them, or all own ones of one attempt and a new one."""
        own, known, tied = identify_pods(
            pods.values(), self._jobs, self._foreign.keys(), self.evidence
        )
        for attempt, candidates in tied.items():
            self._tied[attempt] = _Tie(candidates[0].created, {pod.uid for pod in candidates})
        others = {uid: pod for uid, pod in self._pods.items() if uid not in pods}
        self._pods = others | {pod.uid: pod for pod in own}
        for pod in pods.values():
            if pod.uid in self._pods:
                self._foreign.pop(pod.uid, None)
            elif not pod.deleted:
                self._foreign[pod.uid] = replace(pod, duplicate=False)
        for attempt, uid in known.items():
            self._bind(attempt, pod_uid=uid)

    def _untie(self, uid: str) -> None:
        """A pod no longer exists. If it was in a tie, another one may count or hold the slot."""
        tie = next((tie for tie in self._tied.values() if uid in tie.uids), None)
        if tie is None:
            return
        tie.uids.remove(uid)
        if len(tie.uids) == 1 or uid in self._pods:
            self._identify_all_pods()

    def _identify_all_pods(self) -> None:
        self._tied.clear()
        self._identify_pods(self._all_pods())

    def _all_pods(self) -> dict[str, Pod]:
        return self._pods | {
            u: child for u, child in self._foreign.items() if isinstance(child, Pod)
        }

    def _bind(self, attempt: int, job_uid: str = "", pod_uid: str = "") -> None:
        """Remember the uids of an attempt. A uid that is known is never replaced."""
        evidence = self.evidence
        bound = Bound(evidence.job_uid(attempt) or job_uid, evidence.pod_uid(attempt) or pod_uid)
        if evidence.bound.get(attempt) != bound:
            kept = {n: seen for n, seen in evidence.bound.items() if not evidence.is_forgotten(n)}
            self.evidence = replace(evidence, bound={**kept, attempt: bound})


def _with_first_labels(child: Child, known: Child) -> Child:
    """Labels and annotations can be changed later. Those that were first seen count."""
    labels = _first_seen(known)
    if _first_seen(child) == labels:
        return child
    return replace(child, **dict(zip(_FIRST_SEEN, labels, strict=True)))


def _of_attempt(job: Job, attempt: int) -> Job:
    return job if job.attempt == attempt else replace(job, attempt=attempt)


def _with_known_pods(job: Job, known: Job) -> Job:
    """A newer version of a Job. While it stays suspended, no pod of it is created."""
    before, now = known.suspension, job.suspension
    same = before.active and now.active and before.observed_at == now.observed_at
    if not (same and before.no_pod_left):
        return job
    return replace(job, suspension=replace(now, no_pod_left=True))


def _proofs(attempts: Mapping[int, Attempt]) -> list[tuple[object, ...]]:
    return [(a.number, a.job_uid, a.pod_uid, a.start_time) for a in attempts.values()]
