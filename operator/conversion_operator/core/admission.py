"""The admission policy: which conversions may start, and in which order.

Slots are counted from the Jobs and pods that exist, never from statuses, with one exception:
``lost_with_node`` in :func:`slots_held`. A status may be late, lost, or written by somebody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.core.attempts import (
    awaits_attempt,
    lacked_input,
    latest_attempt_number,
    next_attempt_at,
)
from conversion_operator.core.bounds import violation
from conversion_operator.core.holds import hold
from conversion_operator.core.model import EPOCH, Children, Conversion, Key, Policy
from conversion_operator.core.paths import FATAL, FindWriters, Unfinished, path_blocks
from conversion_operator.core.plan import Block
from conversion_operator.core.refusals import find_refusals, one_per_refused_namespace
from conversion_operator.core.sweep import SWEEP_ATTEMPT
from conversion_operator.core.unschedulable import one_try_at_a_time, room_since, was_given_up

_PRIORITY_STEP = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Queue:
    """The conversions that wait.

    ``order`` has the uids that may start, the next one first. ``blocks`` says, by uid, why others
    may not. Conversions in their back-off are in neither. ``next_retry_at`` is when the first of
    these back-offs ends. It is None if there is none. ``held_back`` says, by namespace, why
    those in ``order`` do not start although there may be free slots. ``yielding`` are the uids
    whose pods give up their slots to those in ``order`` if no node has room for them.
    """

    order: tuple[str, ...]
    blocks: Mapping[str, Block]
    next_retry_at: datetime | None = None
    held_back: Mapping[str, Block] = field(default_factory=dict)
    yielding: frozenset[str] = frozenset()

    def block(self, key: Key) -> Block | None:
        """Why a conversion in the queue does not start. None if it only waits for a slot."""
        held = self.held_back.get(key.namespace)
        return self.blocks.get(key.uid) or (held if held and key.uid in self.order else None)

    def position(self, uid: str) -> int | None:
        """1 for the next conversion. None if the conversion is not in ``order``."""
        return self.order.index(uid) + 1 if uid in self.order else None


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Obstacles in the cluster that prevent conversions from starting.

    ``rejected`` has, by uid, the conversions whose Job the API server recently rejected.
    ``outdated_crd`` says what the CRD in the cluster lacks, "" if nothing. ``policy_changed_at`` is
    when a setting last changed, which may have removed an obstacle. ``reserved`` are the uids whose
    Job is being created: such a conversion uses its files as if it ran.
    """

    namespaces_without_claim: frozenset[str] = frozenset()
    rejected: Mapping[str, Block] = field(default_factory=dict)
    outdated_crd: str = ""
    policy_changed_at: datetime = EPOCH
    reserved: frozenset[str] = frozenset()


def queue_key(conversion: Conversion) -> tuple[datetime, int, str, str]:
    """The sort key of the queue: the creation time, one minute earlier per step of priority.

    The key does not depend on the current time. So the order survives restarts, and no conversion
    waits for ever. Creation times have whole seconds. Within one second, the arrival decides. So a
    series that is applied at once is converted in the order in which it was created.
    """
    priority = (conversion.spec.priority or 0) if conversion.spec else 0
    return (
        conversion.created - priority * _PRIORITY_STEP,
        conversion.arrival,
        conversion.key.name,
        conversion.key.uid,
    )


def slots_held(
    children: Mapping[str, Children],
    reserved: Iterable[str],
    lost_with_node: Container[str] = (),
) -> int:
    """How many slots are taken by Jobs that are not finished and by pods that may run.

    ``children`` has all Jobs and pods by conversion uid, even if the ConversionJob no longer
    exists. A reserved uid takes one slot until its Job or pod is in the store. ``lost_with_node``
    are the uids of conversions that failed because their node did not come back. Their attempts
    take no slot. Their sweep takes one, like any other Job. Each admission pass calls this once.
    It visits every Job and pod.
    """
    counts = {
        uid: _slots(own.of_attempt(SWEEP_ATTEMPT) if uid in lost_with_node else own)
        for uid, own in children.items()
    }
    return sum(counts.values()) + sum(1 for uid in set(reserved) if not counts.get(uid))


