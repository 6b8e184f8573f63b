"""The input of a decision and its result: the snapshot and the plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.status import ConversionJobStatus, Retries
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.model import Conversion, Policy
from media_converter.contract import Progress

TOMBSTONE_TTL: Final = timedelta(seconds=120)
"""How long a finished Job is kept after the conversion ends. If an operator process was suspended
and sends the create request of that Job late, the API server responds with 409 AlreadyExists."""

SIDECAR_GRACE: Final = timedelta(seconds=10)
"""How long a sidecar may run after the end of the converter. Then its pod is deleted."""

PROGRESS_INTERVAL: Final = timedelta(seconds=10)
"""How often to read and write the progress of a running conversion."""

STARTING_WRITE_DELAY: Final = timedelta(seconds=2)
"""The reason Starting is not written before the operator has waited this long for the pod. Most
containers run by then, so the write is not needed."""

SHORT_WAIT: Final = timedelta(seconds=30)
SHORT_RUN: Final = timedelta(seconds=10)
"""The status of a conversion that starts within SHORT_WAIT of its creation is written again only
after the Job has been starting, or its container running, for SHORT_RUN. Many end earlier, which
saves one write."""

STARTING_INTERVAL: Final = timedelta(seconds=10)
"""How often to check why a container does not start. Some causes appear in Events only."""

POD_OVERDUE: Final = timedelta(seconds=20)
"""If a Job has no pod for this long, the operator reads its Events, even if the status of the Job
does not say that it has no pod."""

MOUNT_OVERDUE: Final = timedelta(seconds=15)
"""If the volumes and the network of a pod are not ready this long after it was scheduled, the
operator reads its Events."""

FORCE_AFTER: Final = timedelta(seconds=60)
"""A pod that should end, but has not terminated this long after its grace period, is deleted by
force."""

FINISHING_TIME: Final = timedelta(seconds=30)
"""How long a waiting conversion keeps the Job of its last attempt while the Job's conditions do not
show the end yet. After that the Job is deleted, because it takes a slot."""

STOP_RECHECK_INTERVAL: Final = timedelta(seconds=60)
"""If no watch event arrives, how often to check whether a Job being deleted still exists."""


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete one Job.

    With foreground propagation, the Job exists and holds its slot until its pod is deleted.
    """

    job: Job
    foreground: bool


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete one pod. With ``force``, do not wait for its kubelet."""

    pod: Pod
    force: bool


@dataclass(frozen=True, slots=True)
class DeleteConversion:
    """Delete the ConversionJob itself, because its time to live has expired."""


Action = DeleteJob | DeletePod | DeleteConversion


@dataclass(frozen=True, slots=True)
class Block:
    """A reason and a message for the status: why a conversion waits, or why it must stop or
    fail."""

    reason: str
    message: str


ProfileAnswer = ConversionProfileSpec | Block
"""What a ConversionProfile says, or why the conversions that name it wait."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one decision depends on.

    ``position`` is the queue position: the place among the waiting conversions of the same
    ConversionQueue and namespace, from 1. :meth:`Queue.position` says when it is None. If
    ``refresh`` is True, a changed position or message is written even if the reason is unchanged.
    ``block`` is set if something other than the slots keeps the conversion from starting.
    ``warning`` is the latest Warning Event of a Job or pod that has not started. It is an empty
    string if there is none. ``progress`` and ``logs`` are the latest output of the running
    converter. ``last_write_age`` is the time since this operator process last wrote the status. It
    is None if this process has not written it. ``should_yield_slot`` is True if the pod of this
    conversion has no node, and another conversion could use its slot. ``input_writer`` is the name
    of another unfinished conversion whose output is the input of this one. It is an empty string if
    there is none. ``profile`` is what its ConversionProfile says. It is None if the conversion does
    not need it, or if there is no answer yet.
    """

    conversion: Conversion
    children: Children
    now: datetime
    policy: Policy
    position: int | None = None
    refresh: bool = False
    block: Block | None = None
    warning: str = ""
    progress: Progress | None = None
    logs: str = ""
    last_write_age: timedelta | None = None
    should_yield_slot: bool = False
    input_writer: str = ""
    profile: ProfileAnswer | None = None

    @property
    def status(self) -> ConversionJobStatus | None:
        """The stored status. None while the stored phase is Pending."""
        return self.conversion.status

    @property
    def retries(self) -> Retries:
        """The stored counters of attempts that ended without success."""
        return (self.status and self.status.retries) or Retries()


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in their order, the status to write or None, and when to reconcile again.

    ``write_generation`` is True if only status.observedGeneration is to be written.
    """

    actions: tuple[Action, ...] = ()
    status: ConversionJobStatus | None = None
    requeue_after: timedelta | None = None
    write_generation: bool = False


def delete_live_jobs(jobs: Iterable[Job]) -> tuple[Action, ...]:
    """The actions that delete the live Jobs, except those already being deleted."""
    return tuple(DeleteJob(job, foreground=True) for job in jobs if job.live and not job.deleting)


def delete_pods(pods: Iterable[Pod]) -> tuple[Action, ...]:
    """The actions that delete the pods that still exist, except those already being deleted."""
    return tuple(
        DeletePod(pod, force=False) for pod in pods if not pod.deleted and not pod.deleting
    )


def input_awaited(writer: str, path: str) -> str:
    """Why a conversion waits for the one that writes its input, for its message."""
    return f"conversion {writer} has yet to write the input {path}"


def node_of(pod: Pod) -> str:
    """The node of a pod, for a message."""
    return f"node {pod.node or 'unknown'}"


def lost_node_message(pod: Pod, policy: Policy) -> str:
    """Why a conversion fails as NodeLost."""
    return f"{node_of(pod)} did not respond within {policy.lost_timeout} s"


def force_delete_overdue_pods(
    pods: Iterable[Pod], now: datetime, after: timedelta = FORCE_AFTER
) -> tuple[Action, ...]:
    """The actions that delete by force the pods that have not terminated.

    ``after`` counts from the deletionTimestamp, which is the end of the grace period.
    """
    return tuple(
        DeletePod(pod, force=True)
        for pod in pods
        if pod.live and pod.deletion_timestamp and pod.deletion_timestamp + after <= now
    )
