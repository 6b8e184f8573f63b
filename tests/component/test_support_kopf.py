"""A real kopf operator works against the in-process API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kopf

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.clock import Signal
from tests.component.support.tools import conversion_job, login

Seen = list[tuple[str | None, str, str]]
"""Type of the event, name, resourceVersion."""


class Operator:
    """What an on.event handler has been told."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.told = Signal()

    async def wait(self, *expected: tuple[str | None, str]) -> None:
        async with asyncio.timeout(10):
            while not set(expected) <= {(kind, name) for kind, name, _ in self.seen}:
                await self.told.wait()


@asynccontextmanager
async def operating(api: FakeApi) -> AsyncIterator[Operator]:
    registry, operator = kopf.OperatorRegistry(), Operator()
    login(registry, api.url)
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.reconnect_backoff = 0.01
    settings.networking.error_backoffs = [0.05, 0.05, 0.05]

    @kopf.on.event("converter.mynetwork.io", "v1alpha1", "conversionjobs", registry=registry)
    def on_event(event: Any, name: str | None, **_: Any) -> None:
        version = event["object"]["metadata"]["resourceVersion"]
        operator.seen.append((event["type"], name or "", version))
        operator.told.fire()

    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=settings,
            namespaces=[NAMESPACE],
            standalone=True,
            stop_flag=stop,
            ready_flag=ready,
        )
    )
    try:
        await ready.wait()
        yield operator
    finally:
        stop.set()
        await task


async def test_kopf_lists_and_watches(api: FakeApi) -> None:
    api.create(conversion_job("early"))
    async with operating(api) as operator:
        await operator.wait((None, "early"))
        api.create(conversion_job("late"))
        await operator.wait(("ADDED", "late"))
        api.patch("conversionjobs", "late", {"spec": {"priority": 5}})
        await operator.wait(("MODIFIED", "late"))
        api.delete("conversionjobs", "late")
        await operator.wait(("DELETED", "late"))
    assert api.audit.writes() == []
    assert {r.code for r in api.audit} == {200}