def slots_by_namespace(
    children: Mapping[str, Children], reserved: Container[str], lost_with_node: Container[str] = ()
) -> dict[str, int]:
    """How many slots the Jobs and pods of each namespace take, without those of reserved uids.

    Visits every Job and pod, once for each admission pass and each write of the Lease.
    """
    counts: Counter[str] = Counter()
    for uid, own in children.items():
        if uid not in reserved:
            first = next(iter((*own.jobs, *own.pods)), None)
            counted = own.of_attempt(SWEEP_ATTEMPT) if uid in lost_with_node else own
            counts[first.namespace if first else ""] += _slots(counted)
    return dict(counts)


def unseen_slots(recorded: Mapping[str, int], observed: Mapping[str, int]) -> int:
    """How many slots to count in addition to those that were observed.

    ``recorded`` are the slots that a former leader recorded, for each namespace whose Jobs and pods
    are not known.
    """
    return sum(max(0, slots - observed.get(name, 0)) for name, slots in recorded.items())


def _slots(children: Children) -> int:
    """A Job and its pod take one slot together. A second pod of the Job takes another one.

    The end of the converter frees the slot, although a sidecar may still run. The Job then starts
    no other pod: its backoffLimit is 0. But if it was suspended meanwhile, it starts another one
    when it is resumed.
    """
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


def build_queue(
    conversions: Iterable[Conversion],
    children: Mapping[str, Children] | None,
    obstacles: Obstacles,
    now: datetime,
    policy: Policy,
    find_writers: FindWriters = lambda *_: (),
) -> Queue:
    """Put the waiting conversions in order, and say why some of them may not start.

    A conversion whose pod found no node starts before its back-off ends if there may be more room
    now. It is then the last one in the order, so it takes no slot that others could use. After its
    back-off, one of these conversions at a time has its own place in the order.

    ``find_writers`` finds the conversion that was to make an input, if it has ended.
    ``children`` is None if they are not known. Then it is not known either whether pods are still
    refused. Each admission pass calls this once. It visits every conversion.
    """
    none = Children()
    unfinished = [c for c in conversions if not c.finished]
    waiting: list[Conversion] = []
    groups = Unfinished([], [], [], [])
    for conversion in sorted(unfinished, key=queue_key):
        own = children.get(conversion.key.uid, none) if children else none
        reserved = conversion.key.uid in obstacles.reserved
        begun = own.live or not awaits_attempt(conversion, own)
        if reserved or begun or conversion.status_error:
            groups.running.append(conversion)
        elif conversion.deleting or conversion.cancel_requested or _will_fail(conversion, policy):
            groups.ending.append(conversion)
        else:
            waiting.append(conversion)
            tried = latest_attempt_number(conversion, own) > 0
            fresh = not tried or lacked_input(conversion.status)
            (groups.fresh if fresh else groups.begun).append(conversion)
    # A conversion that is blocked or in its back-off still blocks its paths for others behind it.
    # Otherwise one of them could run first, and this one would overwrite its output.
    busy = path_blocks(groups, find_writers)
    startable: list[Conversion] = []
    early: list[Conversion] = []
    # The rejection of a create request shows at once, although an earlier one may still create the
    # Job and holds the slot.
    blocks = {
        c.key.uid: obstacles.rejected[c.key.uid]
        for c in groups.running
        if c.key.uid in obstacles.reserved and c.key.uid in obstacles.rejected
    }
    retry_times: list[datetime] = []
    room_at = room_since(waiting, children, obstacles.policy_changed_at)
    for conversion in waiting:
        retry_at = next_attempt_at(conversion.status)
        block = _block(conversion, obstacles, busy.get(conversion.key.uid), policy)
        if retry_at and retry_at > now:
            if block or not was_given_up(conversion, before=room_at):
                retry_times.append(retry_at)
            else:
                early.append(conversion)
        elif block:
            blocks[conversion.key.uid] = block
        else:
            startable.append(conversion)
    refusals = {} if children is None else find_refusals(unfinished, children)
    ordered = [*one_try_at_a_time(startable, groups.running), *early]
    order, refused = one_per_refused_namespace(ordered, refusals, now)
    retry_times += (r.retry_at for r in refusals.values() if r.retry_at and r.retry_at > now)
    next_retry_at = min(retry_times, default=None)
    return Queue(tuple(c.key.uid for c in order), blocks | refused, next_retry_at)


