"""The admitter: what counts in a pass, and what may delay it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from conversion_operator.cluster.objects import Resource
from conversion_operator.controller import admitter as module
from conversion_operator.controller import backlog as backlog_module
from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block
from tests.unit.operator.builders import conversion

REJECTION = Block("QuotaExceeded", "exceeded quota: pods")


def answer(sync: NamespaceSync, namespace: str) -> None:
    for resource in Resource:
        sync.answered(resource, namespace, time.monotonic())


def admitting(
    sync: NamespaceSync,
    claim_exists: Callable[..., Awaitable[bool]],
    *waiting: Conversion,
    **options: Any,
) -> Admitter:
    """An admitter that leads, and whose Lease takes every record."""
    store = Store(lambda _: None)
    for subject in waiting:
        store.update(subject)

    async def record(*_: Any) -> bool:
        return True

    context: Any = SimpleNamespace(
        cluster=SimpleNamespace(claim_exists=claim_exists, now=lambda: datetime.now(UTC)),
        store=store,
        sync=sync,
        schema=SimpleNamespace(problem="", must_wait=False),
        queues=SimpleNamespace(known=True),
        policy=Policy,
        metrics=Metrics(CollectorRegistry()),
        leads=lambda: True,
    )
    leadership: Any = SimpleNamespace(term=0, record_admissions=record)
    made = Admitter(context, leadership, lambda _: None, **options)
    for subject in waiting:
        made.observe(subject.key.uid)
    made.queue.update(datetime.now(UTC))
    return made


async def test_a_rejection_during_the_claim_check_counts_in_the_same_pass() -> None:
    """Otherwise the conversion starts again at once, because its reservation has ended."""
    waiting = conversion()

    async def claim_exists(*_: Any) -> bool:
        admitter._creator._reject(waiting.key.uid, REJECTION)
        return True

    sync = NamespaceSync(["my-network"])
    answer(sync, "my-network")
    admitter = admitting(sync, claim_exists, waiting)
    obstacles = await admitter._find_obstacles(["my-network"])
    assert obstacles.rejected == {waiting.key.uid: REJECTION}


@pytest.mark.parametrize("leaves", [True, False])
async def test_nothing_starts_in_a_namespace_that_leaves_during_the_pass(leaves: bool) -> None:
    sync, started = NamespaceSync(["my-network"]), list[str]()
    answer(sync, "my-network")

    async def claim_exists(*_: Any) -> bool:
        if leaves:
            sync.leave("my-network")
        return True

    admitter = admitting(sync, claim_exists, conversion())
    admitter._creator.start = lambda uid, *_, **__: started.append(uid)  # type: ignore[method-assign]
    await admitter._run_pass()
    assert bool(started) is not leaves


async def test_a_namespace_that_becomes_known_during_a_pass_needs_another_one() -> None:
    sync = NamespaceSync(["my-network", "late"])
    answer(sync, "my-network")

    async def claim_exists(*_: Any) -> bool:
        answer(sync, "late")
        return True

    late = conversion("late-uid", namespace="late")
    sync._term_began_at -= 60  # the namespaces do not wait for each other any more
    admitter = admitting(sync, claim_exists, conversion(), late)
    started: list[str] = []
    admitter._creator.start = lambda uid, *_, **__: started.append(uid)  # type: ignore[method-assign]
    await admitter._run_pass()
    assert "late-uid" not in started
    await admitter._run_pass()
    assert "late-uid" in started


async def test_a_backlog_delays_a_pass_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all writes in a namespace hang, the backlog stays."""
    sync, clock, backlog = NamespaceSync(["my-network"]), [1000.0], [500]

    async def claim_exists(*_: Any) -> bool:
        return True

    answer(sync, "my-network")
    admitter = admitting(sync, claim_exists, conversion(), backlog=lambda: backlog[0])
    for each in (module, backlog_module):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    started: list[str] = []
    admitter._creator.start = lambda uid, *_, **__: started.append(uid)  # type: ignore[method-assign]
    for seconds, count in ((0.0, 0), (1.9, 0), (0.2, 1)):
        clock[0] += seconds
        await admitter._run_pass()
        assert len(started) == count
