"""What goes into a decision besides the conversion itself, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.core.model import Job, Pod, Policy
from media_converter.contract import Progress

TOMBSTONE: Final = timedelta(seconds=120)
"""How long a finished Job stays after the end is stored. While it does, a late duplicate of its
create request, from an operator that was paused, meets 409 and starts nothing."""

PROGRESS_INTERVAL: Final = timedelta(seconds=10)
POSITION_INTERVAL: Final = timedelta(seconds=60)
STARTING_SETTLE: Final = timedelta(seconds=2)
STARTING_INTERVAL: Final = timedelta(seconds=10)
"""How often to look why a container does not start: some causes are told by events alone."""
FORCE_AFTER: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete one Job. Foreground keeps it, and with it the slot, until its pod is gone."""

    job: Job
    foreground: bool


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete one pod; ``force`` without waiting for its node."""

    pod: Pod
    force: bool


@dataclass(frozen=True, slots=True)
class DeleteConversion:
    """Delete the ConversionJob itself, at the end of its time to live."""


Action = DeleteJob | DeletePod | DeleteConversion


@dataclass(frozen=True, slots=True)
class Block:
    """Why a conversion may not start although its turn might have come."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a decision needs besides the conversion and its children.

    ``position`` is 1 for the next in the queue, None if the queue has not been looked at since
    the conversion appeared. ``since_write`` is the age of our last status write, None if unknown.
    ``progress`` and ``logs`` are what the running converter last wrote; ``events`` is the latest
    warning about a Job that does not start.
    """

    now: datetime
    policy: Policy
    position: int | None = None
    block: Block | None = None
    events: str = ""
    progress: Progress | None = None
    logs: str = ""
    since_write: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order, the new status or None for no write, and when to look again."""

    actions: tuple[Action, ...] = ()
    status: ConversionJobStatus | None = None
    requeue_after: timedelta | None = None
