"""Namespaces whose pods the API server refuses: there, one conversion at a time is the probe.

A quota, a policy or a webhook refuses the pod of a Job, not the Job. The operator has no permission
to create pods, so only another Job can show whether pods are still refused. The conversion that
gets it is the probe. The Job controller alone would try again after a growing delay of up to
minutes, and each Job would hold a slot meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.model import EPOCH, Conversion
from conversion_operator.core.plan import Block

REFUSED: Final = frozenset({Reason.POD_REJECTED, Reason.QUOTA_EXCEEDED})
"""The reasons of attempts whose pod the API server refused. A rejected Job has the same
reasons, but no attempt is recorded for it."""

RETRY_INTERVAL: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class PodTimes:
    """When the last pod of a namespace was created, and when the last converter ended.

    ``missing`` is True if a Job has no pod yet.
    """

    created: datetime = EPOCH
    ended: datetime = EPOCH
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the conversions of a namespace wait.

    ``retry_at`` is when the next one tests whether pods are still refused. It is None while one
    does.
    """

    block: Block
    retry_at: datetime | None


def find_refusal(time: datetime, block: Block, pods: PodTimes) -> Refusal | None:
    """The refusal of a namespace. None if pods are created again.

    ``time`` and ``block`` are the latest refusal of a conversion that has not ended. While one
    conversion tests whether pods are still refused, its status still shows the refused attempt as
    the last one. So the namespace still counts as refused.
    """
    if pods.created > time:
        return None
    retry_at: datetime | None = time + RETRY_INTERVAL
    if pods.missing:
        retry_at = None  # a Job has no pod yet: one conversion tests it
    elif pods.ended > time:
        retry_at = EPOCH  # now: a pod has ended since, which may have freed quota
    return Refusal(block, retry_at)


def last_refusal(conversion: Conversion) -> tuple[datetime, Block] | None:
    """When and why the pod of the last attempt was refused. None if it was not."""
    last = last_recorded_attempt(conversion.status)
    if last is None or last.completion_time is None or last.reason not in REFUSED:
        return None
    return last.completion_time, Block(last.reason, last.message or "")
