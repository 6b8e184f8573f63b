"""The queue of one namespace: who waits, in which order, and who may start.

Each event changes the place of one conversion, and of those that use the same files. Nothing here
visits all conversions of the namespace, except :meth:`NamespaceQueue.judge` after a change that
concerns all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from itertools import islice
from typing import Any

from conversion_operator.core.model import EPOCH
from conversion_operator.core.path_index import PathIndex
from conversion_operator.core.paths import FAILING_REASONS, FindWriters
from conversion_operator.core.plan import Block
from conversion_operator.core.refusals import PodTimes, Refusal, find_refusal
from conversion_operator.core.sorted_keys import SortedKeys
from conversion_operator.core.standing import QueueKey, Standing
from conversion_operator.core.work_class import WorkClass

_FAILING_A_PASS = 50

_Timed = tuple[datetime, QueueKey]


class Place(Enum):
    """Where a conversion that waits is."""

    READY = auto()
    """It may start."""
    GIVEN_UP = auto()
    """It may start, but no node had room for its last pod."""
    BACKING_OFF = auto()
    """It waits for the end of its back-off."""
    BLOCKED = auto()
    """Something other than the slots keeps it from starting."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the last admission pass said about a namespace.

    ``block`` keeps all its conversions from starting. While ``refusal`` is set, only the
    conversion ``trying`` may start. ``held_back`` is why none starts although slots are free.
    """

    block: Block | None = None
    refusal: Block | None = None
    trying: QueueKey | None = None
    held_back: Block | None = None

    def reasons(self) -> tuple[str | None, ...]:
        """Its reasons, without their messages."""
        blocks = self.block, self.refusal, self.held_back
        return tuple(block.reason if block else None for block in blocks)


@dataclass(frozen=True, slots=True)
class _Placed:
    place: Place
    block: Block | None = None
    early: bool = False
    """True if it may start before its back-off ends, when there is more room."""


_Change = Callable[[SortedKeys[Any], Any], None]


class ByClass:
    """Sorted lists of conversions, one for each class of work that has any."""

    def __init__(self) -> None:
        self.lists: dict[WorkClass, SortedKeys[QueueKey]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.lists.values()))

    def __contains__(self, key: QueueKey) -> bool:
        return any(key in keys for keys in self.lists.values())

    def change(self, standing: Standing, change: _Change) -> None:
        """Add a conversion, or remove it."""
        keys = self.lists.setdefault(standing.work, SortedKeys())
        change(keys, standing.order)
        if not keys:
            del self.lists[standing.work]


class NamespaceQueue:
    """The standings of the conversions of one namespace, and the lists that follow from them."""

    def __init__(self, find_writers: FindWriters) -> None:
        self._paths = PathIndex(find_writers)
        self._standings: dict[str, Standing] = {}
        self._placed: dict[str, _Placed] = {}
        self._rejected: Mapping[str, Block] = {}
        # Those that end at their next reconcile, because their input was not made.
        # A dict, so that each gets its turn.
        self._failing: dict[str, None] = {}
        self._now = EPOCH
        # All that wait, by the name of their ConversionQueue.
        self.waiting: dict[str, SortedKeys[QueueKey]] = {}
        self.waiting_in_all = 0
        self.ready = ByClass()
        self.given_up = ByClass()
        self.early = ByClass()
        # By the time at which they ended, were refused, or may start again.
        self._given_up_ends = SortedKeys[_Timed]()
        self._refusals = SortedKeys[_Timed]()
        self._back_offs = SortedKeys[_Timed]()
        self.without_node = SortedKeys[QueueKey]()
        self.trying_again: set[str] = set()
        # By the end of the conversion.
        self.sweeps = SortedKeys[tuple[datetime, str]]()
        self._unfinished = 0
        self._missing_pods: set[str] = set()
        self._pods = PodTimes()
        self.slots = self.suspended = 0
        self.slots_by_class: Counter[WorkClass] = Counter()
        # None until a pass has judged the namespace, and while its lists are not known.
        self.verdict: Verdict | None = None
        # The conversions whose place or block has changed, or that are new.
        self.changed: set[str] = set()
        self.reordered: set[str] = set()

    @property
    def unfinished(self) -> bool:
        """True if a conversion has not ended."""
        return self._unfinished > 0

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to decide or to tell."""
        return not self._standings and not self.changed and not self.reordered

    def standing(self, uid: str) -> Standing | None:
        """The standing of a conversion. None if nothing in the queue depends on it."""
        return self._standings.get(uid)

    def position(self, uid: str) -> int | None:
        """The place among all of its ConversionQueue that wait in this namespace, from 1.

        None if it does not wait, if it backs off, or if it has changed since the last pass.
        """
        standing, placed = self._standings.get(uid), self._placed.get(uid)
        if standing is None or placed is None or not self._is_judged(uid):
            return None
        if placed.place is Place.BACKING_OFF:
            return None
        return self.waiting[standing.work.queue].rank(standing.order) + 1

    def block(self, uid: str) -> Block | None:
        """Why a conversion that waits does not start. None if it only waits for a slot.

        None, too, if the conversion has changed since the last pass.
        """
        standing, verdict, placed = self._standings.get(uid), self.verdict, self._placed.get(uid)
        if standing is None or verdict is None or not self._is_judged(uid):
            return None
        if placed is None:  # its Job is being created
            return None if standing.stage is None else self._rejected.get(uid)
        if placed.place is Place.BACKING_OFF:
            return None
        own = placed.block
        if standing.held or (own and own.reason in FAILING_REASONS):
            return own
        if verdict.block or own:
            return verdict.block or own
        if verdict.refusal and verdict.trying != standing.order:
            return verdict.refusal
        return verdict.held_back

    def judge(self, verdict: Verdict | None) -> None:
        """Take what a pass says about the namespace.

        If a reason has changed that concerns all conversions, all count as changed. A message alone
        may change often, for example with the number of suspended Jobs.
        """
        before, self.verdict = self.verdict, verdict
        if verdict is None:
            return
        if before is None or before.reasons() != verdict.reasons():
            self.changed.update(key[3] for keys in self.waiting.values() for key in keys)
        elif before.trying != verdict.trying:
            self.changed.update(key[3] for key in (before.trying, verdict.trying) if key)

    def tell(self, uid: str) -> bool:
        """Tell about a conversion after the next pass. False if it does not wait."""
        if uid not in self._placed:
            return False
        self.changed.add(uid)
        return True

    def _is_judged(self, uid: str) -> bool:
        return self.verdict is not None and uid not in self.changed

    def change(self, uid: str, new: Standing | None) -> bool:
        """Replace the standing of a conversion. False if nothing has changed."""
        old = self._standings.get(uid)
        if new is not None and not new.matters:
            new = None
        if old is new or old == new:
            return False
        before = self._placed.get(uid)
        if old is not None:
            self._withdraw(old)
        if new is not None:
            self._enter(new)
        for touched in self._paths.change(old, new) - {uid}:
            self._settle(touched)
        self._settle(uid, before)
        if old is not None and new is not None and new.waits and _place_of(old) != _place_of(new):
            self.reordered.add(uid)
            self.changed.add(uid)
        return True

    def observe_pods(self, created: datetime, ended: datetime) -> bool:
        """Take when a pod was created, and when its converter ended. True if this is new.

        These times never go back, also if the pods are deleted.
        """
        pods = self._pods
        if created <= pods.created and ended <= pods.ended:
            return False
        self._pods = PodTimes(max(created, pods.created), max(ended, pods.ended))
        return True

    def observe_end(self, outputs: Iterable[str]) -> bool:
        """Take that a conversion with these outputs has ended. True if conversions wait for it.

        It may have ended before the queue has seen it, so it was never a writer here.
        """
        readers = [uid for output in outputs for uid in self._paths.fresh_readers(output)]
        for uid in readers:
            self._settle(uid)
        return bool(readers)

    def use_rejections(self, rejected: Mapping[str, Block]) -> None:
        """Replace why the API server has rejected the Jobs of conversions, by uid."""
        before, self._rejected = self._rejected, rejected
        for uid in before.keys() | rejected.keys():
            if before.get(uid) != rejected.get(uid) and uid in self._standings:
                self._settle(uid)
                self.changed.add(uid)

    def advance(self, now: datetime) -> None:
        """Let the back-offs end that are over now. Visits only those.

        Also look again at those that are to end. What they depend on may have changed since: the
        conversions that they would have waited for may have been refused or deleted.
        """
        self._now = now
        for uid in tuple(islice(self._failing, _FAILING_A_PASS)):
            self._settle(uid)
        while len(self._back_offs) and self._back_offs[0][0] <= now:
            self._settle(self._back_offs[0][1][3])

    def next_retry_at(self) -> datetime | None:
        """When the first of the back-offs ends. None if there is none."""
        return self._back_offs[0][0] if len(self._back_offs) else None

    def refusal(self) -> Refusal | None:
        """Why the pods of this namespace are refused. None if they are not."""
        if not len(self._refusals):
            return None
        time, key = self._refusals[len(self._refusals) - 1]
        refused = self._standings[key[3]].refusal
        times = PodTimes(self._pods.created, self._pods.ended, bool(self._missing_pods))
        return find_refusal(time, refused[1], times) if refused else None

    def first_given_up(self, classes: Collection[WorkClass]) -> _Timed | None:
        """Of those that may start although no node had room, the one that waits longest.

        Visits those of other classes that wait longer.
        """
        found = (e for e in self._given_up_ends if self._standings[e[1][3]].work in classes)
        return next(found, None)

    def given_up_at(self, key: QueueKey) -> datetime:
        """When the last pod of a conversion that waits was given up."""
        return self._standings[key[3]].given_up_at or EPOCH

    def refused_at(self, key: QueueKey) -> datetime:
        """When the last pod of a conversion that waits was refused. EPOCH if it was not."""
        refused = self._standings[key[3]].refusal
        return refused[0] if refused else EPOCH

    def waits_for_slot(self) -> int:
        """How many conversions wait for nothing but a slot, without those that back off."""
        return len(self.ready) + len(self.given_up)

    def may_start_in(self, queue: str) -> int:
        """How many conversions of a ConversionQueue wait for nothing but a slot."""
        lists = [*self.ready.lists.items(), *self.given_up.lists.items()]
        waiting = sum(len(keys) for work, keys in lists if work.queue == queue)
        verdict = self.verdict
        if verdict is None or verdict.block:
            return 0
        if verdict.refusal is None:
            return waiting
        trying = verdict.trying
        return sum(trying in keys for work, keys in lists if trying and work.queue == queue)

    def startable_classes(self) -> list[WorkClass]:
        """The classes of the conversions that wait for nothing but a slot."""
        classes = dict.fromkeys((*self.ready.lists, *self.given_up.lists))
        return [work for work in classes if self.may_start_in(work.queue)]

    def blocked(self) -> int:
        """How many conversions something of their own keeps from starting."""
        return self.waiting_in_all - self.waits_for_slot() - len(self._back_offs)

    def _enter(self, new: Standing) -> None:
        self._standings[new.uid] = new
        self.slots += new.slots
        self.suspended += new.suspended
        if new.slots:
            self.slots_by_class[new.slot_work] += new.slots
        if new.waits:
            self.waiting.setdefault(new.work.queue, SortedKeys()).add(new.order)
            self.waiting_in_all += 1
        if new.refusal:
            self._refusals.add((new.refusal[0], new.order))
        if new.no_node:
            self.without_node.add(new.order)
        if new.tries_again:
            self.trying_again.add(new.uid)
        if new.missing_pod:
            self._missing_pods.add(new.uid)
        if new.sweep_after:
            self.sweeps.add((new.sweep_after, new.uid))
        self._unfinished += new.stage is not None

    def _withdraw(self, old: Standing) -> None:
        self._displace(old)
        del self._standings[old.uid]
        self.slots -= old.slots
        self.suspended -= old.suspended
        if old.slots:
            self.slots_by_class[old.slot_work] -= old.slots
            if not self.slots_by_class[old.slot_work]:
                del self.slots_by_class[old.slot_work]
        if old.waits:
            waiting = self.waiting[old.work.queue]
            waiting.remove(old.order)
            self.waiting_in_all -= 1
            if not waiting:
                del self.waiting[old.work.queue]
        if old.refusal:
            self._refusals.remove((old.refusal[0], old.order))
        if old.no_node:
            self.without_node.remove(old.order)
        self.trying_again.discard(old.uid)
        self._missing_pods.discard(old.uid)
        if old.sweep_after:
            self.sweeps.remove((old.sweep_after, old.uid))
        self._unfinished -= old.stage is not None

    def _settle(self, uid: str, before: _Placed | None = None) -> None:
        """Give a conversion its place, after something that it depends on has changed.

        ``before`` was its place if it is in no list now.
        """
        standing = self._standings.get(uid)
        if standing is None:
            return
        before = self._placed.get(uid, before)
        self._displace(standing)
        if standing.waits:
            placed = self._placed[uid] = self._find_place(standing)
            self._change_lists(standing, placed, SortedKeys.add)
            if placed.block and placed.block.reason in FAILING_REASONS:
                self._failing[uid] = None
            if placed != before:
                self.changed.add(uid)

    def _find_place(self, standing: Standing) -> _Placed:
        uid = standing.uid
        block = standing.held or self._paths.block(uid) or self._rejected.get(uid)
        if standing.retry_at and standing.retry_at > self._now:
            # The status written after the last attempt already says why it waits.
            return _Placed(Place.BACKING_OFF, early=block is None and bool(standing.given_up_at))
        if block:
            return _Placed(Place.BLOCKED, block)
        return _Placed(Place.GIVEN_UP if standing.given_up_at else Place.READY)

    def _displace(self, standing: Standing) -> None:
        self._failing.pop(standing.uid, None)
        placed = self._placed.pop(standing.uid, None)
        if placed is not None:
            self._change_lists(standing, placed, SortedKeys.remove)

    def _change_lists(self, standing: Standing, placed: _Placed, change: _Change) -> None:
        if placed.place is Place.READY:
            self.ready.change(standing, change)
        elif placed.place is Place.GIVEN_UP and standing.given_up_at:
            self.given_up.change(standing, change)
            change(self._given_up_ends, (standing.given_up_at, standing.order))
        elif placed.place is Place.BACKING_OFF and standing.retry_at:
            change(self._back_offs, (standing.retry_at, standing.order))
            if placed.early:
                self.early.change(standing, change)


def _place_of(standing: Standing) -> tuple[str, QueueKey]:
    return standing.work.queue, standing.order
