"""spec.suspend holds a conversion before its start, and stops it while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job


def suspend(api: FakeApi, name: str, active: bool = True) -> None:
    api.patch("conversionjobs", name, {"spec": {"suspend": active}})


async def until_suspended(api: FakeApi, name: str) -> None:
    await api.until(
        lambda: (
            (phase_of(api, name), status_of(api, name).get("reason")) == ("Queued", "Suspended")
        ),
        20,
        f"{name} suspended",
    )


@pytest.mark.judged
async def test_it_waits_before_its_start_and_others_do_not_wait_for_it(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_max_parallel=1):
        api.create(conversion_job("c", suspend=True))
        await until_suspended(api, "c")
        # The status of a held conversion is written immediately, so the position may come later.
        await api.until(lambda: status_of(api, "c").get("queuePosition") == 1, 10, "a position")
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        assert "attempts" not in status_of(api, "c")
        suspend(api, "c", active=False)
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=1)


@pytest.mark.judged
async def test_it_is_stopped_while_it_runs_and_runs_again_later(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """It counts against nothing. Its slot is free meanwhile."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1):
        api.create(conversion_job("c", maxRetries=0))
        await until_phase(api, "c", "Running")
        suspend(api, "c")
        await until_suspended(api, "c")
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        suspend(api, "c", active=False)
        await until_phase(api, "c", "Running")
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")
    status = status_of(api, "c")
    assert attempts_of(api, "c") == ["Suspended", "Completed"]
    assert "retries" not in status
    check_all(api, limit=1)


@pytest.mark.judged
async def test_it_is_suspended_while_no_operator_runs(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c", maxRetries=0))
        await until_phase(api, "c", "Running")
        await op.kill()
    suspend(api, "c")
    async with running(api, tmp_path):
        await until_suspended(api, "c")
        await api.until(lambda: not cluster.pods("c"))
        api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
        await until_phase(api, "c", "Cancelled")
    check_all(api, limit=3)


@pytest.mark.fake_only("the clock of a real API server cannot be set")
async def test_a_lost_node_does_not_end_a_suspended_conversion(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F10: its slot is free, and it runs again once its pod is gone."""
    cluster.script("c", succeed(hold=True), succeed())
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c", maxRetries=0))
        await until_phase(api, "c", "Running")
        cluster.lose_node(status_of(api, "c")["nodeName"])
        suspend(api, "c")
        await api.until(lambda: status_of(api, "c").get("reason") == "Suspended")
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Queued")
        api.clock.advance(120)
        await op.reconcile_all()
        await api.until(lambda: status_of(api, "c")["reason"] == "NodeUnreachable", 20)
        api.clock.advance(900)
        await op.reconcile_all()
        await until_suspended(api, "c")
        await until_phase(api, "d", "Succeeded")
        cluster.delete_pods("c", force=True)
        suspend(api, "c", active=False)
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["NodeLost", "Completed"]
    assert "retries" not in status_of(api, "c")