def find_yielding(
    conversions: Iterable[Conversion], children: Mapping[str, Children], wanted: int
) -> frozenset[str]:
    """The uids whose pods have no node and give up their slots to ``wanted`` others.

    These are the last ones by the order of the queue. The others keep their pods, for which an
    autoscaler can add nodes. Each admission pass calls this once. If a slot is wanted, it visits
    all pods.
    """
    if wanted <= 0:
        return frozenset()

    def has_no_node(conversion: Conversion) -> bool:
        own = children.get(conversion.key.uid, Children())
        return any(pod.converting and pod.unschedulable for pod in own.pods)

    without_node = filter(has_no_node, conversions)
    last = sorted(without_node, key=queue_key, reverse=True)[:wanted]
    return frozenset(conversion.key.uid for conversion in last)


def limit_failing_namespaces(
    order: Iterable[str],
    namespaces: Mapping[str, str],
    failing: Collection[str],
    reserved: Iterable[str],
    policy: Policy,
) -> tuple[str, ...]:
    """The uids of ``order`` that may start, although create requests fail in their namespace.

    ``failing`` has the namespaces whose last create request failed without a clear answer.

    A slot is held for such a request for up to 105 s. Without the limit, failing namespaces could
    hold all slots in this way, one conversion after the other. So each has at most two
    reservations, and all of them together leave at least one slot for others. The second one shows
    whether all requests in the namespace fail, or only those of one conversion. ``reserved`` has
    the namespace of each reservation, ``namespaces`` that of each uid. Each admission pass calls
    this. It visits the queue.
    """
    taken = Counter(name for name in reserved if name in failing)
    most = max(1, policy.max_parallel - 1)
    allowed: list[str] = []
    for uid in order:
        namespace = namespaces.get(uid, "")
        if namespace in failing:
            if taken[namespace] >= min(2, most) or taken.total() >= most:
                continue
            taken[namespace] += 1
        allowed.append(uid)
    return tuple(allowed)


def admit(order: Sequence[str], held: int, policy: Policy) -> tuple[str, ...]:
    """The uids to start now: the first ones in the order, as many as there are free slots."""
    return tuple(order[: max(0, policy.max_parallel - held)])


def _will_fail(conversion: Conversion, policy: Policy) -> bool:
    """True if the conversion fails at its next reconcile: its spec is not valid or not allowed."""
    if hold(conversion, policy):
        return False
    return bool(
        conversion.spec is None or conversion.spec_error or violation(conversion.spec, policy)
    )


def _block(
    conversion: Conversion, obstacles: Obstacles, path_block: Block | None, policy: Policy
) -> Block | None:
    held = hold(conversion, policy)
    if held:
        return held
    if path_block and path_block.reason in FATAL:
        return path_block
    if obstacles.outdated_crd:
        return Block(Reason.CRD_OUTDATED, obstacles.outdated_crd)
    if not policy.enabled:
        message = (
            "conversions are paused: CONVERTER_ENABLED is false for this operator, or a setting "
            "that protects was invalid when it started"
        )
        return Block(Reason.PAUSED, message)
    namespace = conversion.key.namespace
    if namespace in obstacles.namespaces_without_claim:
        message = f"namespace {namespace} has no PersistentVolumeClaim {policy.claim_name}"
        return Block(Reason.CLAIM_MISSING, message)
    return path_block or obstacles.rejected.get(conversion.key.uid)
