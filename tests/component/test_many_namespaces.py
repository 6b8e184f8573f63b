"""More namespaces than the client of the API server has connections for requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from conversion_operator.cluster import client, reflector
from tests.component.running import Running, running, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.tools import conversion_job

KINDS: Final = ("jobs", "pods", "conversionjobs")


async def test_requests_do_not_wait_for_watches(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Two watches for each namespace, and 100 connections for requests.

    The lists at the start wait for each other, and not for connections. A watch ends before the
    next list, so that its connection is used again.
    """
    names = [f"team-{number}" for number in range(60)]
    for name in names:
        api.add_namespace(name)
    watched = ",".join(["my-network", *names])
    ours: dict[str, Any] = {"verb": "list", "resource": KINDS, "user_agent": "op-a"}
    renewals: dict[str, Any] = {"verb": "update", "resource": "leases"}
    with api.faults.hold(**ours) as held:
        async with running(api, tmp_path, watch_namespaces=watched) as operator:
            await held.wait_hit(client._LISTS_AT_ONCE)
            await api.until(lambda: api.audit.count(**renewals) > 1, 30)
            assert held.hits == client._LISTS_AT_ONCE
            held.release()
            await _converts(api, operator)


async def _converts(api: FakeApi, operator: Running) -> None:
    await api.until(lambda: operator.operator.health.ready, 60, "the start")
    await api.until(lambda: len(api.watches(resource="jobs")) == 61, 60, "all watches")
    await api.until(lambda: len(api.watches(resource="pods")) == 61, 60, "all watches")
    api.create(conversion_job("a"))
    await until_phase(api, "a", "Succeeded", 60)
    for watch in api.watches(resource=("jobs", "pods")):
        seconds = float(watch.request.query["timeoutSeconds"])
        assert 40 < seconds < reflector.RELIST_SECONDS - 2
