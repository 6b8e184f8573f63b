"""The queue of one namespace: who waits, in which order, and who may start.

Each event changes the place of one conversion, and of those that use the same files. Nothing here
visits all conversions of the namespace, except :meth:`NamespaceQueue.use_blocks` after a change
that concerns all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from conversion_operator.core.model import EPOCH
from conversion_operator.core.path_index import PathIndex
from conversion_operator.core.paths import FAILING_REASONS, FindWriters
from conversion_operator.core.plan import Block
from conversion_operator.core.queue_places import Place, Placed, PlaceLists, Timed
from conversion_operator.core.refusals import PodTimes, Refusal, find_refusal
from conversion_operator.core.sorted_keys import SortedKeys
from conversion_operator.core.standing import QueueKey, Standing
from conversion_operator.core.work_class import WorkClass

_CHECKS_PER_PASS: Final = 50
"""Each pass checks again at most this many of the conversions that are about to fail."""


@dataclass(frozen=True, slots=True)
class NamespaceBlocks:
    """Why conversions of a namespace do not start, as the last admission pass found.

    ``block`` keeps all its conversions from starting. While ``refusal`` is set, only the
    conversion ``probe`` may start: it tests whether pods are still refused. ``held_back`` is set
    if the namespace has suspended Jobs, and the limit of suspended Jobs is reached. StartLimits
    then lets no conversion start there.
    """

    block: Block | None = None
    refusal: Block | None = None
    probe: QueueKey | None = None
    held_back: Block | None = None

    def reasons(self) -> tuple[str | None, ...]:
        """Its reasons, without their messages."""
        blocks = self.block, self.refusal, self.held_back
        return tuple(block.reason if block else None for block in blocks)


class NamespaceQueue:
    """The standings of the conversions of one namespace, and the lists that follow from them."""

    def __init__(self, find_writers: FindWriters) -> None:
        self._paths = PathIndex(find_writers)
        self._standings: dict[str, Standing] = {}
        self._placed: dict[str, Placed] = {}
        self._rejected: Mapping[str, Block] = {}
        # The conversions whose block has one of FAILING_REASONS: they fail at their next reconcile.
        # A dict: a conversion that is checked goes to the end, so each gets its turn.
        self._about_to_fail: dict[str, None] = {}
        self._now = EPOCH
        # All that wait, by the name of their ConversionQueue.
        self.waiting: dict[str, SortedKeys[QueueKey]] = {}
        self.waiting_in_all = 0
        self._lists = PlaceLists()
        self.ready, self.given_up = self._lists.ready, self._lists.given_up
        self.early = self._lists.early
        # By the time at which they were refused.
        self._refusals = SortedKeys[Timed]()
        self.without_node = SortedKeys[QueueKey]()
        self.retrying_after_giving_up: set[str] = set()
        # By the end of the conversion.
        self.sweeps = SortedKeys[tuple[datetime, str]]()
        self._unfinished = 0
        self._missing_pods: set[str] = set()
        self._pods = PodTimes()
        self.slots = self.suspended_jobs = 0
        self.slots_by_class: Counter[WorkClass] = Counter()
        # None until a pass has found them, and while the namespace is not startable: see
        # AdmissionPass.
        self.blocks: NamespaceBlocks | None = None
        # The conversions whose place or block has changed, or that are new.
        self.changed: set[str] = set()
        self.reordered: set[str] = set()

    @property
    def unfinished(self) -> bool:
        """True if a conversion has not ended."""
        return self._unfinished > 0

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to decide or to report."""
        return not self._standings and not self.changed and not self.reordered

    def standing(self, uid: str) -> Standing | None:
        """The standing of a conversion. None if nothing in the queue depends on it."""
        return self._standings.get(uid)

    def position(self, uid: str) -> int | None:
        """The place among the waiting conversions of its ConversionQueue in this namespace, from 1.

        None if it does not wait or is in back-off. Also None if it has changed since the last
        pass, and while the namespace is not startable.
        """
        standing, placed = self._standings.get(uid), self._placed.get(uid)
        if standing is None or placed is None or not self._is_up_to_date(uid):
            return None
        if placed.place is Place.BACKING_OFF:
            return None
        return self.waiting[standing.work.conversion_queue].rank(standing.order) + 1

    def block(self, uid: str) -> Block | None:
        """Why a conversion does not start. None if it waits only for a slot or is in back-off.

        Also None if it has changed since the last pass, and while the namespace is not startable.
        """
        standing, blocks, placed = self._standings.get(uid), self.blocks, self._placed.get(uid)
        if standing is None or blocks is None or not self._is_up_to_date(uid):
            return None
        if placed is None:
            # It does not wait. If its Job is being created, there may be a rejection.
            return None if standing.stage is None else self._rejected.get(uid)
        if placed.place is Place.BACKING_OFF:
            return None
        own = placed.block
        if standing.held or (own and own.reason in FAILING_REASONS):
            return own
        if blocks.block or own:
            return blocks.block or own
        if blocks.refusal and blocks.probe != standing.order:
            return blocks.refusal
        return blocks.held_back

    def use_blocks(self, blocks: NamespaceBlocks | None) -> None:
        """Use what a pass has found. None if the namespace is not startable.

        If a reason has changed that concerns all conversions, all count as changed. A message alone
        may change often, for example with the number of suspended Jobs.
        """
        before, self.blocks = self.blocks, blocks
        if blocks is None:
            return
        if before is None or before.reasons() != blocks.reasons():
            self.changed.update(key.uid for keys in self.waiting.values() for key in keys)
        elif before.probe != blocks.probe:
            self.changed.update(key.uid for key in (before.probe, blocks.probe) if key)

    def report_after_pass(self, uid: str) -> bool:
        """Report the conversion as changed after the next pass. False if it does not wait."""
        if uid not in self._placed:
            return False
        self.changed.add(uid)
        return True

    def _is_up_to_date(self, uid: str) -> bool:
        return self.blocks is not None and uid not in self.changed

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
        if (
            old is not None
            and new is not None
            and new.waits
            and _queue_and_order(old) != _queue_and_order(new)
        ):
            self.reordered.add(uid)
            self.changed.add(uid)
        return True

    def record_pod_times(self, created: datetime, ended: datetime) -> bool:
        """Record when a pod was created, and when its converter ended. True if this is new.

        These times never go back, even if the pods are deleted.
        """
        pods = self._pods
        if created <= pods.created and ended <= pods.ended:
            return False
        self._pods = PodTimes(max(created, pods.created), max(ended, pods.ended))
        return True

    def settle_readers(self, outputs: Iterable[str]) -> bool:
        """Settle the readers of these outputs, because a conversion that writes them has ended.

        True if there are any. That conversion may have ended before the queue has seen it, so that
        it was never a writer here.
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
        """End the back-offs that are over, and visit only those.

        Also check again some of the conversions that are about to fail because of their input: the
        conversions that they depend on may have failed with InputCycle or been deleted since.
        """
        self._now = now
        for uid in tuple(islice(self._about_to_fail, _CHECKS_PER_PASS)):
            self._settle(uid)
        while len(self._lists.back_offs) and self._lists.back_offs[0][0] <= now:
            self._settle(self._lists.back_offs[0][1].uid)

    def next_retry_at(self) -> datetime | None:
        """When the first of the back-offs ends. None if there is none."""
        return self._lists.back_offs[0][0] if len(self._lists.back_offs) else None

    def refusal(self) -> Refusal | None:
        """Why the pods of this namespace are refused. None if they are not."""
        if not len(self._refusals):
            return None
        time, key = self._refusals[len(self._refusals) - 1]
        refused = self._standings[key.uid].refusal
        times = PodTimes(self._pods.created, self._pods.ended, bool(self._missing_pods))
        return find_refusal(time, refused[1], times) if refused else None

    def first_given_up(self, classes: Collection[WorkClass]) -> Timed | None:
        """Of the conversions in place GIVEN_UP and in these classes, the first to give up its slot.

        Visits the conversions of other classes that gave up their slot earlier.
        """
        found = (e for e in self._lists.given_up_times if self._standings[e[1].uid].work in classes)
        return next(found, None)

    def given_up_at(self, key: QueueKey) -> datetime:
        """When the last pod of a conversion that waits was given up."""
        return self._standings[key.uid].given_up_at or EPOCH

    def refused_at(self, key: QueueKey) -> datetime:
        """When the last pod of a conversion that waits was refused. EPOCH if it was not."""
        refused = self._standings[key.uid].refusal
        return refused[0] if refused else EPOCH

    def waits_for_slot(self) -> int:
        """How many conversions have no block of their own and are not in back-off.

        Ignores the blocks of the namespace.
        """
        return len(self.ready) + len(self.given_up)

    def count_startable(self, conversion_queue: str) -> int:
        """How many conversions of a ConversionQueue may start if slots are free.

        While pods are refused, only the probe counts. Ignores StartLimits.
        """
        lists = [*self.ready.lists.items(), *self.given_up.lists.items()]
        waiting = sum(
            len(keys) for work, keys in lists if work.conversion_queue == conversion_queue
        )
        blocks = self.blocks
        if blocks is None or blocks.block:
            return 0
        if blocks.refusal is None:
            return waiting
        probe = blocks.probe
        return sum(
            probe in keys
            for work, keys in lists
            if probe and work.conversion_queue == conversion_queue
        )

    def startable_classes(self) -> list[WorkClass]:
        """The classes of the conversions in the places READY and GIVEN_UP.

        Leaves out the ConversionQueues in which no conversion may start: see count_startable.
        """
        classes = dict.fromkeys((*self.ready.lists, *self.given_up.lists))
        return [work for work in classes if self.count_startable(work.conversion_queue)]

    def blocked(self) -> int:
        """How many waiting conversions have a block of their own and are not in back-off."""
        return self.waiting_in_all - self.waits_for_slot() - len(self._lists.back_offs)

    def _enter(self, new: Standing) -> None:
        self._standings[new.uid] = new
        self.slots += new.slots
        self.suspended_jobs += new.suspended_jobs
        if new.slots:
            self.slots_by_class[new.slot_work] += new.slots
        if new.waits:
            self.waiting.setdefault(new.work.conversion_queue, SortedKeys()).add(new.order)
            self.waiting_in_all += 1
        if new.refusal:
            self._refusals.add((new.refusal[0], new.order))
        if new.no_node:
            self.without_node.add(new.order)
        if new.retries_after_giving_up:
            self.retrying_after_giving_up.add(new.uid)
        if new.missing_pod:
            self._missing_pods.add(new.uid)
        if new.sweep_after:
            self.sweeps.add((new.sweep_after, new.uid))
        self._unfinished += new.stage is not None

    def _withdraw(self, old: Standing) -> None:
        self._displace(old)
        del self._standings[old.uid]
        self.slots -= old.slots
        self.suspended_jobs -= old.suspended_jobs
        if old.slots:
            self.slots_by_class[old.slot_work] -= old.slots
            if not self.slots_by_class[old.slot_work]:
                del self.slots_by_class[old.slot_work]
        if old.waits:
            waiting = self.waiting[old.work.conversion_queue]
            waiting.remove(old.order)
            self.waiting_in_all -= 1
            if not waiting:
                del self.waiting[old.work.conversion_queue]
        if old.refusal:
            self._refusals.remove((old.refusal[0], old.order))
        if old.no_node:
            self.without_node.remove(old.order)
        self.retrying_after_giving_up.discard(old.uid)
        self._missing_pods.discard(old.uid)
        if old.sweep_after:
            self.sweeps.remove((old.sweep_after, old.uid))
        self._unfinished -= old.stage is not None

    def _settle(self, uid: str, before: Placed | None = None) -> None:
        """Give a conversion its place, after something that it depends on has changed.

        Pass the former place as ``before`` if the conversion is already removed from the lists.
        """
        standing = self._standings.get(uid)
        if standing is None:
            return
        before = self._placed.get(uid, before)
        self._displace(standing)
        if standing.waits:
            placed = self._placed[uid] = self._find_place(standing)
            self._lists.change(standing, placed, SortedKeys.add)
            if placed.block and placed.block.reason in FAILING_REASONS:
                self._about_to_fail[uid] = None
            if placed != before:
                self.changed.add(uid)

    def _find_place(self, standing: Standing) -> Placed:
        uid = standing.uid
        block = standing.held or self._paths.block(uid) or self._rejected.get(uid)
        if standing.retry_at and standing.retry_at > self._now:
            # The status written after the last attempt already says why it waits.
            return Placed(Place.BACKING_OFF, early=block is None and bool(standing.given_up_at))
        if block:
            return Placed(Place.BLOCKED, block)
        return Placed(Place.GIVEN_UP if standing.given_up_at else Place.READY)

    def _displace(self, standing: Standing) -> None:
        self._about_to_fail.pop(standing.uid, None)
        placed = self._placed.pop(standing.uid, None)
        if placed is not None:
            self._lists.change(standing, placed, SortedKeys.remove)


def _queue_and_order(standing: Standing) -> tuple[str, QueueKey]:
    return standing.work.conversion_queue, standing.order
