"""Tells the numbers of the ConversionQueues, in their statuses and in the metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from conversion_operator.api.names import QUEUE_KIND
from conversion_operator.api.queues import ConversionQueueStatus
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound
from conversion_operator.cluster.objects import Event
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.queue_gauges import queue_numbers
from conversion_operator.core.queue import Queue
from conversion_operator.core.queue_status import (
    Counts,
    QueueObject,
    count,
    has_stopped,
    next_status,
    queues_with_room,
)

_STATUS_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


class QueueStatus:
    """Counts the conversions of each ConversionQueue every 2 seconds, and tells the numbers.

    Sets the metrics, writes each status that has changed, and posts an Event when a ConversionQueue
    lets nothing start.
    """

    def __init__(
        self,
        context: ControllerContext,
        queue: Queue,
        post: Callable[[Event], None],
        held: Callable[[], int],
    ) -> None:
        """``held`` returns how many slots are in use."""
        self._context, self._queue, self._post, self._held = context, queue, post, held
        self._cluster, self._watch = context.cluster, context.queues
        # The versions that were written, until the watch shows the result.
        self._written: dict[str, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            gauges = self._context.metrics.queues
            if not self._context.leads():
                gauges.numbers = {}
                continue
            counts = count(self._queue, self._watch.objects)
            blocked = bool(self._context.admission_causes())
            policy = self._context.policy()
            room = queues_with_room(self._queue, policy, self._held())
            gauges.numbers = queue_numbers(
                counts, self._watch.objects, policy, blocked=blocked, with_room=room
            )
            await self._write_all(counts)

    async def _write_all(self, counts: Mapping[str, Counts]) -> None:
        for name, found in tuple(self._watch.objects.items()):
            problems = self._watch.problems.get(name, ())
            policy, now = self._context.policy(), self._cluster.now()
            status = next_status(found, counts.get(name, {}), problems, policy, now)
            if status != found.status and self._written.get(name) != found.version:
                await self._write(found, status)

    async def _write(self, found: QueueObject, status: ConversionQueueStatus) -> None:
        try:
            version = await self._cluster.write_queue_status(found, status, self._context.permit())
            if version != found.version:
                self._written[found.key.name] = found.version
            if stopped := has_stopped(found.status, status):
                self._post(
                    Event(found.key, "Warning", stopped.reason, stopped.message, kind=QUEUE_KIND)
                )
        except (Conflict, NotFound):
            pass  # it has changed, which the watch reports
        except ClusterError as error:
            logger.warning("Cannot write the status of queue %s: %s", found.key.name, error)
