"""The input of a decision and its result: the snapshot and the plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.status import ConversionJobStatus, Retries
from conversion_operator.core.model import Children, Conversion, Job, Pod, Policy
from media_converter.contract import Progress

TOMBSTONE: Final = timedelta(seconds=120)
"""How long a finished Job stays after the end is stored. A late duplicate of its create request,
sent by an operator that was paused, then meets 409 and starts nothing."""

PROGRESS_INTERVAL: Final = timedelta(seconds=10)
"""How often to read and write the progress of a running conversion."""

POSITION_INTERVAL: Final = timedelta(seconds=60)
"""How often at most to write the queue position of a waiting conversion."""

STARTING_SETTLE: Final = timedelta(seconds=2)
"""How long to wait before writing Starting. Most containers run by then, which saves the write."""

STARTING_INTERVAL: Final = timedelta(seconds=10)
"""How often to check why a container does not start. Some causes appear in Events only."""

FORCE_AFTER: Final = timedelta(seconds=60)
"""How long to wait for a cancelled pod to terminate before deleting it by force."""


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete one Job. In the foreground, the Job and its slot stay until its pod is deleted."""

    job: Job
    foreground: bool


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete one pod. With ``force``, do not wait for its node to confirm."""

    pod: Pod
    force: bool


@dataclass(frozen=True, slots=True)
class DeleteConversion:
    """Delete the ConversionJob itself, because its time to live is over."""


Action = DeleteJob | DeletePod | DeleteConversion


@dataclass(frozen=True, slots=True)
class Block:
    """Why a conversion may not start although a slot may be free."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one decision looks at.

    ``position`` is 1 for the next conversion in the queue, and None if the conversion is not in
    the queue or the queue was built before it appeared. ``warning`` is the latest Warning Event of
    a Job or pod that has not started, "" if there is none. ``progress`` and ``logs`` are what the
    running converter last wrote. ``since_write`` is the age of our last status write, None if it
    is not known.
    """

    conversion: Conversion
    children: Children
    now: datetime
    policy: Policy
    position: int | None = None
    block: Block | None = None
    warning: str = ""
    progress: Progress | None = None
    logs: str = ""
    since_write: timedelta | None = None

    @property
    def status(self) -> ConversionJobStatus | None:
        """The stored status. None before the first write."""
        return self.conversion.status

    @property
    def retries(self) -> Retries:
        """The stored counters of ended attempts."""
        return (self.status and self.status.retries) or Retries()


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in their order, the status to write or None, and when to reconcile again."""

    actions: tuple[Action, ...] = ()
    status: ConversionJobStatus | None = None
    requeue_after: timedelta | None = None


def stop_jobs(jobs: Iterable[Job]) -> tuple[Action, ...]:
    """Stop the Jobs that may still start or run a pod, except those already being deleted."""
    return tuple(DeleteJob(job, foreground=True) for job in jobs if job.live and not job.deleting)


def delete_pods(pods: Iterable[Pod]) -> tuple[Action, ...]:
    """Delete the pods that still exist, except those already being deleted."""
    return tuple(
        DeletePod(pod, force=False) for pod in pods if not pod.deleted and pod.deleted_at is None
    )
