"""Create requests for Jobs that fail for long. Other conversions still get the slots."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.cluster.admissions import ANNOTATION
from conversion_operator.controller import create_requests, sync
from conversion_operator.controller.leadership import NAME
from conversion_operator.core.manifest import job_name
from tests.component.running import running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster, storage
from tests.component.support.audit import Request
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job
from tests.component.test_identity import forge_job, metadata, uid_of

CREATE: dict[str, Any] = {"verb": "create", "resource": "jobs"}
READ: dict[str, Any] = {"verb": "get", "resource": "jobs"}
WEBHOOK = 'Internal error occurred: failed calling webhook "policy.example.com"'


def enlarge(api: FakeApi, name: str, size: int) -> None:
    """The API server stores Jobs as protobuf, so their JSON may be larger than what etcd stores."""

    def add_variable(body: dict[str, Any]) -> None:
        container = body["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": "A", "value": "x" * size}]

    api.mutate("jobs", name, add_variable)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create_requests, "_LATE_CREATE_SECONDS", 2.0)  # 75 s
    monkeypatch.setattr(create_requests, "_STOP_AFTER_SECONDS", 1.0)  # 30 s
    monkeypatch.setattr(storage, "_MAX_OBJECT", 10**8)


@pytest.mark.parametrize("size", [5_000_000, 20_000_000])
async def test_a_large_foreign_job_holds_no_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, size: int
) -> None:
    """It has no label. Its JSON is larger than a page, or than any object that is read."""
    async with running(api, tmp_path, converter_max_parallel=0) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        name = job_name(uid_of(api, "c"), 1)
        forge_job(api, {"name": name, "namespace": NAMESPACE})
        enlarge(api, name, size)
        op.configure(converter_max_parallel=1)
        await api.until(lambda: status_of(api, "c").get("reason") == "JobNameTaken", 20)
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded", 20)


async def test_a_job_that_must_not_be_read_holds_no_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_max_parallel=0) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        forge_job(api, {"name": job_name(uid_of(api, "c"), 1), "namespace": NAMESPACE})
        with api.faults.forbid(**READ):
            op.configure(converter_max_parallel=1)
            await api.until(lambda: status_of(api, "c").get("reason") == "JobNameTaken", 20)
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Succeeded", 20)


@pytest.mark.parametrize("name_taken", [False, True])
async def test_a_namespace_whose_requests_fail_does_not_keep_the_slots(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, name_taken: bool
) -> None:
    """Either the create requests fail, or the read of the Job that has the name."""
    api.add_namespace("theirs")
    fault = READ if name_taken else CREATE
    settings: dict[str, Any] = {
        "watch_namespaces": f"{NAMESPACE},theirs",
        "converter_max_parallel": 0,
    }
    async with running(api, tmp_path, **settings) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        uid = api.create(conversion_job("c", "theirs"))["metadata"]["uid"]
        if name_taken:
            forge_job(api, {"name": job_name(uid, 1), "namespace": "theirs"})
        with api.faults.status(500, WEBHOOK, namespace="theirs", **fault) as failing:
            op.configure(converter_max_parallel=1)
            await failing.wait_hit()
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Succeeded", 20)
            blocked = api.get("conversionjobs", "c", "theirs")["status"]
            assert blocked["reason"] == "PodRejected"
            assert WEBHOOK in blocked["message"]


async def test_a_namespace_whose_requests_fail_takes_no_slots_in_turn(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its conversions are tried one after the other, and two of the four slots stay free."""
    monkeypatch.setattr(create_requests, "_REJECTION_CACHE_SECONDS", 3.0)  # 20 s
    api.add_namespace("theirs")
    theirs: dict[str, Any] = {"namespace": "theirs", **CREATE}
    watched = f"{NAMESPACE},theirs"
    tried: set[str] = set()
    held: list[float] = []
    async with running(api, tmp_path, watch_namespaces=watched, converter_max_parallel=4) as op:

        def look(request: Request) -> None:
            tried.add(json.loads(request.body)["metadata"]["name"])
            held.append(op.metric("converter_running"))

        await api.until(lambda: op.operator.health.ready, 20)
        with api.faults.tap(on_arrival=look, **theirs), api.faults.status(500, WEBHOOK, **theirs):
            api.create(conversion_job("c0", "theirs"))
            await api.until(lambda: len(tried) == 1, 20)
            for n in range(1, 8):
                api.create(conversion_job(f"c{n}", "theirs"))
            await api.until(lambda: len(tried) > 3, 30, "several conversions to be tried")
            assert max(held) == 2  # later, d runs too
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Succeeded", 20)
        # One request that succeeds ends the limit.
        await api.until(lambda: api.audit.count(code=201, **theirs) == 8, 60)
        await api.until(
            lambda: (
                {body["status"]["phase"] for body in api.objects("conversionjobs")} == {"Succeeded"}
            ),
            30,
        )
    check_all(api, limit=4)


