"""Faults between the operator and the cluster lose, repeat and leave behind nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, cast

import aiohttp
import kopf
import pytest

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import Unavailable
from conversion_operator.cluster.objects import Resource
from conversion_operator.controller import create_requests
from conversion_operator.controller.handlers import watch_conversions
from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import configuration, conversion_job

pytestmark = pytest.mark.judged

STATUS: dict[str, Any] = {
    "verb": "patch",
    "resource": "conversionjobs",
    "subresource": "status",
}
# The real API server has the same part in several cases of a test: one of them is enough there.
ONE_IS_ENOUGH = pytest.mark.fake_only("a real API server judges another case of the test")
CREATE: dict[str, Any] = {"verb": "create", "resource": "jobs"}
RENEWAL: dict[str, Any] = {"verb": "update", "resource": "leases"}


@pytest.mark.parametrize(
    ("moment", "carried_out"),
    [
        ("create", True),
        ("create", False),
        ("first status", True),
        pytest.param("first status", False, marks=ONE_IS_ENOUGH),
        ("last status", True),
        pytest.param("last status", False, marks=ONE_IS_ENOUGH),
    ],
    ids=lambda value: {True: "answer lost", False: "request lost"}.get(value, value),
)
async def test_an_operator_killed_at_a_write_loses_nothing(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, moment: str, carried_out: bool
) -> None:
    """F1: the operator is killed at a write, which may or may not have arrived."""
    fault = api.faults.drop_answer if carried_out else api.faults.black_hole
    write = CREATE if moment == "create" else STATUS
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready)
        if moment == "last status":
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Running")
        with fault(**write) as struck:
            if moment == "last status":
                cluster.finish("c")
            else:
                api.create(conversion_job("c"))
            await struck.wait_hit()
            await op.kill()
    async with running(api, tmp_path):
        if moment != "last status":
            await until_phase(api, "c", "Running", 20)
            cluster.finish("c")
        await until_phase(api, "c", "Succeeded", 20)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=3)


async def test_a_lost_answer_causes_no_second_job(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    with api.faults.drop_answer(times=3, **CREATE):
        async with running(api, tmp_path, converter_max_parallel=1):
            for n in range(3):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(3)), 20
            )
    check_all(api, limit=1)


async def test_an_unanswered_create_keeps_its_slot_after_a_cancel(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request may still be carried out, as here."""
    monkeypatch.setattr(create_requests, "_LATE_CREATE_SECONDS", 12.0)  # 75 s
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.hold(times=1, **CREATE) as late:
            api.create(conversion_job("c"))
            await late.wait_hit()
            api.create(conversion_job("d"))
            api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
            await until_phase(api, "c", "Cancelled", 20)
            (request,) = api.audit.matching(**CREATE)
            await api.until(lambda: request.outcome == "client disconnected", 20)
            renewals = api.audit.count(**RENEWAL)
            await api.until(lambda: api.audit.count(**RENEWAL) > renewals + 1, 20)
            assert api.audit.matching(**CREATE) == [request]
            late.release()
            await api.until(lambda: request.code == 201)
        await until_phase(api, "d", "Succeeded", 40)
        await api.until(lambda: not cluster.jobs("c"), 20)
    check_all(api, limit=1)


