"""A real kopf operator works against the in-process API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
import pytest
from kubernetes.aio.client import ApiClient, Configuration, VersionApi
from kubernetes.aio.config import load_kube_config

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.clock import Signal
from tests.component.support.tools import conversion_job, write_kubeconfig

Seen = list[tuple[str | None, str, str]]
"""Type of the event, name, resourceVersion."""


class Operator:
    """The calls of an on.event handler."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.called = Signal()
        self.task: asyncio.Task[None]

    async def wait(self, *expected: tuple[str | None, str]) -> None:
        async with asyncio.timeout(30):
            while not set(expected) <= {(kind, name) for kind, name, _ in self.seen}:
                await self.called.wait()


@asynccontextmanager
async def operating(api: FakeApi, token: list[str] | None = None) -> AsyncIterator[Operator]:
    """An operator with one handler. ``token`` holds the token of its next login."""
    registry, operator = kopf.OperatorRegistry(), Operator()

    @kopf.on.login(registry=registry)
    def connect(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=api.url, token=token[0] if token else None)

    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.reconnect_backoff = 0.01
    settings.networking.error_backoffs = [0.05, 0.05, 0.05]

    @kopf.on.event("converter.mynetwork.io", "v1alpha1", "conversionjobs", registry=registry)
    def on_event(event: Any, name: str | None, **_: Any) -> None:
        version = event["object"]["metadata"]["resourceVersion"]
        operator.seen.append((event["type"], name or "", version))
        operator.called.fire()

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
        operator.task = task
        yield operator
    finally:
        stop.set()
        if not task.done():
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


async def test_kopf_sees_only_its_namespace(api: FakeApi) -> None:
    api.add_namespace("other")
    api.create(conversion_job("far", namespace="other"))
    api.create(conversion_job("near"))
    async with operating(api) as operator:
        await operator.wait((None, "near"))
    assert {name for _, name, _ in operator.seen} == {"near"}
    assert api.audit.count(resource="conversionjobs", namespace=NAMESPACE) == 2


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_kopf_continues_where_a_watch_ended(api: FakeApi, how: str) -> None:
    api.create(conversion_job("a"))
    async with operating(api) as operator:
        await operator.wait((None, "a"))
        (watch,) = await api.until(lambda: api.watches(resource="conversionjobs"))
        getattr(watch, how)()
        api.create(conversion_job("b"))
        await operator.wait(("ADDED", "b"))
        assert api.audit.count(verb="list", resource="conversionjobs") == 1


async def test_kopf_lists_again_after_410(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with operating(api) as operator:
        await operator.wait((None, "a"))
        (watch,) = await api.until(lambda: api.watches(resource="conversionjobs"))
        with api.faults.hold_watches(resource="conversionjobs"):
            api.create(conversion_job("b"))
            api.delete("conversionjobs", "a")
            api.compact("conversionjobs")
            watch.abort()
        await operator.wait((None, "b"))
        assert api.audit.count(verb="list", resource="conversionjobs") == 2
    # kopf does not report the deletion. Therefore our operator lists for itself.
    assert ("DELETED", "a") not in {(kind, name) for kind, name, _ in operator.seen}


async def test_kopf_stops_at_a_410_that_is_a_status(api: FakeApi) -> None:
    """kopf 1.45 stops as a whole, so our operator has to start it again."""
    async with operating(api) as operator:
        (watch,) = await api.until(lambda: api.watches(resource="conversionjobs"))
        api.compact("conversionjobs", as_status=True)
        watch.abort()
        with pytest.raises(Exception, match="too old resource version"):
            await operator.task


async def test_kopf_survives_an_outage_of_the_server(api: FakeApi) -> None:
    async with operating(api) as operator:
        await api.until(lambda: api.watches(resource="conversionjobs"))
        with api.faults.status(503, verb="watch", times=2) as fault:
            async with api.down():
                api.create(conversion_job("a"))
            await operator.wait(("ADDED", "a"))
            assert fault.hits == 2


async def test_kopf_reports_a_replayed_version_as_a_change(api: FakeApi) -> None:
    first = api.create(conversion_job("a"))
    async with operating(api) as operator:
        await operator.wait((None, "a"))
        await api.until(lambda: api.watches(resource="conversionjobs"))
        api.patch("conversionjobs", "a", {"spec": {"priority": 1}})
        await operator.wait(("MODIFIED", "a"))
        operator.seen.clear()
        api.replay("conversionjobs", "a", chosen=lambda obj: "priority" not in obj["spec"])
        await operator.wait(("MODIFIED", "a"))
        assert operator.seen == [("MODIFIED", "a", first["metadata"]["resourceVersion"])]


async def test_kopf_logs_in_again_with_a_new_token(api: FakeApi) -> None:
    rules = [
        {
            "apiGroups": ["converter.mynetwork.io"],
            "resources": ["conversionjobs"],
            "verbs": ["list", "watch"],
        }
    ]
    api.access.grant("old", "operator", rules, namespace=NAMESPACE)
    fresh, token = "new", ["old"]
    async with operating(api, token) as operator:
        await api.until(lambda: api.watches(resource="conversionjobs"))
        token[0] = fresh
        api.access.replace("old", fresh)
        api.watches(resource="conversionjobs")[0].abort()
        api.create(conversion_job("a"))
        await operator.wait(("ADDED", "a"))
    assert {r.code for r in api.audit if r.token == fresh} == {200}
    assert 401 in {r.code for r in api.audit}


async def test_a_kubeconfig_for_other_processes(api: FakeApi, tmp_path: Path) -> None:
    mine = "mine"
    api.access.grant(mine, "someone")
    path = write_kubeconfig(tmp_path / "config", api.url, mine)
    loaded = Configuration()
    await load_kube_config(str(path), client_configuration=loaded)
    async with ApiClient(loaded) as http:
        assert (await VersionApi(http).get_code()).major == "1"
    assert api.audit.requests[-1].token == mine