async def test_a_slot_is_held_while_a_failed_create_may_take_effect(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request follows the last failure, and the slot is held from then on."""
    monkeypatch.setattr(create_requests, "_LATE_CREATE_SECONDS", 6.0)  # 75 s
    monkeypatch.setattr(create_requests, "_REJECTION_CACHE_SECONDS", 3.0)  # 20 s
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.status(500, WEBHOOK, **CREATE):
            api.create(conversion_job("c"))
            await api.until(lambda: status_of(api, "c").get("reason") == "PodRejected", 20)
            given_up = time.monotonic()
        sent = api.audit.count(**CREATE)
        api.create(conversion_job("d"))
        await api.until(lambda: api.audit.count(**CREATE) > sent, 20)
        assert time.monotonic() - given_up > 4
        await until_phase(api, "c", "Succeeded", 30)
        await until_phase(api, "d", "Succeeded", 20)
        owners = [request.owner for request in api.audit.matching(code=201, **CREATE)]
        assert owners == [uid_of(api, "d"), uid_of(api, "c")]
    check_all(api, limit=1)


@pytest.mark.parametrize("namespace", [NAMESPACE, "not-watched"])
async def test_an_admission_of_a_deleted_conversion_ends_although_another_namespace_is_unknown(
    api: FakeApi,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    namespace: str,
) -> None:
    monkeypatch.setattr(sync, "GRACE_SECONDS", 2.0)  # 30 s
    api.add_namespace("theirs")
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready, 20)
    admitted = {ANNOTATION: f"{namespace}/0b3f0d52-0000-4a8e-9d0a-000000000001.1"}
    api.mutate("leases", NAME, lambda body: body["metadata"]["annotations"].update(admitted))
    with api.faults.forbid(verb=("list", "watch"), namespace="theirs"):
        watched = f"{NAMESPACE},theirs"
        async with running(
            api, tmp_path, "op-b", watch_namespaces=watched, converter_max_parallel=1
        ):
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded", 20)


async def test_a_large_labelled_job_does_not_hide_the_others(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    forge_job(api, metadata("large", "unknown", 1))
    enlarge(api, "large", 5_000_000)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded", 20)


async def test_a_large_foreign_job_does_not_stop_a_conversion_that_lost_its_job(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The operator reads the missing Job by its name, and this Job is not the conversion's own."""
    cluster.script("c", succeed(hold=True), succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
    name = job_name(uid_of(api, "c"), 1)
    api.delete("jobs", name)
    await api.until(lambda: not api.objects("pods") and api.find("jobs", name) is None, 20)
    forge_job(api, {"name": name, "namespace": NAMESPACE})
    enlarge(api, name, 20_000_000)
    async with running(api, tmp_path, "op-b"):
        await api.until(lambda: len(status_of(api, "c").get("attempts", [])) == 2, 30)
