"""A list that is refused or not answered is unknown, never empty."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.cluster.admissions import SLOTS_ANNOTATION, parse_slots
from conversion_operator.cluster.errors import NotFound, Unavailable
from conversion_operator.controller import sync
from conversion_operator.controller.leadership import NAME
from conversion_operator.controller.list_history import HistoryWentBack
from tests.component.running import Running, running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.errors import Obj
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job

LIST: dict[str, Any] = {"verb": "list", "resource": ("jobs", "pods", "conversionjobs")}
BOTH = "my-network,theirs"
GRACE = 4.0


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 s are too long for a test."""
    monkeypatch.setattr(sync, "GRACE_SECONDS", GRACE)


def lease(api: FakeApi) -> Obj:
    return api.find("leases", NAME, NAMESPACE) or {}


def slots(api: FakeApi) -> dict[str, int]:
    recorded = parse_slots(
        (lease(api).get("metadata", {}).get("annotations") or {}).get(SLOTS_ANNOTATION)
    )
    return {namespace: number for namespace, number in recorded.items() if number}


def create(api: FakeApi, *names: str, namespace: str = NAMESPACE) -> None:
    for name in names:
        api.create(conversion_job(name, namespace))


async def until_running(api: FakeApi, number: int, namespace: str = NAMESPACE) -> None:
    def live() -> int:
        pods = api.objects("pods", namespace)
        return sum(pod["status"].get("phase") == "Running" for pod in pods)

    await api.until(lambda: live() == number, 40, f"{number} running pods in {namespace}")


async def until_theirs_succeeded(api: FakeApi) -> None:
    def phase() -> str | None:
        found = api.get("conversionjobs", "theirs", "theirs")
        phase: str | None = found.get("status", {}).get("phase")
        return phase

    await api.until(lambda: phase() == "Succeeded", 40)


async def kill_and_expire(api: FakeApi, op: Running) -> None:
    await op.kill()
    api.mutate("leases", NAME, lambda body: body["spec"].update(leaseDurationSeconds=1))


async def test_refused_lists_after_a_start_do_not_exceed_the_limit(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """An API server that has just started answers 403 for some seconds."""
    cluster.default = succeed(hold=True)
    names = ["a", "b", "c", "d"]
    async with running(api, tmp_path / "a", "op-a", converter_max_parallel=2) as op:
        create(api, *names)
        await until_running(api, 2)
        await kill_and_expire(api, op)
    with api.faults.forbid(**LIST) as refused:
        async with running(api, tmp_path / "b", "op-b", converter_max_parallel=2) as op:
            await api.until(lambda: op.metric("converter_leading") == 1, 20)
            await refused.wait_hit(18)
            await api.until(lambda: "jobs in my-network" in op.operator.health.unlisted)
            assert not op.operator.health.ready
            refused.times = 0
            for name in names:
                await until_phase(api, name, "Running", 40)
                cluster.finish(name)
            for name in names:
                await until_phase(api, name, "Succeeded", 40)
            await api.until(lambda: op.operator.health.unlisted == "", 20)
    check_all(api, limit=2)


@pytest.mark.usefixtures("grace")
@pytest.mark.parametrize("fault", ["forbid", "black_hole"])
@pytest.mark.parametrize("resource", ["jobs", "pods", "conversionjobs"])
async def test_another_namespace_starts_although_one_cannot_be_listed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, resource: str, fault: str
) -> None:
    """It waits for the lists for a limited time. Nothing starts in the unknown namespace."""
    api.add_namespace("theirs")
    cluster.default = succeed()
    with getattr(api.faults, fault)(verb="list", resource=resource, namespace="theirs"):
        create(api, "theirs", namespace="theirs")
        async with running(api, tmp_path, watch_namespaces=BOTH) as op:
            await api.until(lambda: op.metric("converter_leading") == 1, 20)
            create(api, "ours")
            leading_since = api.clock.now()
            await until_phase(api, "ours", "Succeeded", 20)
            waited = (api.clock.now() - leading_since).total_seconds()
            assert GRACE - 1 <= waited < GRACE + 5
            assert not api.objects("jobs", "theirs")
            assert f"{resource} in theirs" in op.operator.health.unlisted
            await api.until(lambda: op.operator.health.ready, 20)
            assert op.metric("converter_namespaces_unlisted") == 1


