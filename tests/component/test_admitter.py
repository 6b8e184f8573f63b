"""The admitter's cache of what the API server responded."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from conversion_operator.cluster.objects import Resource
from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.core.model import Policy
from conversion_operator.core.plan import Block
from tests.unit.operator.builders import conversion

REJECTION = Block("QuotaExceeded", "exceeded quota: pods")


async def test_a_rejection_during_the_claim_check_counts_in_the_same_pass() -> None:
    """Otherwise the conversion starts again at once, because its reservation has ended."""
    waiting = conversion()
    store = Store(lambda _: None)
    store.update(waiting)

    async def claim_exists(*_: Any) -> bool:
        admitter._creator._reject(waiting.key.uid, REJECTION)
        return True

    sync = NamespaceSync(["my-network"])
    for resource in Resource:
        sync.answered(resource, "my-network", time.monotonic())
    cluster = SimpleNamespace(claim_exists=claim_exists)
    schema = SimpleNamespace(problem="")
    settings = SimpleNamespace(current=SimpleNamespace(policy=Policy))
    context: Any = SimpleNamespace(
        cluster=cluster, store=store, sync=sync, schema=schema, settings=settings
    )
    leadership: Any = None
    admitter = Admitter(context, leadership, lambda _: None)
    admitter.observe(waiting.key.uid)
    admitter.queue.update(datetime.now(UTC))
    obstacles = await admitter._find_obstacles(["my-network"])
    assert obstacles.rejected == {waiting.key.uid: REJECTION}
