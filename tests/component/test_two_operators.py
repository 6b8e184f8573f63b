"""F17: two operators never give one slot to two conversions."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.cluster.admissions import ANNOTATION, Admission, parse_admissions
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.mark_key import KEY_ANNOTATION
from conversion_operator.controller import leadership
from conversion_operator.controller.leadership import NAME, Leadership
from tests.component.running import running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.audit import Request
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import configuration, conversion_job

CREATE: dict[str, Any] = {"verb": "create", "resource": "jobs"}


def lease(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.find("leases", NAME, NAMESPACE) or {}
    return found


def holder(api: FakeApi) -> str | None:
    name: str | None = lease(api).get("spec", {}).get("holderIdentity")
    return name


def admissions(api: FakeApi) -> dict[str, int]:
    annotations = lease(api).get("metadata", {}).get("annotations") or {}
    found = parse_admissions(annotations.get(ANNOTATION))
    return {uid: admission.attempt for uid, admission in found.items()}


def expire(api: FakeApi) -> None:
    """Other operators now wait one second for the holder of the Lease, not half a minute."""
    api.mutate("leases", NAME, lambda body: body["spec"].update(leaseDurationSeconds=1))


async def test_a_create_delayed_past_a_takeover_does_not_exceed_the_limit(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The old leader's Job arrives after the new leader has found a more urgent conversion."""
    cluster.default = succeed(hold=True)
    first, second = await api.add_endpoint("a"), await api.add_endpoint("b")
    async with running(api, tmp_path / "a", "op-a", first, converter_max_parallel=1) as a:
        await api.until(lambda: a.operator.health.ready and holder(api) == "op-a")
        with api.faults.hold(endpoint="a", **CREATE) as frozen:
            api.create(conversion_job("early"))
            await frozen.wait_hit()
            with api.faults.black_hole(endpoint="a", resource="leases"):
                expire(api)
                api.create(conversion_job("urgent", priority=100))
                async with running(api, tmp_path / "b", "op-b", second, converter_max_parallel=1):
                    await api.until(lambda: holder(api) == "op-b", 20)
                    await api.until(lambda: len(api.objects("jobs")) == 1, 20)
                    frozen.release()
                    await api.until(
                        lambda: api.audit.matching(endpoint="a", **CREATE)[0].code is not None, 20
                    )
                    await a.kill()
                    for name in ("early", "urgent"):
                        await until_phase(api, name, "Running", 20)
                        cluster.finish(name)
                        await until_phase(api, name, "Succeeded", 20)
    check_all(api, limit=1)


