"""The values that decisions depend on: conversions, Jobs, pods and settings.

The ``cluster`` package parses them from API objects. Times are aware datetimes in UTC, by the API
server's clock. Callers always pass ``now``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.pod_settings import NO_POD_SETTINGS, PodSettingsByNamespace
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.core.conversion_queues import NO_QUEUES, ConversionQueues

EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""Stands for an unknown time."""

IMAGE_MAX_LENGTH: Final = 512
"""The longest name of an image, in characters. Of a longer one, only the beginning is kept."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decisions depend on. Durations are in seconds, sizes in bytes.

    ``max_cpu`` and ``max_memory`` are quantities. "" allows every amount.
    ``volume_folder`` is the folder of the volume that converters see, "" for the whole volume. It
    may contain ``{namespace}``. ``read_only_folders`` are absolute paths below this folder.
    ``restore_labels`` are the names of labels that mark restored objects. ``pods`` is what Jobs and
    pods get in each namespace. ``queues`` come from the ConversionQueues, not from the settings.
    With a ``log_retention`` of 0, converters keep no logs on the volume.
    """

    enabled: bool = True
    max_parallel: int = 3
    image: str = "my-converter:0.0.0"
    claim_name: str = "my-network-shared"
    start_timeout: int = 300
    unschedulable_timeout: int = 30
    queue_timeout: int = 86400
    stall_timeout: int = 300
    timeout: int = 21600
    max_retries: int = 2
    ttl: int = 86400
    callback_url: str = ""
    max_memory: str = "4Gi"
    max_cpu: str = "4"
    max_priority: int = 100
    max_timeout: int = 604800
    retries_allowed: int = 10
    volume_folder: str = ""
    read_only_folders: tuple[str, ...] = ()
    restore_labels: tuple[str, ...] = ("velero.io/restore-name",)
    pods: PodSettingsByNamespace = NO_POD_SETTINGS
    queues: ConversionQueues = NO_QUEUES
    max_output: int = 100 * 1024**3
    max_damaged_percent: int = 10
    max_missing_seconds: int = 5
    log_retention: int = 604800
    unreachable_toleration: int = 300
    lost_timeout: int = 900
    run_as_user: int = 65532
    run_as_group: int = 65532
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "100m", "memory": "256Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"cpu": "1", "memory": "1Gi"})


@dataclass(frozen=True, slots=True)
class Key:
    """Identifies a ConversionJob.

    The uid distinguishes ConversionJobs that had the same name one after the other.
    """

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """The labels and annotations of a ConversionJob. They are not kept in memory."""

    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


NO_METADATA: Final = Metadata()

NO_ANNOTATIONS: Final[Mapping[str, str]] = MappingProxyType({})

