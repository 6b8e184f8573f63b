"""Builds the queue of a fixed state, for tables of unit tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.core.admission import AdmissionPass, Obstacles, Selection
from conversion_operator.core.children import NO_CHILDREN, Children
from conversion_operator.core.model import Conversion, Key, Policy
from conversion_operator.core.paths import FindWriters
from conversion_operator.core.plan import Block
from conversion_operator.core.queue import Queue
from conversion_operator.core.start_limits import StartLimits
from tests.unit.operator.builders import at, conversion


@dataclass(frozen=True)
class Built:
    """A queue after one pass with free slots for all: what starts, and why others do not."""

    queue: Queue
    selection: Selection
    blocks: Mapping[str, Block]

    @property
    def order(self) -> tuple[str, ...]:
        return self.selection.start

    @property
    def next_retry_at(self) -> datetime | None:
        return self.selection.retry_at

    def position(self, key: Key) -> int | None:
        return self.queue.position(key)


def new_queue(
    conversions: Mapping[str, Conversion],
    children: Mapping[str, Children],
    policy: Policy,
    reserved: Mapping[str, str] | None = None,
    find_writers: FindWriters = lambda *_: (),
) -> Queue:
    """A queue that has seen every conversion."""
    queue = Queue(
        lambda uid: (conversions.get(uid), children.get(uid, NO_CHILDREN)),
        find_writers,
        {} if reserved is None else reserved,
        policy,
    )
    for uid in (*conversions, *children):
        queue.note_change(uid)
    queue.update(at(10**9))
    return queue


def build_queue(  # noqa: PLR0917 the order in which a pass needs them
    conversions: Iterable[Conversion],
    children: Mapping[str, Children],
    obstacles: Obstacles,
    now: datetime,
    policy: Policy,
    find_writers: FindWriters = lambda *_: (),
    reserved: AbstractSet[str] = frozenset(),
) -> Built:
    """The queue of one state, with a free slot for every conversion."""
    known = {c.key.uid: c for c in conversions}
    held = {uid: known[uid].key.namespace for uid in reserved}
    queue = new_queue(known, children, replace(policy, max_parallel=10**6), held, find_writers)
    selection = AdmissionPass(queue, now, obstacles, queue.namespaces).select(0)
    queue.take_changed()
    blocks = {uid: queue.block(c.key) for uid, c in known.items()}
    return Built(queue, selection, {uid: block for uid, block in blocks.items() if block})


def slots_held(
    children: Mapping[str, Children],
    reserved: Iterable[str] = (),
    lost_with_node: Iterable[str] = (),
) -> int:
    """How many slots these Jobs and pods take, by the uid of their conversion."""
    return _with_lost(children, reserved, lost_with_node).slots_held()


def slots_by_namespace(
    children: Mapping[str, Children],
    reserved: Iterable[str] = (),
    lost_with_node: Iterable[str] = (),
) -> Mapping[str, int]:
    """The same by namespace, without those of reserved uids."""
    return _with_lost(children, reserved, lost_with_node).slots_by_namespace()


def _with_lost(
    children: Mapping[str, Children], reserved: Iterable[str], lost: Iterable[str]
) -> Queue:
    status = ConversionJobStatus(
        phase=Phase.FAILED, reason=Reason.NODE_LOST, message="", conditions=[]
    )
    conversions = {uid: replace(conversion(uid), status=status) for uid in lost}
    return new_queue(conversions, children, Policy(), dict.fromkeys(reserved, "my-network"))


def started(
    order: Iterable[str], namespaces: Mapping[str, str], limits: StartLimits
) -> Iterator[str]:
    """Those in the order that the limits of their namespaces let start."""
    for uid in order:
        if limits.allows(namespaces[uid]):
            limits.take(namespaces[uid])
            yield uid
