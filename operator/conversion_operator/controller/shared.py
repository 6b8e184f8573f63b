"""What the parts of the controller have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conversion_operator.cluster.interface import Cluster
from conversion_operator.controller.settings import LiveSettings
from conversion_operator.controller.telemetry import Metrics
from conversion_operator.controller.view import View


@dataclass(frozen=True, slots=True)
class Shared:
    """``leads`` is true as long as this operator may write."""

    cluster: Cluster
    view: View
    settings: LiveSettings
    metrics: Metrics
    leads: Callable[[], bool]

    def may_act(self) -> bool:
        """True if this operator leads and knows everything there is: else absence means nothing."""
        return self.leads() and self.view.complete(self.settings.current.namespaces)
