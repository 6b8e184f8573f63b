"""The values that decisions are made from: conversions, Jobs, pods and settings.

The ``cluster`` package parses them from API objects. Times are aware datetimes in UTC by the API
server's clock. Callers always pass ``now``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import ConversionJobStatus

EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""Stands for an unknown time."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decisions depend on. Times are in seconds, sizes in bytes."""

    enabled: bool = True
    max_parallel: int = 3
    image: str = "my-converter:latest"
    claim_name: str = "my-network-shared"
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
    """Identifies a ConversionJob.

    The uid distinguishes ConversionJobs that had the same name one after the other.
    """

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """A ConversionJob. If its spec is not valid, ``spec`` is None and ``invalid`` says why.

    ``annotations`` are those that the HTTP API sets and that callbacks repeat.
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

    @property
    def finished(self) -> bool:
        """True once a terminal phase is stored."""
        return self.status is not None and self.status.phase.terminal

    @property
    def cancelled(self) -> bool:
        """True if the user asked to cancel it."""
        return self.spec is not None and bool(self.spec.cancel)

    @property
    def input_path(self) -> str:
        """The input path from the root of the volume, normalised so that paths compare."""
        return normal_path(self.spec.input_file) if self.spec else ""

    @property
    def output_path(self) -> str:
        """The output path from the root of the volume, normalised so that paths compare."""
        return normal_path(self.spec.output_file) if self.spec else ""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch/v1 Job of ours, for one attempt or one sweep.

    ``finished`` is Complete or Failed from its conditions, None before that. ``deleted`` means
    that it no longer exists and that this is its last known state.
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
        """True while it may start or run a pod."""
        return self.finished is None and not self.deleted


@dataclass(frozen=True, slots=True)
class Terminated:
    """How the converter container terminated, from the pod's containerStatuses."""

    exit_code: int
    reason: str
    message: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of ours.

    ``deleted_at`` is its deletionTimestamp. ``deleted`` means that it no longer exists and that
    this is its last known state.
    """

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
        """True while it may run and so takes a slot, even if it is Terminating or an orphan."""
        return not self.deleted and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Children:
    """The Jobs and pods that carry the uid of one conversion."""

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()

    @property
    def live(self) -> bool:
        """True if a Job or pod of the conversion may still run."""
        return any(job.live for job in self.jobs) or any(pod.live for pod in self.pods)

    def of_attempt(self, number: int) -> Children:
        """The Jobs and pods of one attempt, which never reads the pod of another attempt."""
        return Children(
            tuple(job for job in self.jobs if job.attempt == number),
            tuple(pod for pod in self.pods if pod.attempt == number),
        )

    def orphan_jobs(self, current: int | None) -> tuple[Job, ...]:
        """The Jobs of attempts that are over: all Jobs except those of the current attempt.

        With None no attempt is in progress. An orphan comes from a create request that arrived
        late, after its sender considered it lost.
        """
        return tuple(job for job in self.jobs if job.attempt != current)

    @property
    def orphan_pods(self) -> tuple[Pod, ...]:
        """The pods whose Job does not exist."""
        existing = {job.name for job in self.jobs if not job.deleted}
        return tuple(pod for pod in self.pods if pod.job_name not in existing)


def normal_path(path: str) -> str:
    """The path from the root of the volume, with one leading slash and no doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")
