"""Decides which Jobs and pods are a conversion's own.

Labels, names, annotations and owner references are no proof: everyone who may create Jobs and pods
in a namespace can write them. There are three proofs:

- **The uid.** The API server chooses it. The create request of a Job returns the uid, the status
  keeps it (``status.attempts[].jobUID``), and so does the memory of this process.
- **The mark.** While no uid is known for an attempt, for example because the response to the create
  request was lost, the Job must carry a mark that only an operator can compute.
- **The controller.** A pod belongs to the Job that is its controller by uid, if it also carries the
  mark of this Job: the Job controller copies it from the Job's template.

The last two count only on an object with the label app.kubernetes.io/managed-by of our objects. The
admission policies let nobody else create such an object.

An object with our labels and without a proof is foreign. It is never read for a decision.
"""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from conversion_operator.api.status import Attempt
from conversion_operator.core.children import CONVERSION_KIND, JOB_KIND, Child, Controller, Job, Pod
from conversion_operator.core.manifest import attempt_job_name
from conversion_operator.core.sweep import SWEEP_ATTEMPT

OwnChild = TypeVar("OwnChild", Job, Pod)

KEY_BYTES: Final = 32

_REMEMBERED_ATTEMPTS: Final = 20
"""A mark of an attempt that is older than those in the status by more than this is no proof.
Attempts are at least 15 s apart, so no late create request is for such an attempt."""