NO_NAMES: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Conversion:
    """A ConversionJob.

    ``spec`` has the fields of the spec that can be read. It is None if a required one cannot, or if
    the conversion has ended and no decision needs the spec: see :mod:`core.ended`. ``unsupported``
    names what this release does not know in the spec. ``spec_error`` says why it is not valid.
    ``status`` is None until the operator writes the first one. ``status_error`` says why the status
    cannot be read: the conversion may have started or ended. ``cancel``, ``suspend`` and
    ``queue`` are those fields of the spec, even if the rest of it cannot be read. ``version`` is
    the resourceVersion. ``arrival`` is the resourceVersion with which an operator first saw the
    object: of two ConversionJobs, the one with the lower arrival was created first.
    ``orphans_dependents`` is True if it is being deleted with --cascade=orphan. ``pending_reason``
    is status.reason if the phase is Pending, otherwise empty. ``labels`` are the names of the
    labels. ``annotations`` are those of our API group. ``conversion_type``, ``input_file`` and
    ``output_file`` come from the spec even if it is not valid. A missing one is an empty string,
    also if the spec has several outputs. ``output_types`` are the types of all outputs.
    ``input_path`` is the input from the root of the volume, normalized, so that equal paths match.
    ``output_paths`` are the files that the conversion is to write, normalized, in the order of the
    spec; :func:`media_converter.options.output_files` returns the files of one output. A dry run
    (``dry_run``) writes none. ``ttl`` is spec.ttlSecondsAfterFinished. ``has_notify`` is True if
    the spec has a callback, even if it cannot be read. ``status_managers`` are the operators that
    have written the status, as field managers.
    """

    key: Key
    version: int
    generation: int
    created: datetime
    deleting: bool
    spec: ConversionJobSpec | None
    status: ConversionJobStatus | None = None
    spec_error: str = ""
    unsupported: str = ""
    status_error: str = ""
    cancel: bool = False
    suspend: bool = False
    queue: str = names.DEFAULT_QUEUE
    pending_reason: str = ""
    orphans_dependents: bool = False
    arrival: int = 0
    labels: frozenset[str] = NO_NAMES
    annotations: Mapping[str, str] = field(default_factory=lambda: NO_ANNOTATIONS)
    conversion_type: str = ""
    input_file: str = ""
    output_file: str = ""
    input_path: str = ""
    output_types: tuple[str, ...] = ()
    output_paths: tuple[str, ...] = ()
    dry_run: bool = False
    ttl: int | None = None
    has_notify: bool = False
    status_managers: frozenset[str] = NO_NAMES

    @property
    def finished(self) -> bool:
        """True once a terminal phase is stored."""
        return self.status is not None and self.status.phase.terminal

    @property
    def has_output_list(self) -> bool:
        """True if the spec has a list of outputs or a profile, even with one output."""
        if self.spec is None:
            return bool(self.output_types) and not self.conversion_type
        return self.spec.conversion_type is None

    @property
    def has_unresolved_profile(self) -> bool:
        """True if the spec names a profile, until status.resolved is stored.

        :func:`conversion_operator.api.profiles.effective_spec` adds the outputs of the profile to
        the spec when the object is parsed.
        """
        spec = self.spec
        return spec is not None and not self.spec_error and bool(spec.profile) and not spec.outputs

    @property
    def cancel_requested(self) -> bool:
        """True if spec.cancel is set, or the ConversionJob is being deleted. The pod may still run.

        A ConversionJob that is being deleted exists because of somebody else's finalizer or a
        foreground deletion. With --cascade=orphan, its Job continues, and this is False.
        """
        return (
            self.deleting_with_jobs
            or self.cancel
            or (self.spec is not None and bool(self.spec.cancel))
        )

    @property
    def deleting_with_jobs(self) -> bool:
        """True if the ConversionJob is being deleted, and its Jobs are to be deleted with it."""
        return self.deleting and not self.orphans_dependents


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
    ours. Nothing is concluded from a duplicate.
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
    False. ``manager`` is the field manager that set spec.suspend last, "" if it is not known or
    is the operator. ``no_pod_left`` is True if a list of pods has shown, after ``observed_at``,
    that no pod of the Job may run.
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
    none. ``image`` is the image that the operator set, also if an admission policy replaced it.
    ``pod_settings`` is the fingerprint of the pod settings that the operator gave it.
    ``has_no_pod`` is True if the Job controller has seen the Job, and no pod of it exists: as a
    rule, the API server has rejected the pod.
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
        """True if it is suspended, or has been. It is resumed by its name, so it is not
        replaced."""
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
        """True while it is suspended, and cannot have a pod that the operator has not seen."""
        suspension = self.suspension
        return self.suspended and (suspension.from_start or suspension.no_pod_left)

    @property
    def needs_list_of_pods(self) -> bool:
        """True while it is suspended, and only a list of pods can show that none is left.

        The Job controller creates no pod for a suspended Job, once it has seen this, nor for one
        that is being deleted.
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


def stop_verb(conversion: Conversion) -> str:
    """What somebody did to stop a conversion, for its message."""
    return "deleted" if conversion.deleting_with_jobs else "cancelled"


def queue_of(children: Children) -> str:
    """The name of the ConversionQueue in which these Jobs and pods take their slot. "" if unknown.

    The newest live one decides: spec.queue may have changed between two attempts.
    """
    live: list[Job | Pod] = [job for job in children.jobs if job.live]
    live += [pod for pod in children.pods if pod.live]
    return max(live, key=lambda child: child.attempt).queue if live else ""
