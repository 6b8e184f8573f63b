"""Two installations serve one namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.component.running import config_map, running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.real.api import RealApi
from tests.component.support.tools import conversion_job

pytestmark = pytest.mark.judged


async def pass_two_seconds(api: FakeApi) -> None:
    """Creation times have whole seconds."""
    if not isinstance(api, RealApi):
        api.clock.advance(2)
        return
    begun = api.clock.now()
    while (api.clock.now() - begun).total_seconds() < 2:
        await api.real.changed.wait(0.5)


async def test_a_namespace_with_two_operators_is_told(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.add_namespace("converter-b")
    api.create(config_map())
    second = config_map() | {
        "metadata": {"name": config_map()["metadata"]["name"], "namespace": "converter-b"}
    }
    api.create(second)
    async with (
        running(api, tmp_path / "a", "op-a") as a,
        running(api, tmp_path / "b", "op-b", pod_namespace="converter-b") as b,
    ):
        await api.until(lambda: a.operator.health.ready and b.operator.health.ready, 30)
        await pass_two_seconds(api)

        def told(namespace: str) -> list[str]:
            events = api.objects("events", namespace)
            return [e["message"] for e in events if e["reason"] == "NamespaceShared"]

        for number in range(4):
            api.create(conversion_job(f"c{number}"))
            await until_phase(api, f"c{number}", "Succeeded", 60)
        await api.until(lambda: told(NAMESPACE) or told("converter-b"), 20)
        tellers = [op for op in (a, b) if "serves the namespace" in op.operator.health.unlisted]
        assert tellers
        assert tellers[0].metric("converter_namespaces_shared") == 1


async def test_one_installation_tells_nothing(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        await pass_two_seconds(api)
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded", 20)
        managers = {
            entry["manager"]
            for entry in api.get("conversionjobs", "c")["metadata"]["managedFields"]
            if entry.get("subresource") == "status"
        }
        assert managers == {f"my-network-converter.{NAMESPACE}"}
        assert op.metric("converter_namespaces_shared") == 0
        assert not op.operator.health.unlisted
