"""More namespaces than the client of the API server has connections for requests."""

from __future__ import annotations

from pathlib import Path

from tests.component.running import running, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.tools import conversion_job


async def test_requests_do_not_wait_for_watches(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Two watches for each namespace, and 100 connections for requests."""
    names = [f"team-{number}" for number in range(60)]
    for name in names:
        api.add_namespace(name)
    watched = ",".join(["my-network", *names])
    async with running(api, tmp_path, watch_namespaces=watched) as operator:
        await api.until(lambda: operator.operator.health.ready, 60, "the start")
        await api.until(lambda: len(api.watches(resource="jobs")) == 61, 60, "all watches")
        await api.until(lambda: len(api.watches(resource="pods")) == 61, 60, "all watches")
        api.create(conversion_job("a"))
        await until_phase(api, "a", "Succeeded", 60)
