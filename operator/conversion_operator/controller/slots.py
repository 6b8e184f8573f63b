"""Counts the slots in use, and says which of them to record on the Lease.

The slots of a namespace are counted from its Jobs and pods. If these were not listed in this term,
they are unknown, not zero. Then the number that a former leader recorded on the Lease is used. Only
operators create Jobs, so the real number is not higher.
"""

from __future__ import annotations

from collections.abc import Mapping

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.core.admission import unseen_slots
from conversion_operator.core.queue import Queue


class SlotCounter:
    """Cost: each method iterates over the namespaces and the conversions whose Jobs are being
    created.

    The admitter calls :meth:`held` on each pass, and leadership calls :meth:`to_record` for each
    write of the Lease.
    """

    def __init__(self, queue: Queue, sync: NamespaceSync) -> None:
        self._queue, self._sync = queue, sync
        self._recorded: Mapping[str, int] = {}

    def begin_term(self, recorded: Mapping[str, int]) -> None:
        """Begin with the slots by namespace that the last leader recorded on the Lease."""
        self._recorded = recorded

    def held(self) -> int:
        """How many slots are in use. A reserved uid takes one until its Job or pod is known."""
        # From the first complete list of a namespace on, its record is not needed.
        self._recorded = {
            name: slots
            for name, slots in self._recorded.items()
            if self._sync.is_watched(name) and not self._sync.admissible(name)
        }
        unseen = unseen_slots(self._recorded, self._queue.slots_by_namespace())
        return self._queue.slots_held() + unseen

    def to_record(self) -> Mapping[str, int]:
        """The slots by namespace, without those of reserved uids: the Lease lists them by uid.

        If all namespaces are watched, the record has those that are also watched by name, those in
        the queue, and those that the last leader recorded and that are not listed yet. The queue
        forgets a namespace in which nothing is left: see :meth:`Queue.forget_empty`.
        """
        observed = self._queue.slots_by_namespace()
        names = set(self._sync.namespaces)
        if ALL_NAMESPACES in names:
            names = names - {ALL_NAMESPACES} | {*self._queue.namespaces, *self._recorded}
        return {
            name: observed.get(name, 0)
            if self._sync.admissible(name)
            else max(observed.get(name, 0), self._recorded.get(name, 0))
            for name in names
        }