@dataclass(frozen=True, slots=True)
class MarkKey:
    """The key of the marks. The operator makes it once and keeps it on its Lease.

    A former release created Jobs without marks. ``unmarked_before`` is 75 s after the first
    operator that makes marks took over its Lease, because its last requests may arrive late. It is
    None after a new installation.
    """

    secret: bytes = field(repr=False)
    unmarked_before: datetime | None = None

    def mark(self, namespace: str, uid: str, attempt: int) -> str:
        """The mark of an attempt's Job and pods. It is worth nothing on any other attempt."""
        text = f"{namespace}/{uid}/{attempt}"
        return hmac.digest(self.secret, text.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Bound:
    """The Job and the pod that this process has seen for an attempt. "" if it has seen none."""

    job_uid: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the children of one conversion are checked against.

    ``attempts`` are the attempts in the status, by number. They are empty if the ConversionJob does
    not exist, and ``exists`` is False. ``bound`` is what this process has seen, by attempt.
    ``key`` is None while this operator has not been the leader.
    """

    namespace: str
    uid: str
    exists: bool = False
    attempts: Mapping[int, Attempt] = field(default_factory=dict)
    bound: Mapping[int, Bound] = field(default_factory=dict)
    key: MarkKey | None = None

    def job_uid(self, attempt: int) -> str:
        """The uid of the only Job that counts for an attempt. "" if it is not known."""
        recorded = self.attempts.get(attempt)
        return (recorded and recorded.job_uid) or self.bound.get(attempt, Bound()).job_uid

    def pod_uid(self, attempt: int) -> str:
        """The uid of the only pod that counts for an attempt. "" if it is not known."""
        recorded = self.attempts.get(attempt)
        return (recorded and recorded.pod_uid) or self.bound.get(attempt, Bound()).pod_uid

    def attempts_by_job_uid(self) -> dict[str, int]:
        """The attempts whose Job is known, by the uid of the Job. Of several ones, the last.

        A Job that is suspended while it runs, and resumed, runs several attempts.
        """
        numbers = sorted(self.attempts.keys() | self.bound.keys())
        return {uid: number for number in numbers if (uid := self.job_uid(number))}

    def first_attempt(self, attempt: int) -> int:
        """The first attempt of the Job of an attempt. Its name and its mark have this number."""
        uid, numbers = self.job_uid(attempt), self.attempts.keys() | self.bound.keys()
        return min((n for n in numbers if uid and self.job_uid(n) == uid), default=attempt)

    def attempts_by_pod_uid(self) -> dict[str, int]:
        """The attempts whose pod is known, by the uid of the pod."""
        numbers = self.attempts.keys() | self.bound.keys()
        return {uid: number for number in numbers if (uid := self.pod_uid(number))}

    def is_forgotten(self, attempt: int) -> bool:
        """True if the attempt is so old that its uids are not remembered."""
        oldest = min(self.attempts, default=0)
        return SWEEP_ATTEMPT < attempt < oldest - _REMEMBERED_ATTEMPTS

    def has_mark(self, child: Child) -> bool:
        """True if the child carries the mark of its attempt."""
        if self.key is None or not child.mark.isascii() or self.is_forgotten(child.attempt):
            return False
        mark = self.key.mark(self.namespace, self.uid, child.attempt)
        return hmac.compare_digest(mark, child.mark)

    def has_mark_of_job(self, child: Child) -> bool:
        """True if the child carries the mark of its attempt, or of the first one of its Job."""
        first = replace(child, attempt=self.first_attempt(child.attempt))
        return self.has_mark(child) or self.has_mark(first)


class Identified(NamedTuple):
    """The pods of a conversion.

    ``known`` are the uids of the pods that are known from now on, by attempt. ``tied`` are the
    candidates of the attempts for which none counts, because they cannot be told apart.
    """

    pods: tuple[Pod, ...]
    known: Mapping[int, str]
    tied: Mapping[int, tuple[Pod, ...]]


def attempt_of_name(job: Job, default: int) -> int:
    """The attempt in the name of a Job, whose labels may be missing."""
    _, _, number = job.name.rpartition("-")
    return int(number) if number.isascii() and number.isdigit() else default


def identify_job(job: Job, evidence: Evidence) -> Job | None:
    """The Job if it is the conversion's own, None if it is foreign.

    A Job with our mark is a duplicate if another Job is known for its attempt: a create request
    that arrived late has created it.
    """
    if (job.namespace, job.conversion_uid) != (evidence.namespace, evidence.uid):
        return None
    if job.name != attempt_job_name(evidence.uid, job.attempt):
        return None
    known = evidence.job_uid(job.attempt)
    if known == job.uid or job.uid in evidence.attempts_by_job_uid():
        return _duplicate(job, False)
    if not job.managed:
        return None
    # `kubectl delete --cascade=orphan` removes the owner reference.
    if job.controller not in (None, Controller(CONVERSION_KIND, evidence.uid)):
        return None
    if evidence.has_mark(job):
        return _duplicate(job, bool(known))
    return _duplicate(job, False) if _is_of_former_release(job, evidence) else None


def claimed_attempt(
    pod: Pod, jobs: Mapping[str, Job], foreign_jobs: Container[str], evidence: Evidence
) -> int | None:
    """The attempt whose pod this may be. None if it is foreign, whatever other pods exist.

    ``jobs`` are the conversion's own Jobs by uid, also deleted ones. ``foreign_jobs`` are the uids
    of foreign Jobs.
    """
    if (pod.namespace, pod.conversion_uid) != (evidence.namespace, evidence.uid):
        return None
    attempt = evidence.attempts_by_pod_uid().get(pod.uid)
    if attempt is not None:
        return attempt
    attempt = _attempt_of_controller(pod, jobs, evidence)
    if attempt is not None:
        return attempt if _is_proven(_of_attempt(pod, attempt), jobs, evidence) else None
    if any(j.attempt == pod.attempt and not (j.deleted or j.duplicate) for j in jobs.values()):
        return None
    return pod.attempt if _may_have_lost_its_job(pod, foreign_jobs, evidence) else None


def identify_pods(
    pods: Iterable[Pod], jobs: Mapping[str, Job], foreign_jobs: Container[str], evidence: Evidence
) -> Identified:
    """Choose the conversion's own pods. The others are foreign.

    One pod of each attempt counts: the known one, else the oldest one that its Job controls and
    that carries a valid mark. Times of creation have whole seconds. If two are equally old, none
    counts: a mark can be copied, and a name proves nothing.

    One other pod of each attempt is a duplicate. It holds a slot, but nothing is concluded from it.
    This is a further pod that its Job controls, because the Job controller may have created it, or
    a pod with a valid mark whose Job does not exist, if no other pod of its attempt is known.
    """
    controlled: dict[int, list[Pod]] = defaultdict(list)
    marked: dict[int, list[Pod]] = defaultdict(list)
    known_pods = evidence.attempts_by_pod_uid()
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.name, pod.uid)):
        attempt = claimed_attempt(pod, jobs, foreign_jobs, evidence)
        if attempt is None:
            continue
        has_job = pod.uid in known_pods or _attempt_of_controller(pod, jobs, evidence) is not None
        # Its label may say anything.
        (controlled if has_job else marked)[attempt].append(_of_attempt(pod, attempt))
    result: list[Pod] = []
    known: dict[int, str] = {}
    tied: dict[int, tuple[Pod, ...]] = {}
    for attempt, candidates in controlled.items():
        oldest = _oldest(candidates, jobs)
        uid = evidence.pod_uid(attempt) or (oldest[0].uid if len(oldest) == 1 else "")
        if uid:
            known[attempt] = uid
        elif oldest:
            tied[attempt] = oldest
        result += [_duplicate(pod, False) for pod in candidates if pod.uid == uid]
        result += _one_duplicate(pod for pod in candidates if pod.uid != uid)
    for attempt, candidates in marked.items():
        if attempt not in controlled and not evidence.pod_uid(attempt):
            result += _one_duplicate(candidates)
    names = {uid: job.name for uid, job in jobs.items()}
    named = (
        _of_job(
            pod,
            names.get(evidence.job_uid(pod.attempt))
            or attempt_job_name(evidence.uid, evidence.first_attempt(pod.attempt)),
        )
        for pod in result
    )
    return Identified(tuple(named), known, tied)


def _duplicate(child: OwnChild, duplicate: bool) -> OwnChild:
    return child if child.duplicate == duplicate else replace(child, duplicate=duplicate)


def _of_attempt(pod: Pod, attempt: int) -> Pod:
    return pod if pod.attempt == attempt else replace(pod, attempt=attempt)


def _of_job(pod: Pod, name: str) -> Pod:
    return pod if pod.job_name == name else replace(pod, job_name=name)


def _attempt_of_controller(pod: Pod, jobs: Mapping[str, Job], evidence: Evidence) -> int | None:
    """The attempt that the own Job runs which is the pod's controller by uid. None: no such Job.

    If the Job was suspended while it ran, this is not the attempt in its name and its labels.
    """
    if pod.controller is None or pod.controller.kind != JOB_KIND:
        return None
    job = jobs.get(pod.controller.uid)
    return evidence.attempts_by_job_uid().get(pod.controller.uid, job.attempt if job else None)


def _is_proven(pod: Pod, jobs: Mapping[str, Job], evidence: Evidence) -> bool:
    """True if the controller of this pod may have created it. Anybody can write an owner reference.

    The Job controller copies the annotations of the Job's template, so the pod carries the mark of
    its Job. If the key is lost, the mark on the Job still tells what it was.
    """
    if not pod.managed:
        return False
    job = jobs.get(pod.controller.uid) if pod.controller else None
    if evidence.has_mark(_of_attempt(pod, evidence.first_attempt(pod.attempt))):
        return True
    if job and job.mark:
        return pod.mark == job.mark
    before = evidence.key and evidence.key.unmarked_before
    return bool(before and not pod.mark and (job or pod).created < before)


def _oldest(candidates: Iterable[Pod], jobs: Mapping[str, Job]) -> tuple[Pod, ...]:
    """The pods that may count if none is known: those of the first second.

    Pods that exist come before deleted ones of the same second. The pods of a duplicate Job never
    count.
    """
    counting = [
        pod
        for pod in candidates
        if not (
            pod.controller and pod.controller.uid in jobs and jobs[pod.controller.uid].duplicate
        )
    ]
    first = [pod for pod in counting if pod.created == counting[0].created]
    return tuple([pod for pod in first if not pod.deleted] or first)


def _one_duplicate(pods: Iterable[Pod]) -> list[Pod]:
    """The first pod that lives, else the first one, as a duplicate. Whoever forges many holds one
    slot."""
    first = min(pods, key=lambda pod: not pod.live, default=None)
    return [_duplicate(first, True)] if first else []


def _may_have_lost_its_job(pod: Pod, foreign_jobs: Container[str], evidence: Evidence) -> bool:
    """True if the mark is valid and no other controller than a deleted Job is named."""
    if not pod.managed:
        return False
    controller = pod.controller
    if controller and (controller.kind != JOB_KIND or controller.uid in foreign_jobs):
        return False
    return evidence.has_mark(pod) or _is_of_former_release(pod, evidence)


def _is_of_former_release(child: Child, evidence: Evidence) -> bool:
    """True if a release that made no marks created the child for an attempt.

    The proof is the time of creation, which the API server sets: nobody can create such an object
    any more. For an attempt in the status, a Job must not be younger than the status says.
    """
    key, attempt = evidence.key, evidence.attempts.get(child.attempt)
    if key is None or key.unmarked_before is None or child.mark or not evidence.exists:
        return False
    if child.created >= key.unmarked_before or evidence.job_uid(child.attempt):
        return False
    if attempt is None:
        # Its Job was created, but not yet entered in the status, or it is an old attempt or a
        # sweep.
        last = max(evidence.attempts, default=0)
        return isinstance(child, Job) and child.controller is not None and child.attempt <= last + 1
    return not isinstance(child, Job) or child.created <= attempt.start_time
