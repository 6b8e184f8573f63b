"""Namespaces whose pods the API server refuses: there, one conversion at a time tries to start.

A quota, a policy or a webhook refuses the pod of a Job, not the Job. The operator may not create
pods, so only another Job can show whether pods are still refused. The Job controller alone would
try again after a growing delay of up to minutes, and each Job would hold a slot meanwhile.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.model import EPOCH, Children, Conversion
from conversion_operator.core.plan import Block
from conversion_operator.core.sweep import SWEEP_ATTEMPT

REFUSED: Final = frozenset({Reason.POD_REJECTED, Reason.QUOTA_EXCEEDED})
"""The reasons of attempts whose pod the API server refused. A rejected Job has the same
reasons, but no attempt is recorded for it."""

RETRY_INTERVAL: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the conversions of a namespace wait.

    ``retry_at`` is the time when the next one tries. It is None while one is trying.
    """

    block: Block
    retry_at: datetime | None


def find_refusals(
    unfinished: Iterable[Conversion], children: Mapping[str, Children]
) -> dict[str, Refusal]:
    """The namespaces whose last pod was refused.

    One conversion of such a namespace tries again. Its status shows the refused attempt as the last
    one until its next attempt is recorded. So the namespace counts as refused meanwhile. Each
    admission pass calls this once. It visits every conversion that has not ended, and if one was
    refused, every Job and pod.
    """
    latest: dict[str, tuple[datetime, Block]] = {}
    for conversion in unfinished:
        time, block = _last_refusal(conversion)
        if block and time > latest.get(conversion.key.namespace, (EPOCH,))[0]:
            latest[conversion.key.namespace] = time, block
    if not latest:
        return {}
    trying = {c.key.uid for c in unfinished if not c.status_error}
    pods = _PodTimes(children, trying)
    refusals = {}
    for namespace, (time, block) in latest.items():
        if pods.created.get(namespace, EPOCH) > time:
            continue  # pods are created again
        retry_at: datetime | None = time + RETRY_INTERVAL
        if namespace in pods.missing:
            retry_at = None  # a Job has no pod yet: one conversion is trying
        elif pods.ended.get(namespace, EPOCH) > time:
            retry_at = EPOCH  # now: a pod has ended since, which may have freed quota
        refusals[namespace] = Refusal(block, retry_at)
    return refusals


def one_per_refused_namespace(
    startable: Sequence[Conversion], refusals: Mapping[str, Refusal], now: datetime
) -> tuple[list[Conversion], dict[str, Block]]:
    """Split the conversions that may start into those that start now, and those that wait.

    In a namespace with a refusal, at most one conversion starts. They take turns: the one that was
    refused longest ago is next. Otherwise a large conversion that exceeds the quota would block a
    small one that fits.
    """
    tries: dict[str, Conversion] = {}
    for conversion in startable:
        refusal = refusals.get(conversion.key.namespace)
        if refusal and refusal.retry_at and refusal.retry_at <= now:
            first = tries.setdefault(conversion.key.namespace, conversion)
            if _last_refusal(conversion)[0] < _last_refusal(first)[0]:
                tries[conversion.key.namespace] = conversion
    order, blocks = [], {}
    for conversion in startable:
        refusal = refusals.get(conversion.key.namespace)
        if refusal is None or tries.get(conversion.key.namespace) is conversion:
            order.append(conversion)
        else:
            blocks[conversion.key.uid] = refusal.block
    return order, blocks


def _last_refusal(conversion: Conversion) -> tuple[datetime, Block | None]:
    """When and why the pod of the last attempt was refused. EPOCH and None if it was not."""
    last = last_recorded_attempt(conversion.status)
    if last is None or last.completion_time is None or last.reason not in REFUSED:
        return EPOCH, None
    return last.completion_time, Block(last.reason, last.message or "")


class _PodTimes:
    """By namespace: the latest creation and the latest end of a pod, and where a pod is missing.

    A pod is missing if a conversion in ``trying`` has a Job without one.
    """

    def __init__(self, children: Mapping[str, Children], trying: Container[str]) -> None:
        self.created: dict[str, datetime] = {}
        self.ended: dict[str, datetime] = {}
        self.missing: set[str] = set()
        for uid, own in children.items():
            with_pod = {pod.job_name for pod in own.pods}
            self.missing.update(
                job.namespace
                for job in own.jobs
                if uid in trying
                and job.live
                and not job.deleting
                and not job.suspended  # it has no pod for another reason
                and job.name not in with_pod
                # The Events of a sweep are not read, so nobody learns that its pod was refused.
                and job.attempt != SWEEP_ATTEMPT
            )
            for pod in own.pods:
                _raise_to(self.created, pod.namespace, pod.created)
                _raise_to(self.ended, pod.namespace, pod.converter_end or EPOCH)


def _raise_to(latest: dict[str, datetime], namespace: str, time: datetime) -> None:
    latest[namespace] = max(latest.get(namespace, EPOCH), time)