@pytest.mark.fake_only("the request does not reach the API server")
async def test_an_unanswered_create_releases_its_slot_in_the_end(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request is never carried out so late, so its slot is free again."""
    monkeypatch.setattr(create_requests, "_LATE_CREATE_SECONDS", 3.0)  # 75 s
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.black_hole(times=1, **CREATE) as lost:
            api.create(conversion_job("c"))
            await lost.wait_hit()
            api.create(conversion_job("d"))
            api.delete("conversionjobs", "c")
            await until_phase(api, "d", "Succeeded", 40)
    check_all(api, limit=1)


async def test_the_operator_resumes_after_an_outage_of_the_api_server(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F2."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        async with api.down():
            cluster.finish("c")
        await until_phase(api, "c", "Succeeded")
    check_all(api, limit=3)


@pytest.mark.fake_only("the watches of a real API server have no faults")
@pytest.mark.parametrize("how", ["close", "abort", "expire"])
@pytest.mark.parametrize("resource", ["jobs", "pods", "conversionjobs"])
async def test_changes_during_a_broken_watch_are_seen(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, resource: str, how: str
) -> None:
    """F3."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        # The conversion may run before this watch is open: the first list has shown everything.
        watches = await api.until(lambda: api.watches(resource=resource))
        for watch in watches:
            getattr(watch, how)()
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded", 20)
    check_all(api, limit=3)


@pytest.mark.fake_only("the watches of a real API server have no faults")
async def test_a_late_pod_watch_causes_no_second_attempt(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F4: the operator gets the pod of a finished Job if its watch has not shown it yet."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        with api.faults.hold_watches(resource="pods"):
            cluster.finish("c")
            await until_phase(api, "c", "Succeeded", 20)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=3)


@pytest.mark.fake_only("the watches of a real API server have no faults")
async def test_kopf_is_restarted_when_it_stops(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F3: kopf stops when a watch gets 410. The operator starts it again."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        with api.faults.status(410, times=1, verb="watch", resource="conversionjobs") as struck:
            for watch in api.watches(resource="conversionjobs"):
                watch.close()
            await struck.wait_hit()
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Running", 20)
        assert not op.task.done()
        cluster.finish("c")
        cluster.finish("d")
        await until_phase(api, "d", "Succeeded", 20)


@pytest.mark.fake_only("a real API server does not answer on request")
@pytest.mark.parametrize(("asked", "pause"), [(3, 3), (10**9, 60)])
async def test_a_response_cannot_stop_the_operator_for_long(
    api: FakeApi, asked: int, pause: int
) -> None:
    """The pause of the header Retry-After has a bound."""
    client = Cluster(configuration(api.url), "op")
    try:
        with (
            api.faults.status(429, retry_after=asked),
            pytest.raises(Unavailable) as refused,
        ):
            await client.list_all(Resource.JOBS, NAMESPACE)
        assert refused.value.retry_after == pause
    finally:
        await client.close()


@pytest.mark.fake_only("it is about kopf, not about the API server")
async def test_a_failure_of_kopf_is_logged_once_in_one_line(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = "conversion_operator.controller.handlers"
    with api.faults.status(410, verb="watch", resource="conversionjobs") as refused:
        async with running(api, tmp_path):
            await refused.wait_hit(3)
    lines = [r for r in caplog.records if r.name == logger and r.levelno > logging.DEBUG]
    assert [line.exc_info for line in lines] == [None]
    assert "The watch of conversionjobs in my-network failed" in lines[0].getMessage()


@pytest.mark.fake_only("it is about kopf, not about the API server")
async def test_kopf_leaves_no_task_and_no_session(api: FakeApi, tmp_path: Path) -> None:
    """A task of kopf's scan of the API groups must not outlive kopf: it would open a session."""
    with api.faults.hold(path="/api") as held:
        async with running(api, tmp_path):
            await held.wait_hit()
        coroutines = [task.get_coro() for task in asyncio.all_tasks()]
        left = [c for c in coroutines if "/kopf/" in str(getattr(c, "cr_code", ""))]
        assert not left


class _Unused:
    """Nothing is in the cluster, so kopf passes on no event."""

    def find_known(self, *_: Any) -> None: ...

    def apply(self, _: Any) -> None: ...


@pytest.mark.fake_only("it is about kopf, not about the API server")
async def test_kopf_closes_its_session_although_it_is_cancelled_while_it_ends(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the operator stops: it does not wait for kopf for ever."""
    sessions: list[aiohttp.ClientSession] = []
    init = aiohttp.ClientSession.__init__

    def record(session: aiohttp.ClientSession, *args: Any, **options: Any) -> None:
        init(session, *args, **options)
        sessions.append(session)

    async def turns(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=api.url)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", record)
    for number in range(40):
        stop = asyncio.Event()
        watching = watch_conversions(
            *(cast("Any", _Unused()), NAMESPACE, "op", stop, asyncio.Semaphore(1)),
            cast("Any", login),
        )
        task = asyncio.create_task(watching)
        await turns(60)
        stop.set()
        await turns(number)
        task.cancel()
        await asyncio.wait([task])
    assert len(sessions) == 40
    assert all(session.closed for session in sessions)


@pytest.mark.fake_only("the watches of a real API server have no faults")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("resource", ["pods", "conversionjobs"])
async def test_a_silent_watch_is_replaced_within_90_seconds(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, resource: str
) -> None:
    """F3: the watch sends nothing and does not close."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        # The conversion may run before this watch is open: the first list has shown everything.
        watches = await api.until(lambda: api.watches(resource=resource))
        for watch in watches:
            watch.stall()
        cluster.finish("c")
        api.create(conversion_job("d"))
        await until_phase(api, "c", "Succeeded", 90)
        await until_phase(api, "d", "Running", 90)
        cluster.finish("d")


@pytest.mark.fake_only("the watches of a real API server have no faults")
async def test_replayed_versions_change_nothing(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F4: a terminal phase stays, and no Job is created again."""
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
        created = api.audit.count(**CREATE)
        name = status_of(api, "c")["jobName"]
        api.replay("conversionjobs", "c")
        api.replay("jobs", name)
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        assert phase_of(api, "c") == "Succeeded"
        assert api.audit.count(**CREATE) == created + 1
    check_all(api, limit=3)


@pytest.mark.fake_only("the watches of a real API server have no faults")
async def test_delayed_watches_cause_no_extra_jobs(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F4: outdated information causes no second attempt and exceeds no limit."""
    with api.faults.delay_watches(1.0):
        async with running(api, tmp_path, converter_max_parallel=2):
            for n in range(6):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(6)), 60
            )
    check_all(api, limit=2)


@pytest.mark.parametrize(
    "code", [500, *(pytest.param(code, marks=ONE_IS_ENOUGH) for code in (409, 422, 429, 503))]
)
async def test_all_conversions_succeed_when_a_fifth_of_the_writes_fails(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, code: int
) -> None:
    """F5."""
    # A Job that is rejected as invalid is retried after half a minute, then after a minute. Two
    # rejections in a row would take longer than this test waits.
    verbs = ("patch", "delete") if code == 422 else ("create", "patch", "delete")
    with api.faults.status(code, share=0.2, seed=code, verb=verbs):
        async with running(api, tmp_path, converter_max_parallel=2):
            for n in range(8):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(8)), 60
            )
    check_all(api, limit=2)
