"""WATCH_NAMESPACES takes effect while the operator runs, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.cluster.admissions import SLOTS_ANNOTATION, parse_slots
from conversion_operator.controller import namespaces, sync
from conversion_operator.controller.leadership import NAME
from conversion_operator.core.plan import TOMBSTONE_TTL
from tests.component.receiver import HOST, callback_config, receiving
from tests.component.running import Running, config_map, running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job

BOTH = f"{NAMESPACE},other"


def serve(api: FakeApi, watched: str) -> None:
    api.patch("configmaps", names.CONFIG_MAP, {"data": {"WATCH_NAMESPACES": watched}})


def phase(api: FakeApi, name: str, namespace: str = "other") -> str:
    found: str = api.get("conversionjobs", name, namespace)["status"]["phase"]
    return found


async def until_other(api: FakeApi, name: str, wanted: str, seconds: float = 20) -> None:
    await api.until(lambda: phase(api, name) == wanted, seconds, f"{name} to be {wanted}")


async def until_let_go_by(api: FakeApi, op: Running, seconds: float = 20) -> None:
    await api.until(lambda: "other" not in op.operator._sync.namespaces, seconds, "other to go")


async def until_let_go(api: FakeApi, op: Running, seconds: float = 20) -> None:
    await until_let_go_by(api, op, seconds)
    assert not api.watches(namespace="other")


def slots(api: FakeApi) -> dict[str, int]:
    lease = api.find("leases", NAME, NAMESPACE) or {"metadata": {}}
    recorded = parse_slots((lease["metadata"].get("annotations") or {}).get(SLOTS_ANNOTATION))
    return {namespace: number for namespace, number in recorded.items() if number}


@pytest.fixture
def both(api: FakeApi) -> FakeApi:
    """Two namespaces. The ConfigMap names both."""
    api.add_namespace("other")
    api.create(config_map(watch_namespaces=BOTH))
    return api


@pytest.mark.judged
async def test_a_namespace_that_is_added_is_served_at_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.add_namespace("other")
    api.create(config_map(watch_namespaces=NAMESPACE))
    cluster.script("long", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("long"))
        api.create(conversion_job("c", "other"))
        await until_phase(api, "long", "Running")
        await api.until(lambda: op.operator.health.ready, 20)
        assert phase(api, "c") == "Pending"
        watched = [w for w in api.watches(namespace=NAMESPACE) if w.request.plural != "configmaps"]
        before = api.clock.now()
        serve(api, BOTH)
        await until_other(api, "c", "Succeeded")
        assert (api.clock.now() - before).total_seconds() < 10
        assert set(watched) <= set(api.watches(namespace=NAMESPACE))
        assert op.operator.health.ready
        cluster.finish("long")
        await until_phase(api, "long", "Succeeded")


@pytest.mark.judged
async def test_a_namespace_without_rights_stops_no_other(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.add_namespace("other")
    api.create(config_map(watch_namespaces=NAMESPACE))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready)
        with api.faults.forbid(verb=("list", "watch"), namespace="other") as refused:
            serve(api, BOTH)
            await refused.wait_hit(3)
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded", 20)
            await api.until(lambda: "jobs in other" in op.operator.health.unlisted, 10)
            assert op.metric("converter_namespaces_unlisted") == 1
        api.create(conversion_job("d", "other"))
        await until_other(api, "d", "Succeeded", 40)


@pytest.mark.judged
async def test_a_namespace_that_is_removed_is_let_go(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = both
    async with running(api, tmp_path, converter_enabled=False) as op:
        api.create(conversion_job("queued", "other"))
        await until_other(api, "queued", "Queued")
        serve(api, NAMESPACE)
        await until_let_go(api, op)
        op.configure(converter_enabled=True)
        assert not [name for name in op.operator.health._listed_at if "other" in name]
        api.create(conversion_job("c", "other"))
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        assert phase(api, "c") == "Pending"
        serve(api, BOTH)
        await until_other(api, "c", "Succeeded")
        await until_other(api, "queued", "Succeeded")


async def test_a_conversion_that_runs_keeps_its_slot_and_its_end_is_written(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = both
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("long", "other"))
        await until_other(api, "long", "Running")
        api.create(conversion_job("queued", "other", priority=100))
        api.create(conversion_job("mine"))
        await until_other(api, "queued", "Queued")
        serve(api, NAMESPACE)
        await api.until(lambda: op.operator._sync.is_leaving("other"))
        api.create(conversion_job("new", "other"))
        version = api.get("conversionjobs", "queued", "other")["metadata"]["resourceVersion"]
        renewals = api.audit.count(verb="update", resource="leases")
        await api.until(lambda: api.audit.count(verb="update", resource="leases") > renewals + 1)
        assert slots(api) == {"other": 1}
        assert not api.objects("pods", NAMESPACE)
        cluster.finish("long")
        await until_other(api, "long", "Succeeded")
        await until_phase(api, "mine", "Running")
        assert (phase(api, "queued"), phase(api, "new")) == ("Queued", "Pending")
        after = api.get("conversionjobs", "queued", "other")["metadata"]["resourceVersion"]
        assert after == version
        serve(api, BOTH)
        cluster.finish("mine")
        for name in ("queued", "new"):
            await until_other(api, name, "Running")
            cluster.finish(name)
            await until_other(api, name, "Succeeded")
    check_all(api, limit=1)


async def test_after_a_restart_the_lease_says_where_conversions_may_run(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = both
    cluster.default = succeed(hold=True)
    limit: dict[str, Any] = {"converter_max_parallel": 1}
    async with running(api, tmp_path / "a", "op-a", **limit) as op:
        api.create(conversion_job("long", "other"))
        await until_other(api, "long", "Running")
        await api.until(lambda: slots(api) == {"other": 1})
        serve(api, NAMESPACE)
        await op.kill()
        api.mutate("leases", NAME, lambda body: body["spec"].update(leaseDurationSeconds=1))
    async with running(api, tmp_path / "b", "op-b", **limit) as op:
        api.create(conversion_job("mine"))
        await api.until(lambda: op.metric("converter_running") == 1, 20)
        assert not api.objects("pods", NAMESPACE)
        cluster.finish("long")
        await until_other(api, "long", "Succeeded")
        await until_phase(api, "mine", "Running")
        cluster.finish("mine")
        await until_phase(api, "mine", "Succeeded")
    check_all(api, limit=1)


async def test_a_namespace_whose_rights_are_removed_too_does_not_keep_its_slots(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "GRACE_SECONDS", 3.0)
    monkeypatch.setattr(namespaces, "GRACE_SECONDS", 3.0)
    api = both
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("long", "other"))
        await until_other(api, "long", "Running")
        with api.faults.forbid(namespace="other") as refused:
            serve(api, NAMESPACE)
            op.operator._relist()
            await refused.wait_hit(1)
            api.create(conversion_job("mine"))
            await until_phase(api, "mine", "Running", 30)
            await until_let_go(api, op)


async def test_a_namespace_is_handed_over_to_another_installation(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = both
    api.add_namespace("converter-b")
    meta = {"name": names.CONFIG_MAP, "namespace": "converter-b"}
    api.create(config_map(watch_namespaces="other") | {"metadata": meta})
    cluster.default = succeed(hold=True)
    callbacks = callback_config(tmp_path / "s")
    settings: dict[str, Any] = {"converter_max_parallel": 1, "converter_callback_hosts": HOST}
    async with (
        receiving(api.storage.changed.fire) as receiver,
        running(api, tmp_path / "a", "op-a", callbacks=callbacks, **settings) as op,
    ):
        notify = {"url": receiver.url()}
        api.create(conversion_job("ours", "other", notify=notify))
        await until_other(api, "ours", "Running")
        api.create(conversion_job("queued", "other", notify=notify))
        await until_other(api, "queued", "Queued")
        serve(api, NAMESPACE)
        await api.until(lambda: op.operator._sync.is_leaving("other"))
        # The other installation may send no callback to this host, so nobody sends its callbacks.
        async with running(api, tmp_path / "b", "op-b", pod_namespace="converter-b"):
            api.create(conversion_job("new", "other", notify=notify))
            for name in ("queued", "new"):
                await until_other(api, name, "Running", 40)
            cluster.finish("new")
            await until_other(api, "new", "Succeeded")
            assert op.operator._sync.is_leaving("other")
            cluster.finish("ours")
            await until_other(api, "ours", "Succeeded")
            await api.until(lambda: bool(receiver.about("ours")), 20)
            api.clock.advance(TOMBSTONE_TTL.total_seconds() + 1)
            await op.reconcile_all()
            await until_let_go_by(api, op)
            cluster.finish("queued")
            await until_other(api, "queued", "Succeeded")
        assert not receiver.about("new")
        assert not receiver.about("queued")
    check_all(api, limit=100)


@pytest.mark.parametrize("removed", ["before the restart", "during the restart"])
async def test_after_a_restart_the_callbacks_that_are_owed_are_sent(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path, removed: str
) -> None:
    api = both
    async with receiving(api.storage.changed.fire) as receiver:
        # The first operator may send nothing to this host, so its callback waits.
        async with running(api, tmp_path / "a", "op-a") as op:
            api.create(conversion_job("c", "other", notify={"url": receiver.url()}))
            await until_other(api, "c", "Succeeded")
            if removed == "before the restart":
                serve(api, NAMESPACE)
                await api.until(lambda: op.operator._sync.is_leaving("other"))
            renewals = api.audit.count(verb="update", resource="leases")
            await api.until(
                lambda: api.audit.count(verb="update", resource="leases") > renewals + 1
            )
            assert not slots(api)
            await op.kill()
        api.mutate("leases", NAME, lambda body: body["spec"].update(leaseDurationSeconds=1))
        serve(api, NAMESPACE)
        callbacks = callback_config(tmp_path / "s")
        hosts: dict[str, Any] = {"converter_callback_hosts": HOST}
        async with running(api, tmp_path / "b", "op-b", callbacks=callbacks, **hosts) as op:
            await api.until(lambda: bool(receiver.about("c")), 20)
            api.clock.advance(TOMBSTONE_TTL.total_seconds() + 1)
            await until_let_go(api, op)


async def test_nothing_waits_for_a_former_namespace_without_slots(
    both: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api = both
    async with running(api, tmp_path / "a", "op-a") as op:
        await api.until(lambda: op.operator.health.ready, 20)
        await api.until(lambda: "other=0" in str(api.find("leases", NAME, NAMESPACE)), 20)
    serve(api, NAMESPACE)
    with api.faults.forbid(namespace="other") as refused:
        async with running(api, tmp_path / "b", "op-b") as op:
            api.create(conversion_job("mine"))
            await refused.wait_hit(1)
            await until_phase(api, "mine", "Succeeded", 15)
            assert op.operator._sync.is_leaving("other")
