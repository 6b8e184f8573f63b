"""The settings and the ConversionQueues together: what decisions depend on."""

from __future__ import annotations

from dataclasses import replace

from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.queue_watch import QueueWatch
from conversion_operator.controller.settings import Settings
from conversion_operator.core.conversion_queues import ConversionQueues
from conversion_operator.core.model import Policy


class LivePolicy:
    """Builds the policy once for each change: each reconcile reads it."""

    def __init__(self, settings: LiveSettings[Settings], queues: QueueWatch) -> None:
        self._settings, self._queues = settings, queues
        self._built: tuple[Settings, ConversionQueues, Policy] | None = None

    def current(self) -> Policy:
        """The policy in force. The same object until something changes."""
        settings, table = self._settings.current, self._queues.table
        if self._built and self._built[0] is settings and self._built[1] is table:
            return self._built[2]
        policy = replace(settings.policy(), queues=table)
        self._built = settings, table, policy
        return policy
