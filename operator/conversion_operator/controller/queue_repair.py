"""Compares the queue with the store every minute, and repairs what no event reported."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Final

from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.context import ControllerContext

_INTERVAL: Final = 60.0
"""The time between two comparisons, in seconds."""
_SLICE: Final = 500
"""How many conversions to look at before other tasks may run. This takes about 10 ms."""

logger = logging.getLogger(__name__)


async def repair_queue(context: ControllerContext, admitter: Admitter) -> None:
    """Compare the queue with the store every minute, in slices, until cancelled.

    Cost: compares each conversion once a minute. Each difference is a change that no event
    reported.
    """
    queue = admitter.queue
    while True:
        await asyncio.sleep(_INTERVAL)
        uids = iter({*context.store.all_uids(), *queue.known_uids()})
        while part := list(itertools.islice(uids, _SLICE)):
            for uid in queue.repair(part, context.cluster.now()):
                logger.warning("The queue had missed a change of %s", uid)
                admitter.wake()
            await asyncio.sleep(0)
        queue.forget_empty()
