"""The operator sends few requests per conversion, and no writes when idle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from conversion_operator.api import names
from conversion_operator.app import WORKERS
from conversion_operator.cluster import client
from conversion_operator.controller.worker import LOG_READS
from tests.component.running import Running, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.history import History
from tests.component.support.invariants import check_all, check_events, check_writes
from tests.component.support.scripts import fail, oom_killed, slow_start, succeed
from tests.component.support.tools import conversion_job

WATCHED = ("conversionjobs", "jobs", "pods")
COUNTED = ("conversionjobs", "jobs", "pods", "events")


async def test_a_conversion_needs_few_writes_and_one_event(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Each waits for the one before it, runs, and its Job is deleted. The Lease is not counted."""
    ours = [f"c{n}" for n in range(6)]
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        for name in ours:
            api.create(conversion_job(name))
        for name in ours:
            await _until_pod_runs(api, name)
            if name == ours[0]:  # it did not wait
                await until_phase(api, name, "Running")
            cluster.finish(name)
            await until_phase(api, name, "Succeeded")
        api.clock.advance(130)
        await _jobs_deleted(api, op, 0)
        await api.until(lambda: not api.objects("pods"))
    per_conversion = api.audit.writes_per_conversion(History(api.storage).owners)
    assert len(per_conversion) == len(ours)
    check_writes(api, most=4)
    assert not api.audit.writes(resource="pods")
    assert not api.audit.count(verb="list", resource="events")
    check_events(api, most=1)
    check_all(api, limit=1)


async def test_a_slow_cluster_causes_no_list_of_events(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A node needs a minute to pull the image. Nothing else says that there is trouble."""
    cluster.script("c", slow_start(then=succeed()))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Starting")
        api.clock.advance(60)
        for _ in range(2):
            mark = api.audit.mark()
            await op.reconcile_all()
            await api.until(lambda since=mark: api.audit.count(since=since, verb="list"))  # type: ignore[misc]
        cluster.fix("c")
        await until_phase(api, "c", "Succeeded")
    assert not api.audit.count(verb="list", resource="events")
    check_events(api, most=1)
    check_all(api, limit=3)


async def test_a_conversion_with_many_attempts_has_few_events(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", oom_killed(), fail("DiskFull"), succeed())
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        for _ in range(3):
            api.clock.advance(30)
            await op.reconcile_all()
        await until_phase(api, "c", "Succeeded")
    check_events(api, most=6)
    check_all(api, limit=3)


async def test_nodes_that_return_no_log_delay_no_end(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More conversions run there than there are workers."""
    monkeypatch.setattr(client, "_LOG_TIMEOUT", aiohttp.ClientTimeout(total=60))
    ours = [f"runs-{n:02}" for n in range(12)]
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=20):
        for name in ours:
            api.create(conversion_job(name))
        await api.until(lambda: _phases(api)["Running"] == len(ours))
    cluster.default = succeed()
    with api.faults.black_hole(verb="get", subresource="log") as struck:
        async with running(api, tmp_path, "op-b"):
            await struck.wait_hit(LOG_READS)
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded", 10)
            assert struck.hits == LOG_READS


async def test_hundreds_of_new_conversions_delay_no_end(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """All workers write statuses of new conversions when the container ends."""
    new = [f"new-{n:03}" for n in range(300)]
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("runs"))
        await until_phase(api, "runs", "Running")
        with api.faults.hold(verb="patch", resource="conversionjobs", subresource="status") as held:
            for name in new:
                api.create(conversion_job(name))
            await held.wait_hit(WORKERS)
            await api.until(lambda: len(list(op.operator.store.conversions())) == 1 + len(new))
            mark = api.audit.mark()
            cluster.finish("runs")
            uid = api.get("conversionjobs", "runs")["metadata"]["uid"]
            await api.until(lambda: op.operator.store.children(uid).pods[0].terminated)
            held.release()
            await until_phase(api, "runs", "Succeeded")
        writes = [r.name for r in api.audit.writes(resource="conversionjobs", since=mark)]
    # Those that the workers were writing come first, and one in nine after them.
    assert writes.index("runs") < 2 * WORKERS


async def test_ten_idle_minutes_need_no_write(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """500 finished and 20 running conversions need no write, although the watches restart."""
    async with running(api, tmp_path / "before"):
        api.create(conversion_job("done"))
        await until_phase(api, "done", "Succeeded")
    for n in range(499):
        api.create(conversion_job(f"done-{n}"))
        api.mutate("conversionjobs", f"done-{n}", lambda c: c.update(status=status_of(api, "done")))
    async with running(api, tmp_path, converter_max_parallel=20) as op:
        cluster.default = succeed(hold=True)
        for n in range(20):
            api.create(conversion_job(f"runs-{n:02}"))
        await api.until(lambda: _phases(api)["Running"] == 20)
        api.clock.advance(130)
        await _jobs_deleted(api, op, 20)
        mark = 0
        for minute in range(11):
            if minute == 1:  # unfinished work is done after the first minute
                mark = api.audit.mark()
            api.clock.advance(60)
            await op.reconcile_all()
            await api.until(lambda: all(api.watches(resource=r) for r in WATCHED))
            lists = api.audit.count(verb="list", resource="jobs")
            for resource in WATCHED:
                for watch in api.watches(resource=resource):
                    watch.expire()
            await api.until(
                lambda seen=lists: api.audit.count(verb="list", resource="jobs") > seen  # type: ignore[misc]
            )
        # The operator still reads progress every ten seconds of real time, so it does not hang.
        await api.until(
            lambda: api.audit.count(since=mark, verb="get", subresource="log") >= 20, 30
        )
        writes = api.audit.writes(since=mark, resource=COUNTED)
        assert not writes, [str(request) for request in writes]
        for n in range(20):
            cluster.finish(f"runs-{n:02}")
        await api.until(lambda: _phases(api)["Succeeded"] == 520, 60)


async def _until_pod_runs(api: FakeApi, name: str) -> None:
    uid = api.get("conversionjobs", name)["metadata"]["uid"]
    label = f"{names.UID_LABEL}={uid}"
    await api.until(
        lambda: any(
            pod["status"].get("phase") == "Running" for pod in api.objects("pods", labels=label)
        ),
        what=f"the pod of {name}",
    )


async def _jobs_deleted(api: FakeApi, op: Running, left: int) -> None:
    await op.reconcile_all()
    await api.until(
        lambda: len(api.objects("jobs")) == left, 60, "the deletion of the finished Jobs"
    )


def _phases(api: FakeApi) -> Counter[str]:
    return Counter((c.get("status") or {}).get("phase", "") for c in api.objects("conversionjobs"))
