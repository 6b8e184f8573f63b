"""What the parts of the controller share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import WritePermit
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.schema_check import SchemaCheck
from conversion_operator.controller.settings import Settings
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """The shared parts.

    ``leads`` returns True while this operator is the leader and may write. ``permit`` returns the
    permit for the writes that are decided now.
    """

    cluster: Cluster
    store: Store
    settings: LiveSettings[Settings]
    metrics: Metrics
    leads: Callable[[], bool]
    permit: Callable[[], WritePermit]
    sync: NamespaceSync
    schema: SchemaCheck

    def may_act(self, namespace: str) -> bool:
        """True while this operator leads and the lists of the namespace are known.

        Without these lists, a missing object proves nothing.
        """
        return self.leads() and self.sync.synced(namespace)
