"""Counts the slots in use, and says which of them to record on the Lease.

The slots of a namespace are counted on its Jobs and pods. If these were not listed in this term,
they are unknown, not zero. Then the number that a former leader recorded on the Lease is used. Only
operators create Jobs, so the namespace has no more than these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.core.admission import slots_by_namespace, slots_held, unseen_slots


class SlotCounter:
    """Every method visits all conversions, Jobs and pods.

    The admitter calls :meth:`held` on each pass, and leadership calls :meth:`to_record` for each
    write of the Lease.
    """

    def __init__(self, store: Store, sync: NamespaceSync) -> None:
        self._store, self._sync = store, sync
        self._recorded: Mapping[str, int] = {}

    def begin_term(self, recorded: Mapping[str, int]) -> None:
        """Begin with the slots by namespace that the last leader recorded on the Lease."""
        self._recorded = recorded

    def held(self, reserved: Collection[str]) -> int:
        """How many slots are in use. A reserved uid takes one until its Job or pod is known."""
        unknown = [name for name in self._sync.namespaces if not self._sync.admissible(name)]
        # From the first complete list of a namespace on, its record is not needed.
        self._recorded = {n: slots for n, slots in self._recorded.items() if n in unknown}
        lost, children = self._uids_lost_with_node(), self._store.all_children()
        observed = slots_by_namespace(children, reserved, lost)
        return slots_held(children, reserved, lost) + unseen_slots(self._recorded, observed)

    def to_record(self, reserved: Collection[str]) -> Mapping[str, int]:
        """The slots by namespace, without those of ``reserved``: the Lease lists them by uid."""
        lost, children = self._uids_lost_with_node(), self._store.all_children()
        observed = slots_by_namespace(children, reserved, lost)
        return {
            name: observed.get(name, 0)
            if self._sync.admissible(name)
            else max(observed.get(name, 0), self._recorded.get(name, 0))
            for name in self._sync.namespaces
        }

    def _uids_lost_with_node(self) -> frozenset[str]:
        """The conversions that failed because their node did not come back.

        Their attempts no longer take a slot.
        """
        return frozenset(
            c.key.uid
            for c in self._store.conversions()
            if c.status and c.status.phase is Phase.FAILED and c.status.reason == Reason.NODE_LOST
        )
