"""Faults of the operator's connections lose, repeat and leave behind nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.running import attempts_of, phase_of, running, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job
from tests.support.proxy import Proxy

JOBS = r"/jobs$"
STATUS = r"/conversionjobs/[^/]+/status$"


@pytest.fixture
async def proxy(api: FakeApi) -> AsyncIterator[Proxy]:
    proxy = Proxy(api.url)
    try:
        yield proxy
    finally:
        await proxy.stop()


async def test_an_unanswered_create_is_repeated(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path
) -> None:
    """The client's time limit ends the request."""
    async with running(api, tmp_path, url=await proxy.start()):
        with proxy.black_hole(JOBS, verb="create", times=1) as fault:
            api.create(conversion_job("c"))
            await fault.wait_hit()
            assert api.audit.count(verb="create", resource="jobs") == 0
            await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=3)


@pytest.mark.timeout(150)
async def test_silent_connections_are_replaced_within_90_seconds(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path
) -> None:
    """All requests and all open watches hang."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, url=await proxy.start()):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        with proxy.black_hole() as fault:
            assert fault.hits >= 3  # the watches
            cluster.finish("c")
            api.create(conversion_job("d"))
            await fault.wait_hit(more_than=fault.hits)
        await until_phase(api, "c", "Succeeded", 90)
        await until_phase(api, "d", "Running", 90)
        cluster.finish("d")
        await until_phase(api, "d", "Succeeded", 20)
    check_all(api, limit=3)


@pytest.mark.parametrize(
    ("verb", "path"), [("create", JOBS), ("patch", STATUS)], ids=["create", "status"]
)
async def test_dropped_answers_cause_no_second_attempt(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path, verb: str, path: str
) -> None:
    with proxy.drop_answer(path, verb=verb, times=2) as fault:
        async with running(api, tmp_path, url=await proxy.start(), converter_max_parallel=1):
            for n in range(2):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(2)), 30
            )
    assert fault.hits == 2
    assert all(attempts_of(api, f"c{n}") == ["Completed"] for n in range(2))
    check_all(api, limit=1)


@pytest.mark.parametrize("code", [429, 500, 503, 504])
async def test_server_errors_are_retried(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path, code: int
) -> None:
    with (
        proxy.status(code, JOBS, verb="create", times=2) as creates,
        proxy.status(code, STATUS, verb="patch", times=2) as patches,
    ):
        async with running(api, tmp_path, url=await proxy.start()):
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded", 40)
    assert (creates.hits, patches.hits) == (2, 2)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=3)


async def test_delayed_watch_lines_cause_no_extra_jobs(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path
) -> None:
    with proxy.delay_watches(1.5) as fault:
        async with running(api, tmp_path, url=await proxy.start(), converter_max_parallel=2):
            for n in range(6):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(6)), 60
            )
    assert fault.hits >= 3
    check_all(api, limit=2)


async def test_changes_during_a_relist_are_seen(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path
) -> None:
    """All watches end with a 410."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, url=await proxy.start()) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        assert proxy.expire_watches() >= 3
        cluster.finish("c")
        api.create(conversion_job("d"))
        await until_phase(api, "c", "Succeeded", 20)
        await until_phase(api, "d", "Running", 20)
        assert not op.task.done()
        cluster.finish("d")
        await until_phase(api, "d", "Succeeded", 20)
    check_all(api, limit=3)


async def test_the_operator_resumes_after_cut_connections(
    api: FakeApi, cluster: FakeCluster, proxy: Proxy, tmp_path: Path
) -> None:
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, url=await proxy.start()):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        assert proxy.cut() >= 3
        cluster.finish("c")
        api.create(conversion_job("d"))
        await until_phase(api, "c", "Succeeded", 20)
        await until_phase(api, "d", "Running", 20)
        cluster.finish("d")
        await until_phase(api, "d", "Succeeded", 20)
    check_all(api, limit=3)
