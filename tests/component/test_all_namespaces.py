"""WATCH_NAMESPACES "*": one watch a kind for all namespaces, where the rights allow it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.controller import namespaces, sync
from conversion_operator.controller.leadership import NAME
from conversion_operator.controller.settings_watch import CLUSTER_ROLE_MISSING
from conversion_operator.core.plan import TOMBSTONE_TTL
from tests.component.running import Running, config_map, running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.audit import Request
from tests.component.support.fault_types import Fault
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job
from tests.component.test_namespaces import phase, serve, slots, until_other

KINDS = ("conversionjobs", "jobs", "pods")


def watched(api: FakeApi) -> set[tuple[str, str | None]]:
    """The kinds and namespaces of all watches of our objects."""
    requests = [watch.request for watch in api.watches() if watch.request.plural in KINDS]
    return {(request.plural, request.namespace) for request in requests}


EVERYWHERE = {(kind, None) for kind in KINDS}


def in_namespaces(*scopes: str) -> set[tuple[str, str | None]]:
    return {(kind, name) for kind in KINDS for name in scopes}


def is_everywhere(request: Request) -> bool:
    return request.plural in KINDS and request.namespace is None


def no_cluster_role(api: FakeApi) -> AbstractContextManager[Fault]:
    """Lists and watches of all namespaces are refused."""
    return api.faults.forbid(verb=("list", "watch"), where=is_everywhere)


def events(api: FakeApi) -> list[dict[str, Any]]:
    return [each for each in api.objects("events") if each["reason"] == CLUSTER_ROLE_MISSING]


def known(op: Running) -> set[str]:
    return {conversion.key.namespace for conversion in op.operator.store.conversions()}


async def until_served(api: FakeApi, op: Running) -> None:
    await api.until(lambda: op.operator._sync.synced(ALL_NAMESPACES), 20, "all lists")
    await api.until(lambda: watched(api) == EVERYWHERE, 20, "the watches of all namespaces")


async def renew_twice(api: FakeApi) -> None:
    """Wait until the Lease has been written with what is known now."""
    renewals = api.audit.count(verb="update", resource="leases")
    await api.until(lambda: api.audit.count(verb="update", resource="leases") > renewals + 1, 20)


@pytest.fixture
def two(api: FakeApi) -> FakeApi:
    api.add_namespace("other")
    return api


async def test_all_namespaces_are_served_with_one_watch_a_kind(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = two
    async with running(api, tmp_path, watch_namespaces="*") as op:
        api.create(conversion_job("a"))
        api.create(conversion_job("b", "other"))
        await until_phase(api, "a", "Succeeded")
        await until_other(api, "b", "Succeeded")
        await until_served(api, op)
        # The health is reported once a second.
        await api.until(lambda: op.operator.health.ready, 20)
        assert op.operator.health.unlisted == ""
        api.add_namespace("later")
        api.create(conversion_job("c", "later"))
        await api.until(lambda: phase(api, "c", "later") == "Succeeded", 20)
        assert watched(api) == EVERYWHERE
        listed = [r for r in api.audit.requests if r.verb == "list" and r.plural in KINDS]
        assert {request.namespace for request in listed} == {None}
    check_all(api, limit=3)


async def test_a_namespace_that_disappears_leaves_nothing_behind(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = two
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, watch_namespaces="*", converter_max_parallel=1) as op:
        api.create(conversion_job("b", "other"))
        await until_other(api, "b", "Running")
        api.create(conversion_job("a"))
        await until_phase(api, "a", "Queued")
        api.delete_namespace("other")
        await until_phase(api, "a", "Running")
        await api.until(lambda: len(list(op.operator.store.conversions())) == 1, 20)
        queue = op.operator._admitter.queue
        await api.until(lambda: queue.namespaces["other"].is_empty, 20)
        queue.forget_empty()
        assert set(queue.namespaces) == {NAMESPACE}
        cluster.finish("a")
        await until_phase(api, "a", "Succeeded")


async def test_a_namespace_without_a_claim_waits(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    async with running(api, tmp_path, watch_namespaces="*"):
        api.create(conversion_job("b", "other"))
        api.create(conversion_job("a"))
        await until_phase(api, "a", "Succeeded")

        def reason() -> str | None:
            found = api.get("conversionjobs", "b", "other")["status"].get("reason")
            return found if isinstance(found, str) else None

        await api.until(lambda: reason() == "ClaimMissing", 20)
        assert not api.objects("jobs", "other")
        api.add_claim("other")
        await until_other(api, "b", "Succeeded")


async def test_without_the_cluster_role_nothing_starts_and_it_is_told(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "conversion_operator")
    api = two
    text = "WATCH_NAMESPACES is *, but the API server does not allow"
    with no_cluster_role(api) as refused:
        async with running(api, tmp_path, watch_namespaces="*") as op:
            api.create(conversion_job("a"))
            await api.until(lambda: op.metric("converter_leading") == 1, 20)
            await api.until(lambda: text in op.operator.health.unlisted, 20)
            assert "Apply deploy/cluster-wide" in op.operator.health.unlisted
            await api.until(lambda: bool(events(api)), 20)
            assert events(api)[0]["involvedObject"]["kind"] == "ConfigMap"
            assert events(api)[0]["type"] == "Warning"
            assert any(line.startswith(text) for line in caplog.messages)
            assert not op.operator.health.ready
            assert not api.objects("jobs")
            assert phase(api, "a", NAMESPACE) == "Pending"
            refused.times = 0
            await until_phase(api, "a", "Succeeded", 40)
            await api.until(lambda: op.operator.health.unlisted == "", 20)


async def leave_one_running(api: FakeApi, folder: Path, settings: dict[str, Any]) -> None:
    """Kill an operator while the conversion "long" of the other namespace runs."""
    async with running(api, folder, "op-a", **settings) as op:
        api.create(conversion_job("long", "other"))
        await until_other(api, "long", "Running")
        await api.until(lambda: slots(api) == {"other": 1}, 20)
        await op.kill()
    api.mutate("leases", NAME, lambda body: body["spec"].update(leaseDurationSeconds=1))


async def test_slots_stay_counted_while_all_lists_are_refused(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights are removed and the operator restarts. What ran then is followed by name."""
    for module in (sync, namespaces):
        monkeypatch.setattr(module, "GRACE_SECONDS", 4.0)
    monkeypatch.setattr(namespaces, "BY_NAME_SECONDS", 2.0)
    api = two
    cluster.default = succeed(hold=True)
    limit: dict[str, Any] = {"watch_namespaces": "*", "converter_max_parallel": 1}
    await leave_one_running(api, tmp_path / "a", limit)
    with no_cluster_role(api) as refused:
        async with running(api, tmp_path / "b", "op-b", **limit) as op:
            api.create(conversion_job("mine"))
            api.create(conversion_job("more", "other"))
            await api.until(lambda: watched(api) >= in_namespaces("other"), 30, "watches by name")
            await renew_twice(api)
            assert slots(api) == {"other": 1}
            cluster.finish("long")
            await until_other(api, "long", "Succeeded")
            await renew_twice(api)
            assert not api.objects("jobs", NAMESPACE)
            assert phase(api, "more") == "Pending"
            refused.times = 0
            await until_phase(api, "mine", "Running", 40)
            cluster.finish("mine")
            await until_other(api, "more", "Running", 40)
            cluster.finish("more")
            await until_other(api, "more", "Succeeded")
            await until_served(api, op)
    check_all(api, limit=1)


