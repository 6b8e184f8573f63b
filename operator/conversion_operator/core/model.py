"""The plain values decisions are made on: what is known of conversions, Jobs and pods.

The cluster package parses them from API objects. Times are aware datetimes in UTC by the API
server's clock. ``now`` always comes from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from conversion_operator.api.spec import ConversionJobSpec, normal_path
from conversion_operator.api.status import ConversionJobStatus

EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""Stands for a time that is not known."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings decisions depend on. Seconds and bytes where nothing else is said."""

    enabled: bool = True
    max_parallel: int = 3
    image: str = "my-converter:latest"
    claim: str = "my-network-shared"
    start_timeout: int = 300
    queue_timeout: int = 86400
    stall: int = 300
    timeout: int = 21600
    max_retries: int = 2
    ttl: int = 86400
    callback_url: str = ""
    max_memory: int = 4 * 1024**3
    unreachable: int = 300
    lost: int = 900
    run_as_user: int = 65532
    run_as_group: int = 65532
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "100m", "memory": "256Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"cpu": "1", "memory": "1Gi"})


@dataclass(frozen=True, slots=True)
class Key:
    """Which ConversionJob: the uid tells apart two that had the same name one after the other."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """A ConversionJob. ``spec`` is None, and ``invalid`` says why, if it cannot be understood.

    ``annotations`` are those of our API group. ``conversion_type``, ``input_file`` and
    ``output_file`` are what the spec says even if it is not valid, "" if it does not say.
    """

    key: Key
    version: int
    generation: int
    created: datetime
    deleting: bool
    spec: ConversionJobSpec | None
    status: ConversionJobStatus | None = None
    invalid: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    conversion_type: str = ""
    input_file: str = ""
    output_file: str = ""

    @property
    def finished(self) -> bool:
        """True once a terminal phase is stored."""
        return self.status is not None and self.status.phase.terminal

    @property
    def cancelled(self) -> bool:
        """True if a cancel was asked for."""
        return self.spec is not None and bool(self.spec.cancel)

    @property
    def input_path(self) -> str:
        """The input from the root of the volume, in one spelling, so that paths compare."""
        return normal_path(self.spec.input_file) if self.spec else ""

    @property
    def output_path(self) -> str:
        """The output from the root of the volume, in one spelling, so that paths compare."""
        return normal_path(self.spec.output_file) if self.spec else ""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch/v1 Job of ours: one attempt.

    ``finished`` is Complete or Failed from its conditions, None while it is under way.
    """

    namespace: str
    name: str
    uid: str
    version: int
    conversion_uid: str
    owned: bool
    attempt: int
    created: datetime
    deleting: bool
    finished: str | None
    finished_at: datetime | None
    failure: str
    image: str
    deleted: bool = False

    @property
    def live(self) -> bool:
        """True while it may still start or run a pod."""
        return self.finished is None and not self.deleted


@dataclass(frozen=True, slots=True)
class Terminated:
    """How the converter container ended, from its containerStatuses."""

    exit_code: int
    reason: str
    message: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of ours. ``gone`` marks the last known state of one that was deleted."""

    namespace: str
    name: str
    uid: str
    version: int
    conversion_uid: str
    job_name: str
    attempt: int
    phase: str
    reason: str = ""
    message: str = ""
    node: str = ""
    deleted_at: datetime | None = None
    unschedulable: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    running_since: datetime | None = None
    terminated: Terminated | None = None
    disruption: str = ""
    disruption_message: str = ""
    deleted: bool = False

    @property
    def live(self) -> bool:
        """True while it may run: it holds a slot, Terminating or not, with an owner or not."""
        return not self.deleted and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Children:
    """The Jobs and pods that carry one conversion's uid."""

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()

    @property
    def live(self) -> bool:
        """True if anything may still run for the conversion."""
        return any(job.live for job in self.jobs) or any(pod.live for pod in self.pods)

    def of_attempt(self, number: int) -> Children:
        """Only what belongs to one attempt: no attempt reads another's pod, log or exit code."""
        return Children(
            tuple(job for job in self.jobs if job.attempt == number),
            tuple(pod for pod in self.pods if pod.attempt == number),
        )
