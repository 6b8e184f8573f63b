"""One gate for all writes: nothing is sent without leadership, or on an old decision."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conversion_operator.cluster import client as client_module
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import NotLeader
from conversion_operator.controller import job_creator
from conversion_operator.controller.leadership import NAME, Leadership
from conversion_operator.core.manifest import build_job
from media_converter.report_json import PROGRESS_KEY
from tests.component.running import phase_of, running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.audit import Request
from tests.component.support.errors import Obj
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import configuration, conversion_job

CREATE: dict[str, Any] = {"verb": "create", "resource": "jobs"}
STATUS: dict[str, Any] = {"verb": "patch", "resource": "conversionjobs", "subresource": "status"}
LEASE: dict[str, Any] = {"resource": "leases"}


def lease(api: FakeApi) -> Obj:
    return api.find("leases", NAME, NAMESPACE) or {"spec": {}}


def take_over(api: FakeApi, seconds: int) -> None:
    """Another operator writes the Lease, and holds it for this long."""
    changed = {"holderIdentity": "another", "leaseDurationSeconds": seconds}
    api.mutate("leases", NAME, lambda body: body["spec"].update(changed))


async def test_nothing_is_written_after_leadership_ended_during_a_slow_read(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.default = succeed(hold=True)
    # The time limit of the product is as long as the interval at which the Lease is renewed. So the
    # read could end before the operator learns that it no longer leads.
    monkeypatch.setattr(client_module, "_LOG_TIMEOUT", aiohttp.ClientTimeout(total=60))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        cluster.log("c", f'{{"{PROGRESS_KEY}": {{"percent": 50}}}}\nhalf\n'.encode())
        with api.faults.hold(verb="get", resource="pods", subresource="log") as slow:
            await slow.wait_hit()
            take_over(api, 3600)
            await api.until(lambda: op.metric("converter_leading") == 0)
            writes = api.audit.mark()
        (read,) = api.audit.matching(verb="get", resource="pods", subresource="log")[-1:]
        await api.until(lambda: read.code == 200)
        reads = api.audit.count(verb="get", **LEASE)
        await api.until(lambda: api.audit.count(verb="get", **LEASE) > reads + 3)
        assert not api.audit.writes(since=writes)
        cluster.finish("c")


async def test_a_permit_is_valid_in_its_own_term_only(api: FakeApi) -> None:
    client = Cluster(configuration(api.url), "op-a")
    lead = Leadership(client, NAMESPACE, "op-a", lambda _: None, lambda _: None)
    running_lead = asyncio.create_task(lead.run())
    try:
        with pytest.raises(NotLeader):
            lead.permit().check()
        await api.until(lead.leads)
        first = lead.permit()
        first.check()
        take_over(api, 1)
        await api.until(lambda: not lead.leads())
        with pytest.raises(NotLeader):
            first.check()
        await api.until(lead.leads)
        lead.permit().check()
        with pytest.raises(NotLeader):
            first.check()
    finally:
        running_lead.cancel()
        await asyncio.gather(running_lead, return_exceptions=True)
        await client.close()


async def test_a_status_decided_on_an_old_version_is_decided_again(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Somebody edits the object between the decision and the write of the status."""

    def edit(_: Request) -> None:
        api.mutate("conversionjobs", "c", lambda body: body["spec"].update(cancel=True))

    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        with api.faults.tap(on_arrival=edit, times=1, **STATUS):
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Cancelled")
        codes = [request.code for request in api.audit.matching(**STATUS)]
        assert codes[0] == 409
        assert codes.count(409) == 1
    check_all(api, limit=3)


async def test_a_lease_request_without_a_response_does_not_end_the_term(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.metric("converter_leading") == 1)
        with api.faults.black_hole(verb="get", times=1, **LEASE) as lost:
            await lost.wait_hit()
            term = op.operator._leadership.term
            renewals = api.audit.count(verb="update", **LEASE)
            await api.until(
                lambda: api.audit.count(verb="update", **LEASE) > renewals, 12, "a renewal"
            )
        assert op.metric("converter_leading") == 1
        assert op.operator._leadership.term == term


@pytest.mark.parametrize("resource", ["jobs", "events"])
async def test_writes_under_way_are_awaited_before_the_lease_is_released(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, resource: str
) -> None:
    async with running(api, tmp_path) as op:
        with api.faults.hold(verb="create", resource=resource, times=1) as held:
            created = api.create(conversion_job("c"))
            await held.wait_hit()
            op.stop.set()
            renewals = api.audit.count(verb="update", **LEASE)
            await api.until(lambda: api.audit.count(verb="update", **LEASE) > renewals, 9)
            assert lease(api)["spec"]["holderIdentity"] == "op-a"
            held.release()
        await op.task
        assert not lease(api)["spec"].get("holderIdentity")
        assert len(api.objects("jobs")) == 1
        (request,) = api.audit.matching(verb="create", resource=resource)[:1]
        assert (request.code, request.outcome) == (201, "answered")
        if resource == "jobs":
            admitted = lease(api)["metadata"]["annotations"]["converter.mynetwork.io/admitted"]
            assert admitted == f"{NAMESPACE}/{created['metadata']['uid']}.1"


async def test_an_unexpected_error_keeps_the_slot_and_pauses(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, times = Cluster.create_job, list[float]()

    async def fail(self: Cluster, *args: Any) -> Any:
        times.append(asyncio.get_running_loop().time())
        if len(times) > 3:
            return await create(self, *args)
        raise RuntimeError("unexpected")

    monkeypatch.setattr(Cluster, "create_job", fail)
    async with running(api, tmp_path, converter_max_parallel=1):
        first = api.create(conversion_job("c"))
        await api.until(lambda: bool(times))
        api.create(conversion_job("d"))
        for name in ("c", "d"):
            await until_phase(api, name, "Succeeded")
    owners = [request.owner for request in api.audit.matching(code=201, **CREATE)]
    assert owners[0] == first["metadata"]["uid"]
    pauses = [after - before for before, after in pairwise(times[:4])]
    assert pauses[0] >= 0.4
    assert pauses == sorted(pauses)
    check_all(api, limit=1)


async def test_a_job_that_cannot_be_built_frees_its_slot_and_pauses(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def fail(conversion: Any, *args: Any) -> Any:
        if conversion.key.name != "c":
            return build_job(conversion, *args)
        tries.append(conversion.key.uid)
        raise ValueError("unexpected")

    monkeypatch.setattr(job_creator, "build_job", fail)
    async with running(api, tmp_path, converter_max_parallel=1):
        api.create(conversion_job("c"))
        await api.until(lambda: status_of(api, "c").get("reason") == "PodRejected")
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        assert len(tries) == 1
        assert "unexpected error" in status_of(api, "c")["message"]


async def test_a_rejection_does_not_free_the_slot_of_an_earlier_unanswered_create(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The first request is carried out late, after the second one was rejected."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=1):
        with (
            api.faults.hold(times=1, **CREATE) as late,
            api.faults.quota(skip=1, resource="jobs") as quota,
        ):
            api.create(conversion_job("c"))
            await late.wait_hit()
            api.create(conversion_job("d"))
            await quota.wait_hit(2)
            assert not api.audit.matching(
                **CREATE, where=lambda request: b'"/input/d.mov"' in request.body
            )
            late.release()
            await until_phase(api, "c", "Running", 20)
        assert phase_of(api, "d") == "Queued"
        for name in ("c", "d"):
            await until_phase(api, name, "Running", 20)
            cluster.finish(name)
            await until_phase(api, name, "Succeeded", 20)
    check_all(api, limit=1)