async def test_an_admission_is_on_the_lease_before_its_job_exists(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        with api.faults.hold(**CREATE) as held:
            made = [api.create(conversion_job(f"c{n}")) for n in range(3)]
            await held.wait_hit(3)
            assert admissions(api) == {body["metadata"]["uid"]: 1 for body in made}
        for n in range(3):
            await until_phase(api, f"c{n}", "Running")
            cluster.finish(f"c{n}")
        await api.until(
            lambda: not admissions(api), 20, "the removal of settled admissions from the Lease"
        )
    check_all(api, limit=3)


async def test_nothing_is_admitted_after_another_operator_wrote_the_lease(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The write of admissions conflicts. No Job is created until the operator leads again."""
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready and holder(api) == "op-a")

        def take_over(body: dict[str, Any]) -> None:
            body["spec"].update(holderIdentity="another", leaseDurationSeconds=3)

        api.mutate("leases", NAME, take_over)
        api.create(conversion_job("c"))
        await api.until(lambda: op.metric("converter_leading") == 0)
        assert not api.objects("jobs")
        await until_phase(api, "c", "Succeeded")
        assert holder(api) == "op-a"
    check_all(api, limit=3)


async def test_an_admission_settled_during_a_failed_write_leaves_the_lease(api: FakeApi) -> None:
    client = Cluster(configuration(api.url), "op-a")
    lead = Leadership(client, NAMESPACE, "op-a", lambda _: None, lambda _: None)
    running_lead = asyncio.create_task(lead.run())
    try:
        await api.until(lambda: lead.leads() and holder(api) == "op-a")
        assert await lead.record_admissions({"a": Admission(1)}, lead.term, {})
        update: dict[str, Any] = {"verb": "update", "resource": "leases", "times": 1}
        with (
            api.faults.tap(on_arrival=lambda _: lead.remove_admission("a"), **update),
            api.faults.status(503, **update),
        ):
            assert not await lead.record_admissions({"b": Admission(1)}, lead.term, {})
        await api.until(lambda: not admissions(api), 15, "an empty list of admissions on the Lease")
    finally:
        running_lead.cancel()
        await asyncio.gather(running_lead, return_exceptions=True)
        await client.close()


@pytest.mark.parametrize("reachable", [True, False], ids=["leader lives", "leader is cut off"])
async def test_a_deleted_lease_does_not_let_two_operators_lead(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    """The leader creates it again. If it cannot, the other one waits until the term is over."""
    monkeypatch.setattr(leadership, "LEASE_SECONDS", 9)  # 30 s
    monkeypatch.setattr(leadership, "_RENEW_DEADLINE_SECONDS", 6)  # 20 s
    clients = [Cluster(configuration(await api.add_endpoint(name)), name) for name in "ab"]
    a, b = (
        Leadership(client, NAMESPACE, f"op-{name}", lambda _: None, lambda _: None)
        for client, name in zip(clients, "ab", strict=True)
    )
    tasks = [asyncio.create_task(a.run())]
    led_at_the_same_time: list[bool] = []

    def look(_: Request) -> None:
        led_at_the_same_time.append(a.leads())

    try:
        await api.until(a.leads)
        key = lease(api)["metadata"]["annotations"][KEY_ANNOTATION]
        tasks.append(asyncio.create_task(b.run()))
        await api.until(lambda: api.audit.count(endpoint="b", code=200) > 0)
        with ExitStack() as faults:
            faults.enter_context(
                api.faults.tap(on_arrival=look, endpoint="b", verb="create", resource="leases")
            )
            if not reachable:
                faults.enter_context(api.faults.black_hole(endpoint="a", resource="leases"))
            api.delete("leases", NAME)
            expected = "op-a" if reachable else "op-b"
            await api.until(lambda: bool(lease(api)) and holder(api) == expected, 30)
        assert led_at_the_same_time == ([] if reachable else [False])
        assert lease(api)["metadata"]["annotations"][KEY_ANNOTATION] == key
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            await client.close()


@pytest.mark.parametrize("carried_out", [True, False], ids=["answer lost", "request lost"])
async def test_the_next_leader_starts_what_was_admitted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, carried_out: bool
) -> None:
    """The leader is killed between its writes of the Lease and of the Job."""
    fault = api.faults.drop_answer if carried_out else api.faults.black_hole
    async with running(api, tmp_path / "a", "op-a", converter_max_parallel=1) as a:
        await api.until(lambda: a.operator.health.ready and holder(api) == "op-a")
        with fault(**CREATE) as struck:
            early = api.create(conversion_job("early"))
            await struck.wait_hit()
            assert admissions(api) == {early["metadata"]["uid"]: 1}
            await a.kill()
        expire(api)
    api.create(conversion_job("urgent", priority=100))
    async with running(api, tmp_path / "b", "op-b", converter_max_parallel=1):
        for name in ("early", "urgent"):
            await until_phase(api, name, "Succeeded")
    owners = [request.owner for request in api.audit.matching(code=201, **CREATE)]
    assert owners[0] == early["metadata"]["uid"]
    check_all(api, limit=1)


async def test_nothing_is_admitted_before_everything_is_listed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A new operator does not treat unlisted Jobs and pods as absent."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path / "a", "op-a", converter_max_parallel=1) as a:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        await a.kill()
    expire(api)
    with api.faults.hold(verb=("list", "get"), resource=("jobs", "pods")) as held:
        async with running(api, tmp_path / "b", "op-b", converter_max_parallel=1) as b:
            api.create(conversion_job("urgent", priority=100))
            await api.until(lambda: b.metric("converter_leading") == 1, 20)
            await api.until(lambda: len(list(b.operator.store.conversions())) == 2, 20)
            reads = api.audit.count(verb="update", resource="leases")
            await api.until(
                lambda: api.audit.count(verb="update", resource="leases") > reads + 1, 20
            )
            assert len(api.objects("jobs")) == 1
            held.release()
            for name in ("c", "urgent"):
                await until_phase(api, name, "Running", 20)
                cluster.finish(name)
                await until_phase(api, name, "Succeeded", 20)
    check_all(api, limit=1)


async def test_a_slot_is_reserved_before_its_job_is_seen(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The next conversion does not get the slot while the create request is unanswered."""
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.hold(**CREATE) as held:
            api.create(conversion_job("c"))
            await held.wait_hit()
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Queued")
            renewals = api.audit.count(verb="update", resource="leases")
            await api.until(
                lambda: api.audit.count(verb="update", resource="leases") > renewals, 20
            )
            assert len({request.body for request in api.audit.matching(**CREATE)}) == 1
        await until_phase(api, "d", "Succeeded", 20)
    check_all(api, limit=1)
