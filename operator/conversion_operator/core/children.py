"""The Jobs and pods of a conversion, as values. The ``cluster`` package parses them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from conversion_operator.api import names
from conversion_operator.core.model import (
    EPOCH,
)


@dataclass(frozen=True, slots=True)
class Controller:
    """The owner reference of an object's controller. Whoever creates an object can write it.

    ``kind`` is CONVERSION_KIND, JOB_KIND, or any other text.
    """

    kind: str
    uid: str


CONVERSION_KIND: Final = names.KIND
JOB_KIND: Final = "Job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What a Job and a pod have in common.

    ``version`` is the resourceVersion. ``attempt`` is the number of the attempt, or
    SWEEP_ATTEMPT. ``mark`` is the text of the mark annotation, an empty string if there is none.
    ``managed`` is True if the object has the label app.kubernetes.io/managed-by of our objects.
    Whoever creates an object can write its labels, from which ``conversion_uid`` and ``attempt``
    come, and its annotations: :mod:`conversion_operator.core.identity` decides whether the object
    is a child of that conversion. ``deleted`` means that the object no longer exists and that this
    is its last known state.

    ``queue`` is the queue in which it takes its slot, "" if a former release created it.

    ``duplicate`` is True if the object belongs to the conversion, but another one counts for the
    attempt. It is also True if somebody may have copied the object, with its mark, from one of
    ours. A duplicate takes a slot while it runs, but its result is never read.
    """

    namespace: str
    name: str
    uid: str
    version: int
    conversion_uid: str
    attempt: int
    created: datetime = EPOCH
    controller: Controller | None = None
    mark: str = ""
    managed: bool = False
    deletion_timestamp: datetime | None = None
    deleted: bool = False
    duplicate: bool = False
    queue: str = ""

    @property
    def deleting(self) -> bool:
        """True if its deletionTimestamp is set and it still exists. A pod is then terminating."""
        return self.deletion_timestamp is not None and not self.deleted


@dataclass(frozen=True, slots=True)
class Suspension:
    """What a Job says about being suspended.

    ``active`` is spec.suspend. ``from_start`` is True if it was suspended when it was created, and
    nobody has changed its spec since: it never had a pod. ``observed_at`` is when the condition
    Suspended became True: the Job controller creates no pod. ``resumed_at`` is when it became
    False. Each is None unless the condition has that value now. ``manager`` is the field manager
    that set spec.suspend last, "" if it is not known or is the operator. ``no_pod_left`` is True if
    a list of pods has shown, after ``observed_at``, that no pod of the Job may run.
    """

    active: bool = False
    from_start: bool = False
    observed_at: datetime | None = None
    resumed_at: datetime | None = None
    manager: str = ""
    no_pod_left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Child):
    """A batch/v1 Job for one attempt or one sweep.

    ``attempt`` is the attempt that it runs now. A Job that was suspended while it ran has run
    earlier ones, too. ``finished`` is the type of its terminal condition, Complete or Failed. It is
    None without one. ``failure`` is the reason of its Failed condition, an empty string if there is
    none. ``image`` is the image that the operator set, even if an admission policy replaced it.
    ``pod_settings`` is the fingerprint of the pod settings that the operator gave it.
    ``has_no_pod`` is True if the Job controller has seen the Job, and no pod of it exists: as a
    rule, the API server has refused the pod.
    """

    finished: str | None
    finished_at: datetime | None
    failure: str
    image: str
    suspension: Suspension = Suspension()
    pod_settings: str = ""
    has_no_pod: bool = False

    @property
    def live(self) -> bool:
        """True while it may start or run a pod, now or after somebody resumes it."""
        return self.finished is None and not self.deleted

    @property
    def suspended(self) -> bool:
        """True while somebody has suspended it."""
        return self.live and self.suspension.active

    @property
    def was_suspended(self) -> bool:
        """True if it is suspended, or has been.

        Whoever suspended it resumes it by its name. So the operator does not replace it when a
        setting changes.
        """
        suspension = self.suspension
        return suspension.active or bool(suspension.observed_at or suspension.resumed_at)

    def started_waiting(self, now: datetime) -> datetime:
        """The time from which a pod of the Job is expected. It restarts when the Job is resumed."""
        suspension = self.suspension
        if suspension.active or suspension.observed_at:
            return now  # suspended, or the Job controller has not seen yet that it is resumed
        return max(self.created, suspension.resumed_at or self.created)

    @property
    def holds_no_slot(self) -> bool:
        """True while it is suspended, and all pods that it may have are known: only they count."""
        suspension = self.suspension
        return self.suspended and (suspension.from_start or suspension.no_pod_left)

    @property
    def needs_list_of_pods(self) -> bool:
        """True while it is suspended, and only a list of pods can show that none is left.

        The Job controller creates no pod once it has set the condition Suspended, or once the Job
        is being deleted.
        """
        stopped = bool(self.suspension.observed_at) or self.deleting
        return self.suspended and stopped and not self.holds_no_slot

    def suspended_since(self, pod: Pod) -> bool:
        """True if the Job was suspended after this pod of it was created."""
        suspension = self.suspension
        if suspension.active or suspension.observed_at:
            return True
        return suspension.resumed_at is not None and pod.created < suspension.resumed_at