async def test_slots_stay_counted_while_all_lists_get_no_answer(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "GRACE_SECONDS", 4.0)
    api = two
    cluster.default = succeed(hold=True)
    limit: dict[str, Any] = {"watch_namespaces": "*", "converter_max_parallel": 2}
    await leave_one_running(api, tmp_path / "a", limit)
    with api.faults.black_hole(verb="list", where=is_everywhere):
        async with running(api, tmp_path / "b", "op-b", **limit) as op:
            await api.until(lambda: op.metric("converter_running") == 1, 30, "a pass")
            await renew_twice(api)
            assert slots(api) == {"other": 1}


async def test_a_list_refused_later_is_not_taken_for_an_empty_one(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = two
    cluster.default = succeed(hold=True)
    limit: dict[str, Any] = {"watch_namespaces": "*", "converter_max_parallel": 2}
    async with running(api, tmp_path, **limit) as op:
        api.create(conversion_job("b", "other"))
        await until_other(api, "b", "Running")
        await until_served(api, op)
        with no_cluster_role(api):
            op.operator._relist()
            await api.until(lambda: "in all namespaces" in op.operator.health.unlisted, 20)
            api.create(conversion_job("a"))
            await renew_twice(api)
            assert slots(api) == {"other": 1}
            assert not api.objects("jobs", NAMESPACE)
        await until_phase(api, "a", "Running", 40)
        cluster.finish("a")
        cluster.finish("b")
        await until_other(api, "b", "Succeeded")
    check_all(api, limit=2)


async def test_a_list_of_namespaces_becomes_all_and_a_list_again(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = two
    api.create(config_map(watch_namespaces=NAMESPACE))
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=2) as op:
        api.create(conversion_job("a"))
        api.create(conversion_job("b", "other"))
        await until_phase(api, "a", "Running")
        assert phase(api, "b") == "Pending"
        serve(api, "*")
        await until_other(api, "b", "Running")
        await until_served(api, op)
        assert phase(api, "a", NAMESPACE) == "Running"
        await api.until(lambda: op.operator._sync.namespaces == (ALL_NAMESPACES,), 20)
        await renew_twice(api)
        assert slots(api) == {NAMESPACE: 1, "other": 1}
        serve(api, NAMESPACE)
        # What runs elsewhere keeps its slot, and its end is written.
        api.create(conversion_job("c"))
        api.create(conversion_job("d", "other"))
        await api.until(lambda: watched(api) >= in_namespaces(NAMESPACE), 20)
        await api.until(lambda: op.operator._sync.is_leaving("other"), 20)
        await renew_twice(api)
        assert slots(api) == {NAMESPACE: 1, "other": 1}
        assert watched(api) >= EVERYWHERE
        cluster.finish("b")
        await until_other(api, "b", "Succeeded")
        await until_phase(api, "c", "Running")
        api.clock.advance(TOMBSTONE_TTL.total_seconds() + 1)  # its Job is deleted
        await op.reconcile_all()
        await api.until(lambda: watched(api) == in_namespaces(NAMESPACE), 20)
        assert phase(api, "d") == "Pending"
        await api.until(lambda: known(op) == {NAMESPACE}, 20, "the others to be forgotten")
        cluster.finish("a")
        cluster.finish("c")
        await until_phase(api, "a", "Succeeded")
        await until_phase(api, "c", "Succeeded")
        serve(api, "*")
        await until_other(api, "d", "Running")
        cluster.finish("d")
        await until_other(api, "d", "Succeeded")
    check_all(api, limit=2)


async def test_without_the_cluster_role_the_former_namespaces_are_served(
    two: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = two
    api.create(config_map(watch_namespaces=NAMESPACE))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        with no_cluster_role(api):
            serve(api, "*")
            await api.until(lambda: bool(events(api)), 20)
            api.create(conversion_job("a"))
            api.create(conversion_job("b", "other"))
            await until_phase(api, "a", "Succeeded")
            assert phase(api, "b") == "Pending"
            assert op.operator.health.ready
        await until_other(api, "b", "Succeeded", 40)
        await until_served(api, op)
