"""The queue of all conversions, kept up to date by events.

Each event says that one conversion may have changed. The next admission pass, or the next question
about slots, looks at those conversions. It does not visit the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from conversion_operator.core.children import Children
from conversion_operator.core.model import EPOCH, Conversion, Key, Policy
from conversion_operator.core.namespace_queue import NamespaceQueue
from conversion_operator.core.paths import FindWriters
from conversion_operator.core.plan import Block
from conversion_operator.core.standing import Standing, find_standing
from conversion_operator.core.work_class import UNKNOWN, WorkClass

FindConversion = Callable[[str], tuple[Conversion | None, Children]]
"""Returns a conversion by uid, None if it does not exist, and its own Jobs and pods."""


class _Found(NamedTuple):
    """A standing, and the values from which it was found.

    A value that changes is replaced by another object, so ``is_of`` compares identities.
    """

    conversion: Conversion | None
    children: Children
    reserved: bool
    policy: Policy
    standing: Standing

    def is_of(
        self, conversion: Conversion | None, children: Children, reserved: bool, policy: Policy
    ) -> bool:
        """True if it was found from these values."""
        return (
            self.conversion is conversion
            and self.children is children
            and self.reserved == reserved
            and self.policy is policy
        )


class Queue:
    """The queues of the namespaces, by name in ``namespaces``.

    ``find`` reads the newest known state of a conversion, ``find_writers`` that of the conversions
    with an output. ``reserved`` has the namespace of each uid whose Job is being created. It may
    change, but each change must be followed by :meth:`note_change`.
    """

    def __init__(
        self,
        find: FindConversion,
        find_writers: FindWriters,
        reserved: Mapping[str, str],
        policy: Policy,
    ) -> None:
        self._find, self._find_writers = find, find_writers
        self.reserved, self.policy = reserved, policy
        # The ConversionQueue in which a uid was admitted, if that is known.
        self.reserved_conversion_queues: Mapping[str, str] = {}
        self.namespaces: dict[str, NamespaceQueue] = {}
        self._namespace_of: dict[str, str] = {}
        # popitem() of a plain dict cannot take the oldest one.
        self._to_update: OrderedDict[str, None] = OrderedDict()
        # Those whose position or block was asked for while they were to be updated.
        self._unanswered: set[str] = set()
        # The last standing of those that matter, and what it depends on. Many noted changes come
        # from a reconcile that has changed nothing.
        self._found: dict[str, _Found] = {}
        # When the last converter ended, in any namespace. It never goes back.
        self.last_pod_end = EPOCH

    def note_change(self, uid: str) -> None:
        """Note that a conversion, or its Jobs and pods, may have changed."""
        self._to_update[uid] = None

    def use_policy(self, policy: Policy, uids: Iterable[str]) -> None:
        """Use other settings. All conversions may have changed. The caller knows their uids."""
        self.policy = policy
        for uid in uids:
            self._to_update[uid] = None

    @property
    def to_update(self) -> int:
        """How many conversions may have changed, and :meth:`update` has not looked at them yet."""
        return len(self._to_update)

    def update(self, now: datetime, most: int | None = None) -> bool:
        """Look at the conversions that may have changed, or at most ``most`` of them.

        True if a pass is needed.
        """
        changed = False
        for _ in range(len(self._to_update) if most is None else min(most, len(self._to_update))):
            uid, _ = self._to_update.popitem(last=False)
            changed |= self._update_one(uid, now)
        return changed

    def repair(self, uids: Iterable[str], now: datetime) -> list[str]:
        """Look at conversions without a noted change. Returns those that have changed."""
        return [uid for uid in uids if uid not in self._to_update and self._update_one(uid, now)]

    def forget_empty(self) -> None:
        """Forget the namespaces in which nothing is left. Visits the namespaces, once a minute."""
        for name in [name for name, queue in self.namespaces.items() if queue.is_empty]:
            del self.namespaces[name]

    def known_uids(self) -> list[str]:
        """All conversions that something in the queue depends on."""
        return [*self._namespace_of]

    def _update_one(self, uid: str, now: datetime) -> bool:
        conversion, children = self._find(uid)
        standing = self._standing_of(uid, conversion, children)
        old = self._namespace_of.pop(uid, None)
        changed = False
        if old is not None and old != standing.namespace:
            changed = self.namespaces[old].change(uid, None)
        if standing.namespace:
            queue = self._queue_of(standing.namespace)
            changed |= queue.change(uid, standing)
            changed |= self._record_pod_times(queue, children, now)
            if queue.standing(uid) is not None:
                self._namespace_of[uid] = standing.namespace
            if conversion is not None and conversion.finished:
                changed |= queue.settle_readers(conversion.output_paths)
            if uid in self._unanswered:
                # Somebody asked before this look at the conversion, and got None. So the next pass
                # reports it, even if nothing has changed.
                changed |= queue.report_after_pass(uid)
        self._unanswered.discard(uid)
        return changed

    def _standing_of(self, uid: str, conversion: Conversion | None, children: Children) -> Standing:
        """The standing of a conversion. The last one, if what it depends on is the same."""
        reserved, last = uid in self.reserved, self._found.get(uid)
        if last is not None and last.is_of(conversion, children, reserved, self.policy):
            return last.standing
        standing = find_standing(uid, conversion, children, reserved, self.policy)
        if standing.matters:
            self._found[uid] = _Found(conversion, children, reserved, self.policy, standing)
        elif last is not None:
            del self._found[uid]
        return standing

    def _queue_of(self, namespace: str) -> NamespaceQueue:
        queue = self.namespaces.get(namespace)
        if queue is None:
            queue = self.namespaces[namespace] = NamespaceQueue(self._find_writers)
        return queue

    def _record_pod_times(self, queue: NamespaceQueue, children: Children, now: datetime) -> bool:
        if not children.pods:
            return False
        created = max(pod.created for pod in children.pods)
        # The time of an end is that of a node, whose clock may be fast.
        ended = min(now, max(pod.converter_end or EPOCH for pod in children.pods))
        self.last_pod_end = max(self.last_pod_end, ended)
        return queue.record_pod_times(created, ended)

    def position(self, key: Key) -> int | None:
        """The queue position: the place in the same ConversionQueue and namespace, from 1.

        None if the conversion does not wait or is in back-off. Also None if it has changed since
        the last pass, and while its namespace is not startable (see AdmissionPass). A later pass
        then reports it again.
        """
        queue = self._queue_if_updated(key)
        return queue.position(key.uid) if queue else None

    def block(self, key: Key) -> Block | None:
        """Why a conversion does not start. None if it waits only for a slot or is in back-off.

        Also None if it has changed since the last pass, and while its namespace is not startable.
        """
        queue = self._queue_if_updated(key)
        return queue.block(key.uid) if queue else None

    def _queue_if_updated(self, key: Key) -> NamespaceQueue | None:
        if key.uid in self._to_update:
            self._unanswered.add(key.uid)
            return None
        return self.namespaces.get(key.namespace)

    def is_unfinished(self, uid: str) -> bool:
        """True if the conversion exists and has not ended."""
        standing = self.standing(uid)
        return standing is not None and standing.stage is not None

    def namespace_of(self, uid: str) -> str:
        """The namespace of a conversion. "" if nothing in the queue depends on it."""
        return self._namespace_of.get(uid, "")

    def conversion_queue_of(self, uid: str) -> str:
        """The ConversionQueue of a conversion. "" if nothing in the queue depends on it."""
        standing = self.standing(uid)
        return standing.work.conversion_queue if standing else ""

    def namespaces_with_unfinished(self) -> list[str]:
        """The namespaces with conversions that have not ended. Visits the namespaces."""
        return sorted(name for name, queue in self.namespaces.items() if queue.unfinished)

    def take_reordered(self) -> list[str]:
        """The waiting conversions whose priority or ConversionQueue has changed. Forgets them.

        Both change by an edit or by the ConversionProfile.
        """
        reordered: list[str] = []
        for queue in self.namespaces.values():
            reordered += queue.reordered
            queue.reordered.clear()
        return reordered

    def slots_by_namespace(self) -> dict[str, int]:
        """How many slots the Jobs and pods of each namespace take, without those of reserved uids.

        Visits the namespaces and the reservations.
        """
        held = {name: queue.slots for name, queue in self.namespaces.items() if queue.slots}
        for uid in self.reserved:
            name = self._namespace_of.get(uid)
            if name in held:
                held[name] -= self.slots_of(uid)
        return held

    def slots_by_class(self) -> Counter[tuple[str, WorkClass]]:
        """The slots in use by namespace and class, with those that are reserved.

        Visits the namespaces, and the reservations.
        """
        found = Counter(
            {
                (name, work): slots
                for name, queue in self.namespaces.items()
                for work, slots in queue.slots_by_class.items()
            }
        )
        for uid, namespace in self.reserved.items():
            standing = self.standing(uid)
            if standing is None:
                found[namespace, UNKNOWN] += 1
            elif not standing.slots:
                name = self.reserved_conversion_queues.get(uid, standing.work.conversion_queue)
                found[standing.namespace, standing.work._replace(conversion_queue=name)] += 1
        return found

    def slots_of(self, uid: str) -> int:
        """How many slots the Jobs and pods of one conversion take."""
        standing = self.standing(uid)
        return standing.slots if standing else 0

    def standing(self, uid: str) -> Standing | None:
        """The standing of a conversion. None if nothing in the queue depends on it."""
        queue = self.namespaces.get(self.namespace_of(uid))
        return queue.standing(uid) if queue else None

    def slots_held(self) -> int:
        """How many slots are in use. A reserved uid takes one until its Job or pod is known."""
        taken = sum(queue.slots for queue in self.namespaces.values())
        return taken + sum(1 for uid in self.reserved if not self.slots_of(uid))

    def suspended_jobs(self) -> dict[str, int]:
        """The number of suspended Jobs by namespace, where there are any."""
        found = {name: queue.suspended_jobs for name, queue in self.namespaces.items()}
        return {name: jobs for name, jobs in found.items() if jobs}

    def take_changed(self) -> list[str]:
        """The conversions that are new in the queue, or whose block has changed. Forgets them.

        Visits the namespaces. Call it after a pass: from then on, their positions and blocks are
        known.
        """
        changed: list[str] = []
        for queue in self.namespaces.values():
            changed += queue.changed
            queue.changed.clear()
        return changed