@dataclass(frozen=True, slots=True)
class Terminated:
    """How the converter container terminated, from the pod's containerStatuses."""

    exit_code: int
    reason: str
    message: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod(Child):
    """A pod of a Job.

    ``unschedulable`` is the message of the scheduler, ``waiting_reason`` and ``waiting_message``
    say why the container waits, and ``disruption`` is the reason of the DisruptionTarget condition.
    A text that is not known is an empty string. ``scheduled_at`` is when it got its node.
    ``has_sandbox`` is True once its volumes and its network are ready, so that its containers can
    start.
    """

    job_name: str
    phase: str
    reason: str = ""
    message: str = ""
    node: str = ""
    unschedulable: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    running_since: datetime | None = None
    terminated: Terminated | None = None
    disruption: str = ""
    disruption_message: str = ""
    scheduled_at: datetime | None = None
    has_sandbox: bool = False

    @property
    def live(self) -> bool:
        """True while one of its containers may run, even while it is terminating."""
        return not self.deleted and self.phase not in ("Succeeded", "Failed")

    @property
    def gc_will_delete(self) -> bool:
        """True if the garbage collector will delete this ended pod after its Job.

        If the Job was deleted with ``--cascade=orphan``, the pod has no owner reference, and the
        operator must delete it.
        """
        return not self.live and self.controller is not None

    @property
    def converting(self) -> bool:
        """True while the converter may run. The pod then takes a slot.

        A sidecar that an admission webhook added may run longer than the converter.
        """
        return self.live and self.terminated is None

    @property
    def converter_end(self) -> datetime | None:
        """When the converter terminated. None while it may run."""
        return (self.terminated.finished_at or self.created) if self.terminated else None


@dataclass(frozen=True, slots=True)
class Children:
    """The Jobs and pods that belong to one conversion.

    The pods are sorted by attempt. A duplicate comes after the pod whose result counts.
    """

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()

    @property
    def live(self) -> bool:
        """True if a Job or pod of the conversion may still run."""
        return any(self.may_run(job) for job in self.jobs) or any(pod.live for pod in self.pods)

    def may_run(self, job: Job) -> bool:
        """True while this Job may start or run a pod.

        A Job that is being deleted starts no pod. Somebody else's finalizer may keep it for a long
        time after its pod has ended. If no pod of it is known, one may have been created a moment
        ago.
        """
        pods = [pod for pod in self.pods if pod.job_name == job.name]
        over = bool(pods) and not any(pod.live for pod in pods)
        return job.live and not (job.deleting and over)

    def of_attempt(self, attempt: int) -> Children:
        """The Jobs and pods of one attempt, without duplicates.

        Decisions use it, so that no pod of another attempt is read by mistake.
        """
        return Children(
            tuple(job for job in self.jobs if job.attempt == attempt and not job.duplicate),
            tuple(pod for pod in self.pods if pod.attempt == attempt and not pod.duplicate),
        )

    def stale_jobs(self, current: int) -> tuple[Job, ...]:
        """The Jobs of attempts other than the current one, and duplicates.

        If such a Job is live, a create request that arrived late has created it.
        """
        return tuple(job for job in self.jobs if job.attempt != current or job.duplicate)

    @property
    def pods_without_job(self) -> tuple[Pod, ...]:
        """The pods whose Job does not exist."""
        existing = {job.name for job in self.jobs if not job.deleted}
        return tuple(pod for pod in self.pods if pod.job_name not in existing)


NO_CHILDREN: Final = Children()


def queue_of(children: Children) -> str:
    """The name of the ConversionQueue in which these Jobs and pods take their slot. "" if unknown.

    The newest live one decides: spec.queue may have changed between two attempts.
    """
    live: list[Job | Pod] = [job for job in children.jobs if job.live]
    live += [pod for pod in children.pods if pod.live]
    return max(live, key=lambda child: child.attempt).queue if live else ""
