"""What the parts of the controller have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.settings import Settings
from conversion_operator.controller.store import Store
from conversion_operator.controller.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """``leads`` is true as long as this operator may write."""

    cluster: Cluster
    store: Store
    settings: LiveSettings[Settings]
    metrics: Metrics
    leads: Callable[[], bool]

    def may_act(self) -> bool:
        """True if this operator leads and knows everything there is: else absence means nothing."""
        return self.leads() and self.store.complete(self.settings.current.namespaces)
