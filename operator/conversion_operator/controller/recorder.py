"""Posts Events about ConversionJobs. A courtesy: it holds nothing up and may fail."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError
from conversion_operator.controller.telemetry import Telemetry, complete_event
from conversion_operator.core.model import Conversion

logger = logging.getLogger(__name__)


class EventRecorder:
    """Tells of stored statuses: in logs and metrics at once, in Events as soon as may be."""

    def __init__(self, cluster: Cluster, telemetry: Telemetry, identity: str) -> None:
        self._cluster, self._telemetry, self._identity = cluster, telemetry, identity
        self._posting: set[asyncio.Task[None]] = set()

    def record(self, conversion: Conversion, stored: ConversionJobStatus) -> None:
        """Tell of the change from the conversion's former status to ``stored``."""
        for event in self._telemetry.tell(conversion, stored):
            body = complete_event(event, self._cluster.now(), self._identity)
            # The set keeps a reference: the loop alone would let the task be collected.
            task = asyncio.create_task(self._post(body), name="post event")
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    async def _post(self, body: dict[str, Any]) -> None:
        try:
            await self._cluster.post_event(body)
        except ClusterError as error:
            logger.debug("an Event was not posted: %s", error)
