"""What the workers keep in memory, and when they take nothing from their queue."""

from __future__ import annotations

import asyncio
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.profile_reader import ProfileReader
from conversion_operator.controller.recorder import EventRecorder
from conversion_operator.controller.store import Store
from conversion_operator.controller.worker import Worker
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.plan import Plan
from tests.unit.operator.builders import (
    POLICY,
    T0,
    children,
    conversion,
    job,
    running,
    step,
    succeeded,
)


class Server:
    """Stores each status."""

    async def write_status(self, subject: Any, status: Any, _permit: Any) -> Any:
        return subject

    def now(self) -> datetime:
        return T0

    async def create_event(self, *_: Any) -> None:
        """Events do not matter here."""


def permit() -> Any:
    """Every write may be sent."""
    return None


def make_worker(*, leads: bool = True) -> tuple[Worker, WorkQueue]:
    metrics = Metrics(CollectorRegistry())
    cluster: Any = Server()
    context: Any = SimpleNamespace(
        cluster=cluster,
        store=Store(lambda _: None),
        metrics=metrics,
        leads=lambda: leads,
        settings=SimpleNamespace(current=SimpleNamespace(policy=lambda: POLICY)),
    )
    queue = WorkQueue(lambda: 0.0)
    admitter: Any = SimpleNamespace(observe=lambda _: None)
    recorder = EventRecorder(cluster, metrics, "t", permit)
    profiles = ProfileReader(cluster, context.leads, queue.add)
    queued: Any = SimpleNamespace(
        take_position=lambda _: False, must_wait=lambda *_: False, forget=lambda _: None
    )
    return Worker(context, queue, admitter, recorder, profiles, queued), queue


async def test_an_operator_that_does_not_lead_takes_nothing_from_the_queue() -> None:
    worker, queue = make_worker(leads=False)
    for number in range(100):
        queue.add(f"u-{number}")
    task = asyncio.create_task(worker.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(queue) == 100
    task.cancel()


async def test_of_conversions_that_have_ended_nothing_is_kept() -> None:
    worker, _ = make_worker()
    subject = conversion()
    for seen in (children(job(), running()), children(job(), succeeded())):
        plan, after = step(subject, seen, 12)
        await worker._execute(subject, Plan(status=plan.status), permit())
        kept = set(worker._written_at)
        assert kept == (set() if after.finished else {subject.key.uid})
        subject = after
    assert subject.finished


async def test_of_conversions_that_no_longer_exist_nothing_is_kept() -> None:
    worker, queue = make_worker()
    uid = conversion().key.uid
    queue.add_rate_limited(uid)
    worker._written_at[uid] = 0.0
    await worker._reconcile_or_requeue(uid)
    assert (queue._failures, worker._written_at) == ({}, {})


def test_timers_that_were_replaced_are_not_kept() -> None:
    queue = WorkQueue(lambda: 0.0)
    for _ in range(1000):
        for key in ("a", "b", "c"):
            queue.add(key)
            queue._ready.clear()  # as if a worker had done it
            queue.add_after(key, 86400)
    assert len(queue._timers) <= 1010
    assert set(queue._due) == {"a", "b", "c"}
    assert {key for _, key in queue._timers} == {"a", "b", "c"}
