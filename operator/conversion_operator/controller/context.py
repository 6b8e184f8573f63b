"""What the parts of the controller share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import WritePermit
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.metrics import AdmissionCause, Metrics
from conversion_operator.controller.queue_watch import QueueWatch
from conversion_operator.controller.schema_check import SchemaCheck
from conversion_operator.controller.settings import Settings
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.core.leaving import is_under_way
from conversion_operator.core.model import Policy


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """The shared parts.

    ``leads`` returns True while this operator is the leader and may write. ``permit`` returns the
    permit for the writes that are decided now. ``policy`` returns the policy in force.
    """

    cluster: Cluster
    store: Store
    settings: LiveSettings[Settings]
    metrics: Metrics
    leads: Callable[[], bool]
    permit: Callable[[], WritePermit]
    sync: NamespaceSync
    schema: SchemaCheck
    queues: QueueWatch
    policy: Callable[[], Policy]

    def admission_causes(self) -> frozenset[AdmissionCause]:
        """What keeps a leader from starting anything, in any namespace. Empty: nothing does."""
        found = {
            AdmissionCause.QUEUES: not self.queues.known,
            AdmissionCause.SCHEMA: self.schema.must_wait or bool(self.schema.problem),
            AdmissionCause.LISTS: self.sync.must_wait(),
        }
        return frozenset(cause for cause, holds in found.items() if holds)

    def is_under_way(self, uid: str) -> bool:
        """True while something that this operator has begun for a conversion is not over."""
        own, store = self.settings.current.pod_namespace, self.store
        marked = store.is_marked(uid)
        return is_under_way(store.conversion(uid), store.children(uid), own, marked=marked)

    def is_left(self, namespace: str, uid: str) -> bool:
        """True if the namespace is leaving, and nothing of ours is under way for the conversion."""
        return self.sync.is_leaving(namespace) and not self.is_under_way(uid)

    def may_act(self, namespace: str) -> bool:
        """True while this operator leads and the lists of the namespace are known.

        Without these lists, a missing object proves nothing.
        """
        return self.leads() and self.sync.synced(namespace)
