"""What the parts of the controller share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.settings import Settings
from conversion_operator.controller.store import Store


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """The shared parts. ``leads`` returns True while this operator is the leader and may write."""

    cluster: Cluster
    store: Store
    settings: LiveSettings[Settings]
    metrics: Metrics
    leads: Callable[[], bool]

    def may_act(self) -> bool:
        """True while this operator leads and its store is complete.

        Without a complete store, a missing object proves nothing.
        """
        return self.leads() and self.store.complete(self.settings.current.namespaces)