@pytest.mark.usefixtures("grace")
async def test_an_unknown_namespace_counts_with_the_slots_on_the_lease(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """One pod runs in a namespace whose lists are refused for good. One slot is left."""
    api.add_namespace("theirs")
    cluster.default = succeed(hold=True)
    limit: dict[str, Any] = {"watch_namespaces": BOTH, "converter_max_parallel": 2}
    async with running(api, tmp_path / "a", "op-a", **limit) as op:
        create(api, "theirs", namespace="theirs")
        await until_running(api, 1, "theirs")
        await api.until(lambda: slots(api) == {"theirs": 1}, 20, "the slots on the Lease")
        await kill_and_expire(api, op)
    with api.faults.forbid(verb=("list", "watch"), namespace="theirs") as refused:
        async with running(api, tmp_path / "b", "op-b", **limit) as op:
            create(api, "x", "y", "z")
            await until_running(api, 1)
            await api.until(lambda: op.metric("converter_running") == 2, 20)
            renewals = api.audit.count(verb="update", resource="leases")
            await api.until(
                lambda: api.audit.count(verb="update", resource="leases") > renewals + 1, 20
            )
            await until_running(api, 1)
            assert slots(api) == {"theirs": 1, NAMESPACE: 1}
            refused.times = 0
            cluster.finish("theirs")
            for name in ("x", "y", "z"):
                await until_phase(api, name, "Running", 40)
                cluster.finish(name)
                await until_phase(api, name, "Succeeded", 40)
            await until_theirs_succeeded(api)
    check_all(api, limit=2)


async def test_a_list_refused_later_is_not_taken_for_an_empty_one(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The rights of a namespace are removed while a conversion runs there, and come back."""
    api.add_namespace("theirs")
    cluster.default = succeed(hold=True)
    limit: dict[str, Any] = {"watch_namespaces": BOTH, "converter_max_parallel": 2}
    async with running(api, tmp_path, **limit) as op:
        create(api, "theirs", namespace="theirs")
        await until_running(api, 1, "theirs")
        with api.faults.forbid(verb=("list", "watch"), namespace="theirs") as refused:
            for watch in api.watches(namespace="theirs"):
                watch.close()
            await api.until(lambda: "theirs" in op.operator.health.unlisted, 90)
            create(api, "x", "y")
            await until_running(api, 1)
            assert refused.hits
        await api.until(lambda: op.operator.health.unlisted == "", 40)
        cluster.finish("theirs")
        for name in ("x", "y"):
            await until_phase(api, name, "Running", 40)
            cluster.finish(name)
            await until_phase(api, name, "Succeeded", 40)
        await until_theirs_succeeded(api)
    check_all(api, limit=2)


@pytest.mark.usefixtures("grace")
async def test_a_refused_list_is_logged_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "conversion_operator")

    def lines(start: str) -> list[str]:
        return [text for text in caplog.messages if text.startswith(f"{start} pods in my-network")]

    with api.faults.forbid(verb="list", resource="pods") as refused:
        async with running(api, tmp_path) as op:
            await refused.wait_hit(4)
            assert len(lines("Cannot list")) == 1
            assert "Apply deploy/namespace" in lines("Cannot list")[0]
            refused.times = 0
            await api.until(lambda: op.operator.health.unlisted == "", 20)
    assert len(lines("Cannot list")) == len(lines("Can list")) == 1


async def test_a_path_that_is_not_served_says_nothing_about_an_object(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The API server answers 404 for every path of the batch API. The Job is not missing."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path) as op:
        client = op.cluster
        with api.faults.status(404, verb="get", resource="jobs"), pytest.raises(Unavailable):
            await client.get_job(NAMESPACE, "missing")
        with pytest.raises(NotFound):
            await client.get_job(NAMESPACE, "missing")


async def test_the_operator_stops_when_versions_go_back(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The kubelet restarts it. Then it lists everything again, with an empty store."""
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready)
        for kind in api.storage.tables:
            api.storage.tables[kind].log.clear()
        api.storage.rv -= 5
        op.operator._relist()
        with pytest.raises(HistoryWentBack):
            await asyncio.wait_for(op.task, 30)
