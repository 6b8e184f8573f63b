"""A sweep removes the temporary file of a last attempt that was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.controller import create_requests
from conversion_operator.core.manifest import sweep_name
from tests.component.running import attempts_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import oom_killed, succeed
from tests.component.support.tools import conversion_job

pytestmark = pytest.mark.judged


def sweep_of(api: FakeApi, made: dict[str, Any]) -> dict[str, Any] | None:
    return api.find("jobs", sweep_name(made["metadata"]["uid"]))


def ended(job: dict[str, Any] | None) -> bool:
    conditions = ((job or {}).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)


@pytest.mark.fake_only("the clock of a real API server cannot be set")
async def test_one_sweep_runs_after_the_waiting_conversions(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The sweep changes no status, and its Job is deleted after an hour."""
    cluster.script("c", oom_killed(), succeed())
    cluster.script("d", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        made = api.create(conversion_job("c", maxRetries=0))
        api.create(conversion_job("d", priority=-1))
        await until_phase(api, "d", "Running")
        assert status_of(api, "c")["reason"] == "OutOfMemory"
        assert sweep_of(api, made) is None
        before = status_of(api, "c")
        cluster.finish("d")
        await api.until(lambda: ended(sweep_of(api, made)), 20)
        api.clock.advance(600)
        await op.reconcile_all()
        api.create(conversion_job("e"))
        await until_phase(api, "e", "Succeeded", 20)
        assert sweep_of(api, made)
        api.clock.advance(3600)
        await op.reconcile_all()
        await api.until(lambda: sweep_of(api, made) is None, 20)
    assert status_of(api, "c") == before
    assert attempts_of(api, "c") == ["OutOfMemory"]
    name = sweep_name(made["metadata"]["uid"])
    creates = api.audit.matching(verb="create", resource="jobs", code=201)
    assert sum(name in str(request.body) for request in creates) == 1
    check_all(api, limit=1)


async def test_a_rejected_sweep_is_not_requested_again_at_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota rejects the Job of the sweep. The sweep runs once the quota allows it."""
    monkeypatch.setattr(create_requests, "_REJECTION_CACHE_SECONDS", 5.0)  # 20 s
    cluster.script("c", oom_killed(), succeed())
    async with running(api, tmp_path):
        with api.faults.quota(resource="jobs", skip=1) as quota:
            made = api.create(conversion_job("c", maxRetries=0))
            await quota.wait_hit()
            await asyncio.sleep(2)
            assert quota.hits == 1
        await api.until(lambda: ended(sweep_of(api, made)), 20)
    check_all(api, limit=3)
