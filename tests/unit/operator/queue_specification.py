"""What the queue must answer, written as functions over all conversions.

The product keeps the same answers up to date by events. A property test compares both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from conversion_operator.api.reasons import Reason
from conversion_operator.core.admission import Obstacles
from conversion_operator.core.children import Children
from conversion_operator.core.conversion_queues import QueueLimits
from conversion_operator.core.model import EPOCH, Conversion, Policy
from conversion_operator.core.paths import (
    EndedWriters,
    FindWriters,
    input_not_made,
    path_busy,
    waits_for,
)
from conversion_operator.core.plan import Block
from conversion_operator.core.refusals import PodTimes, Refusal, find_refusal
from conversion_operator.core.standing import QueueKey, Stage, Standing, find_standing
from conversion_operator.core.work_class import UNKNOWN, WorkClass

BEGUN = (Stage.RUNNING, Stage.RETRYING)

Slot = tuple[str, WorkClass]
"""A slot in use: the namespace, and the class."""


@dataclass(frozen=True, slots=True)
class Specified:
    """The uids that may start, the next one first, and why the others do not, by uid."""

    order: tuple[str, ...]
    blocks: Mapping[str, Block]
    positions: Mapping[str, int]
    slots: Mapping[str, int]


def all_standings(
    conversions: Mapping[str, Conversion],
    children: Mapping[str, Children],
    reserved: AbstractSet[str],
    policy: Policy,
) -> list[Standing]:
    """The standings of all conversions, and of those of which only Jobs or pods are left."""
    return [
        find_standing(
            uid, conversions.get(uid), children.get(uid, Children()), uid in reserved, policy
        )
        for uid in conversions.keys() | children.keys()
    ]


def specify(  # noqa: PLR0917 each is a part of the state
    standings: Collection[Standing],
    obstacles: Obstacles,
    now: datetime,
    policy: Policy,
    find_writers: FindWriters,
    pods: Mapping[str, PodTimes],
    reserved: Mapping[str, str],
) -> Specified:
    """The answers for one state. ``pods`` has when the last pods of a namespace began and ended.

    Blocks of cycles are left out: who fails depends on which cycle is found.
    """
    unfinished = sorted((s for s in standings if s.stage is not None), key=lambda s: s.order)
    waiting = [s for s in unfinished if s.waits]
    refusals = _refusals(unfinished, pods)
    startable: list[Standing] = []
    early: list[Standing] = []
    blocks: dict[str, Block] = {
        s.uid: obstacles.rejected[s.uid]
        for s in unfinished
        if not s.waits and s.uid in obstacles.rejected
    }
    room_at = max((obstacles.policy_changed_at, *(p.ended for p in pods.values())))
    for standing in waiting:
        own = standing.held or path_block(standing, unfinished, find_writers)
        fatal = own is not None and own.reason == Reason.INPUT_NOT_MADE
        if not (standing.held or fatal):
            own = _namespace_block(standing, obstacles, policy) or own
            own = own or obstacles.rejected.get(standing.uid)
        if standing.retry_at and standing.retry_at > now:
            given_up = standing.given_up_at
            if own is None and given_up is not None and given_up <= room_at:
                early.append(standing)
        elif own:
            blocks[standing.uid] = own
        else:
            startable.append(standing)
    taken = [(s.namespace, s.slot_work) for s in standings for _ in range(s.slots)]
    known = {s.uid: s for s in standings if s.matters}
    for uid, namespace in reserved.items():
        if uid not in known or not known[uid].slots:
            taken.append((namespace, known[uid].work if uid in known else UNKNOWN))
    ahead, behind = _one_try(
        startable, unfinished, [s for s in startable if fits(s, taken, policy)]
    )
    tries, refused = _one_per_refused([*ahead, *behind, *early], refusals, now, taken, policy)
    tiers = [[s for s in tier if s in tries] for tier in (ahead, behind, early)]
    order = in_turn(tiers, taken, policy)
    positions: dict[str, int] = {}
    for standing in waiting:
        place = standing.namespace, standing.work.conversion_queue
        before = [s for s in waiting if (s.namespace, s.work.conversion_queue) == place]
        positions[standing.uid] = before.index(standing) + 1
    slots = {s.uid: s.slots for s in standings if s.slots}
    return Specified(tuple(s.uid for s in order), blocks | refused, positions, slots)


def in_turn(
    tiers: Sequence[Sequence[Standing]], taken: list[Slot], policy: Policy
) -> list[Standing]:
    """Which start, and in which order. ``taken`` are the slots in use."""
    taken, order = [*taken], list[Standing]()
    now, times = 0, dict[str, int]()
    for tier in tiers:
        while True:
            heads: dict[str, Standing] = {}
            for standing in sorted(tier, key=lambda s: s.order):
                if standing not in order and fits(standing, taken, policy):
                    heads.setdefault(standing.namespace, standing)
            if not heads:
                break
            last = {s.namespace: n for n, s in enumerate(order)}

            def turn(
                name: str, heads: dict[str, Standing] = heads, last: dict[str, int] = last
            ) -> tuple[object, ...]:
                held = sum(namespace == name for namespace, _ in taken)
                load = Fraction(held, policy.queues.weights.get(name, 1))
                return load, times.get(name, -1), last.get(name, -1), heads[name].creation_key

            name = min(heads, key=turn)
            chosen = heads[name]
            now = max(now, times.get(name, 0))
            times[name] = now + 2**20 // policy.queues.weights.get(name, 1)
            order.append(chosen)
            taken.append((name, chosen.work))
    return order


def fits(standing: Standing, taken: Sequence[Slot], policy: Policy) -> bool:
    """True if the limits allow that one more conversion of this class starts."""
    free = policy.max_parallel - len(taken)
    limits = policy.queues.find(standing.work.conversion_queue) or QueueLimits()
    queue = [slot for slot in taken if slot[1].conversion_queue == standing.work.conversion_queue]
    most = limits.namespaces.get(standing.namespace)
    if free <= 0 or (limits.max_parallel is not None and len(queue) >= limits.max_parallel):
        return False
    if most is not None and sum(name == standing.namespace for name, _ in queue) >= most:
        return False
    if standing.work.light or all(work.light for _, work in taken):
        return True
    kept = {name: kept_in(name, each, taken) for name, each in policy.queues.limits.items()}
    counted = (kept[n] for n, each in policy.queues.limits.items() if not each.starts_nothing)
    if free <= sum(counted):
        return False
    own = kept.get(standing.work.conversion_queue, 0)
    return limits.max_parallel is None or limits.max_parallel - len(queue) > own


def kept_in(name: str, limits: QueueLimits, taken: Sequence[Slot]) -> int:
    """How many free slots only light conversions of this queue may take."""
    light = sum(work == WorkClass(name, True) for _, work in taken)
    room = limits.max_parallel
    if room is not None:
        room -= sum(work.conversion_queue == name for _, work in taken)
    return max(0, min(limits.reserved - light, limits.reserved if room is None else room))


def path_block(
    standing: Standing, unfinished: Sequence[Standing], find_writers: FindWriters
) -> Block | None:
    """Why a conversion waits for its files, without cycles."""
    others = [s for s in unfinished if s.namespace == standing.namespace]
    makers = sorted((s for s in others if standing.reads in s.writes), key=_turn)
    conflict = next(filter(None, (_conflict(standing, p, others) for p in standing.writes)), None)
    awaited = waits_for(makers[0].name, standing.reads) if makers else None
    if standing.stage is Stage.RETRYING:
        before = bool(makers) and _turn(makers[0]) < _turn(standing)
        return conflict or (awaited if before else None)

    def readers_of(path: str) -> list[Standing]:
        return [s for s in others if s.reads == path and s.stage is Stage.FRESH]

    found = [*find_writers(standing.namespace, standing.reads)]
    ended = EndedWriters.of(found, standing.reads)
    return awaited or input_not_made(standing, ended, readers_of) or conflict


def _conflict(standing: Standing, path: str, others: Sequence[Standing]) -> Block | None:
    ahead = [s for s in others if path in s.writes and _turn(s) < _turn(standing)]
    users = [s for s in others if s.reads == path and s.stage in BEGUN and s.writes]
    users = [s for s in users if _turn(s) < _turn(standing)]
    if ahead:
        return path_busy(max(ahead, key=_turn).name, "also writes", path)
    return path_busy(min(users, key=_turn).name, "still reads", path) if users else None


def in_a_cycle(unfinished: Collection[Standing]) -> set[str]:
    """The uids that wait for themselves, through the inputs and the outputs of others."""
    fresh = [s for s in unfinished if s.stage is Stage.FRESH]
    waiters = {s.uid: [w for w in fresh if _waits_for(w, s)] for s in fresh}
    found: set[str] = set()
    for start in fresh:
        reached: set[str] = set()
        ahead = [start.uid]
        while ahead:
            for waiter in waiters[ahead.pop()]:
                if waiter.uid not in reached:
                    reached.add(waiter.uid)
                    ahead.append(waiter.uid)
        if start.uid in reached:
            found.add(start.uid)
    return found


def _waits_for(waiter: Standing, other: Standing) -> bool:
    """True if the first one must not start before the second one has ended."""
    if waiter.namespace != other.namespace:
        return False
    behind = bool({*waiter.writes} & {*other.writes}) and _turn(other) < _turn(waiter)
    return waiter.reads in other.writes or behind


def _turn(standing: Standing) -> tuple[int, QueueKey]:
    return int(standing.stage or 0), standing.order


def _namespace_block(standing: Standing, obstacles: Obstacles, policy: Policy) -> Block | None:
    if obstacles.outdated_crd:
        return Block(Reason.CRD_OUTDATED, obstacles.outdated_crd)
    if not policy.enabled:
        return Block(Reason.PAUSED, "")
    if standing.namespace in obstacles.namespaces_without_claim:
        return Block(Reason.CLAIM_MISSING, "")
    return None


def _refusals(unfinished: Iterable[Standing], pods: Mapping[str, PodTimes]) -> dict[str, Refusal]:
    latest: dict[str, tuple[datetime, QueueKey, Block]] = {}
    missing: set[str] = set()
    for standing in unfinished:
        if standing.missing_pod:
            missing.add(standing.namespace)
        if standing.refusal:
            time, block = standing.refusal
            known = latest.get(standing.namespace)
            if known is None or (time, standing.order) > known[:2]:
                latest[standing.namespace] = time, standing.order, block
    found: dict[str, Refusal] = {}
    for namespace, (time, _, block) in latest.items():
        times = pods.get(namespace, PodTimes())
        times = PodTimes(times.created, times.ended, namespace in missing)
        refusal = find_refusal(time, block, times)
        if refusal:
            found[namespace] = refusal
    return found


def _one_try(
    startable: Sequence[Standing], unfinished: Iterable[Standing], fitting: Sequence[Standing]
) -> tuple[list[Standing], list[Standing]]:
    given_up = [s for s in startable if s.given_up_at]
    tries = any(s.retries_after_giving_up for s in unfinished)
    can_start = [s for s in given_up if s in fitting]
    longest = min(can_start, key=lambda s: (s.given_up_at or EPOCH, s.order), default=None)
    first = None if tries else longest
    ahead = [s for s in startable if s is first or not s.given_up_at]
    return ahead, [s for s in given_up if s is not first]


def _one_per_refused(
    startable: Sequence[Standing],
    refusals: Mapping[str, Refusal],
    now: datetime,
    taken: Sequence[Slot],
    policy: Policy,
) -> tuple[list[Standing], dict[str, Block]]:
    tries: dict[str, Standing] = {}
    ranked = sorted(startable, key=lambda s: not fits(s, taken, policy))
    for standing in ranked:
        refusal = refusals.get(standing.namespace)
        if refusal and refusal.retry_at and refusal.retry_at <= now:
            first = tries.setdefault(standing.namespace, standing)
            same = fits(standing, taken, policy) == fits(first, taken, policy)
            if same and _refused_at(standing) < _refused_at(first):
                tries[standing.namespace] = standing
    order: list[Standing] = []
    blocks: dict[str, Block] = {}
    for standing in startable:
        refusal = refusals.get(standing.namespace)
        if refusal is None or tries.get(standing.namespace) is standing:
            order.append(standing)
        elif not standing.retry_at or standing.retry_at <= now:
            blocks[standing.uid] = refusal.block
    return order, blocks


def _refused_at(standing: Standing) -> datetime:
    return standing.refusal[0] if standing.refusal else EPOCH
