"""What the queue knows about one conversion, and about its Jobs and pods."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, NamedTuple

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import (
    awaits_attempt,
    lacked_input,
    last_recorded_attempt,
    latest_attempt_number,
    lost_pod_uid,
    next_attempt_at,
)
from conversion_operator.core.bounds import violation
from conversion_operator.core.children import Children, queue_of
from conversion_operator.core.holds import hold
from conversion_operator.core.model import EPOCH, Conversion, Policy
from conversion_operator.core.plan import Block
from conversion_operator.core.refusals import last_refusal
from conversion_operator.core.sweep import SWEEP_ATTEMPT, may_want_sweep
from conversion_operator.core.unschedulable import gave_up_slot, retries_after_giving_up
from conversion_operator.core.work_class import UNKNOWN, WorkClass, is_light

_PRIORITY_STEP: Final = timedelta(seconds=60)


class QueueKey(NamedTuple):
    """A sort key of conversions. See ``queue_key`` and ``creation_key``."""

    time: datetime
    arrival: int
    name: str
    uid: str


NO_KEY: Final = QueueKey(EPOCH, 0, "", "")


class Stage(IntEnum):
    """How far an unfinished conversion has come.

    Of two conversions that use the same file, the one with the lower stage goes first.
    """

    RUNNING = 0
    """An attempt is in progress, or may be."""
    RETRYING = 1
    """It waits for another attempt, because an earlier one may have used its files."""
    FRESH = 2
    """It waits for its first attempt, or its last one found no input and so wrote nothing. A dry
    run is fresh whenever it waits, because it writes nothing.
    """
    ENDING = 3
    """It ends at its next reconcile: it is cancelled, being deleted, or its spec is not allowed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts about one conversion that decide what starts next.

    ``stage`` is None if the conversion has ended or no longer exists. ``order`` is its
    sort key in the queue, ``creation_key`` its sort key in the order of creation. ``reads`` is its
    input path, and ``writes`` are its output paths. ``held`` is the hold on its next attempt (see
    :mod:`conversion_operator.core.holds`), None if nothing holds it. ``retry_at`` is when its
    back-off ends. ``refusal`` is when and why the pod of its last attempt was refused.
    ``given_up_at`` is when its last attempt ended because no node had room for the pod.
    ``retries_after_giving_up`` is True if an earlier attempt gave up its slot, and the container of
    the attempt in progress does not run yet. ``sweep_after`` is the time of its end if it wants a
    sweep.

    ``work`` is the class of its next attempt. ``slots`` are the slots that its Jobs and pods take,
    ``slot_work`` their class, and ``suspended_jobs`` the number of its suspended Jobs.
    ``missing_pod`` is True if a Job of it has no pod yet, and ``no_node`` if no node has room for
    its pod.
    """

    uid: str
    namespace: str
    stage: Stage | None = None
    order: QueueKey = NO_KEY
    creation_key: QueueKey = NO_KEY
    reads: str = ""
    writes: tuple[str, ...] = ()
    held: Block | None = None
    retry_at: datetime | None = None
    refusal: tuple[datetime, Block] | None = None
    given_up_at: datetime | None = None
    retries_after_giving_up: bool = False
    sweep_after: datetime | None = None
    work: WorkClass = UNKNOWN
    slots: int = 0
    slot_work: WorkClass = UNKNOWN
    suspended_jobs: int = 0
    missing_pod: bool = False
    no_node: bool = False

    @property
    def name(self) -> str:
        """The name of the ConversionJob."""
        return self.order.name

    @property
    def waits(self) -> bool:
        """True if it waits for an attempt. It then has a position in the queue."""
        return self.stage in (Stage.RETRYING, Stage.FRESH)

    @property
    def matters(self) -> bool:
        """False if nothing in the queue depends on it."""
        return self.stage is not None or bool(self.slots or self.suspended_jobs or self.sweep_after)


def queue_key(conversion: Conversion) -> QueueKey:
    """The sort key of the queue: the creation time, one minute earlier per step of priority.

    The key does not depend on the current time. So the order survives restarts, and no conversion
    waits for ever. Creation times have whole seconds. Of conversions that were created in the same
    second, the one with the lower arrival comes first. So a series that is applied at once is
    converted in the order in which it was created.
    """
    priority = (conversion.spec.priority or 0) if conversion.spec else 0
    return QueueKey(
        conversion.created - priority * _PRIORITY_STEP,
        conversion.arrival,
        conversion.key.name,
        conversion.key.uid,
    )


def creation_key(conversion: Conversion) -> QueueKey:
    """The sort key of the order in which conversions were created.

    Creation times have whole seconds, so the arrival decides between conversions that were created
    in the same second.
    """
    key = conversion.key
    return QueueKey(conversion.created, conversion.arrival, key.name, key.uid)


def find_standing(
    uid: str, conversion: Conversion | None, children: Children, reserved: bool, policy: Policy
) -> Standing:
    """The standing of one conversion.

    ``conversion`` is None if it no longer exists, and only Jobs and pods of it are left.
    ``reserved`` is True while its Job is being created: it then uses its files as if it ran.
    """
    if conversion is None:
        first = next(iter((*children.jobs, *children.pods)), None)
        namespace = first.namespace if first else ""
        return Standing(
            uid,
            namespace,
            slots=slots(children),
            slot_work=UNKNOWN._replace(conversion_queue=queue_of(children)),
            suspended_jobs=_suspended_jobs(children),
        )
    namespace = conversion.key.namespace
    work = WorkClass(conversion.queue, is_light(conversion))
    slot_work = work._replace(conversion_queue=queue_of(children) or work.conversion_queue)
    lost = lost_with_node(conversion)
    counted = without_lost_pod(conversion, children)
    held_slots = slots(children.of_attempt(SWEEP_ATTEMPT) if lost else counted)
    if conversion.finished:
        status, wants = conversion.status, may_want_sweep(conversion, children)
        return Standing(
            uid,
            namespace,
            sweep_after=status.completion_time if status and wants else None,
            work=work,
            slots=held_slots,
            slot_work=slot_work,
            suspended_jobs=_suspended_jobs(children),
        )
    stage = _stage(conversion, children, reserved, policy)
    waits = stage in (Stage.RETRYING, Stage.FRESH)
    last = last_recorded_attempt(conversion.status)
    given_up = waits and last is not None and gave_up_slot(conversion)
    return Standing(
        uid,
        namespace,
        stage,
        queue_key(conversion),
        creation_key(conversion),
        conversion.input_path,
        conversion.output_paths,
        held=hold(conversion, policy) if waits else None,
        retry_at=next_attempt_at(conversion.status) if waits else None,
        refusal=last_refusal(conversion),
        given_up_at=last.completion_time if given_up and last else None,
        retries_after_giving_up=stage is Stage.RUNNING and retries_after_giving_up(conversion),
        work=work,
        slots=held_slots,
        slot_work=slot_work,
        suspended_jobs=_suspended_jobs(children),
        missing_pod=not conversion.status_error and _misses_pod(children),
        no_node=any(pod.converting and pod.unschedulable for pod in children.pods),
    )


def _stage(conversion: Conversion, children: Children, reserved: bool, policy: Policy) -> Stage:
    if reserved or conversion.status_error:
        return Stage.RUNNING
    if children.live or not awaits_attempt(conversion, children):
        return Stage.RUNNING
    if conversion.deleting or conversion.cancel_requested or _will_fail(conversion, policy):
        return Stage.ENDING
    tried = latest_attempt_number(conversion, children) > 0
    used_files = tried and not lacked_input(conversion.status) and not conversion.dry_run
    return Stage.RETRYING if used_files else Stage.FRESH


def _will_fail(conversion: Conversion, policy: Policy) -> bool:
    """True if the conversion fails at its next reconcile: its spec is not valid or not allowed."""
    if hold(conversion, policy):
        return False
    return bool(
        conversion.spec is None or conversion.spec_error or violation(conversion.spec, policy)
    )


def lost_with_node(conversion: Conversion) -> bool:
    """True if the conversion failed with NodeLost.

    Its node did not come back, or it had more than MAX_DISRUPTIONS disruptions, the last one by a
    lost node. Its attempts then take no slot. Its sweep takes one, like any other Job.
    """
    status = conversion.status
    return bool(status and status.phase is Phase.FAILED and status.reason == Reason.NODE_LOST)


def without_lost_pod(conversion: Conversion, children: Children) -> Children:
    """The children, except the pod that the last attempt has lost with its node, and the pod's Job.

    The operator was stopping the attempt, so the conversion waits. Only a pod and a Job that are
    being deleted are left out: the Job starts no other pod.
    """
    uid = lost_pod_uid(conversion.status)
    lost = {pod.job_name for pod in children.pods if pod.uid == uid and pod.deleting}
    if not lost:
        return children
    return Children(
        tuple(job for job in children.jobs if not (job.name in lost and job.deleting)),
        tuple(pod for pod in children.pods if not (pod.uid == uid and pod.deleting)),
    )


def slots(children: Children) -> int:
    """How many slots these Jobs and pods take.

    A Job and its pod take one slot together. A second pod of the Job takes another one.

    The end of the converter frees the slot, although a sidecar may still run. The Job then starts
    no other pod: its backoffLimit is 0. But if it was suspended meanwhile, it starts another one
    when it is resumed.
    """
    if not children.jobs and not children.pods:
        return 0
    pods = Counter(pod.job_name for pod in children.pods if pod.converting)
    jobs = {
        job.name
        for job in children.jobs
        if children.may_run(job)
        and not job.holds_no_slot
        and not any(
            pod.terminated and not pod.duplicate and not job.suspended_since(pod)
            for pod in children.pods
            if pod.job_name == job.name
        )
    }
    return pods.total() + len(jobs - pods.keys())


def _suspended_jobs(children: Children) -> int:
    return sum(job.suspended and not job.deleting for job in children.jobs)


def _misses_pod(children: Children) -> bool:
    """True if a Job of an attempt has no pod yet. The pod of a sweep is not expected.

    The Events of a sweep are not read, so nobody learns that its pod was refused.
    """
    with_pod = {pod.job_name for pod in children.pods}
    return any(
        job.live
        and not job.deleting
        and not job.suspended  # it has no pod for another reason
        and job.name not in with_pod
        and job.attempt != SWEEP_ATTEMPT
        for job in children.jobs
    )
