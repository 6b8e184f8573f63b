"""Objects that another release wrote are neither lost, converted again, nor written over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.cluster.admissions import ANNOTATION, Admission, format_admissions
from conversion_operator.controller import (
    create_requests,
    job_creator,
    problems,
    schema_check,
    worker,
)
from media_converter.contract import ExitReason
from tests.component.running import running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.api import crd_of_this_release
from tests.component.support.invariants import check_all
from tests.component.support.podstatus import is_terminal
from tests.component.support.real.api import RealApi
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job

Obj = dict[str, Any]
LEASE = "my-network-converter-operator"
pytestmark = pytest.mark.judged
STATUS_WRITES: Obj = {"verb": "patch", "resource": "conversionjobs", "subresource": "status"}
FAKE = "a real API server does not answer on request"


def later_crd() -> Obj:
    """The CRD of an invented later release: it has more fields and more values."""
    crd = crd_of_this_release()
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec, status = (root["properties"][part]["properties"] for part in ("spec", "status"))
    spec["watermark"] = {"type": "string"}
    spec["conversionType"]["enum"].append("video_to_gif")
    status["cost"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    status["outputSize"] = {"x-kubernetes-preserve-unknown-fields": True}
    status["attempts"]["items"]["properties"]["zone"] = {"type": "string"}
    status["phase"]["enum"].append("Verifying")
    # A phase of a later release may follow any other phase.
    rules = root["x-kubernetes-validations"]
    rules[:] = [rule for rule in rules if "of a finished conversion" not in rule["message"]]
    return crd


@pytest.fixture
async def later(api: FakeApi) -> FakeApi:
    """An API server with the CRD of a later release."""
    await api.use_crd(later_crd())
    return api


def jobs_made(api: FakeApi) -> int:
    return len(api.audit.writes(resource="jobs", verb="create"))


def warnings(api: FakeApi, reason: str) -> list[Obj]:
    return [event for event in api.objects("events") if event["reason"] == reason]


def by_later_release(obj: Obj) -> None:
    obj["status"]["cost"] = {"cents": 3}
    obj["status"]["attempts"][-1]["zone"] = "b"


async def test_a_finished_conversion_of_a_later_release_stays_finished(
    later: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(later, tmp_path / "a"):
        for name in ("done", "odd"):
            later.create(conversion_job(name))
            await until_phase(later, name, "Succeeded")
    later.mutate("conversionjobs", "done", by_later_release)
    later.mutate("conversionjobs", "odd", lambda o: o["status"].update(outputSize="12Mi"))
    before = {name: status_of(later, name) for name in ("done", "odd")}
    made, mark = jobs_made(later), later.audit.mark()
    async with running(later, tmp_path / "b", "op-b"):
        later.create(conversion_job("next"))
        await until_phase(later, "next", "Succeeded")
    assert {name: status_of(later, name) for name in before} == before
    assert jobs_made(later) == made + 1
    patches = later.audit.writes(since=mark, resource="conversionjobs")
    assert {request.name for request in patches} == {"next"}


async def test_a_running_conversion_of_a_later_release_runs_to_its_end(
    later: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Fields of its spec and its status that are not known stay as they are."""
    cluster.script("c", succeed(hold=True))
    async with running(later, tmp_path / "a"):
        later.create(conversion_job("c"))
        await until_phase(later, "c", "Running")
    later.mutate("conversionjobs", "c", by_later_release)
    later.mutate("conversionjobs", "c", lambda o: o["spec"].update(watermark="w"))
    async with running(later, tmp_path / "b", "op-b") as op:
        await later.until(lambda: op.operator.health.ready)
        cluster.finish("c")
        await until_phase(later, "c", "Succeeded")
    status = status_of(later, "c")
    assert (status["cost"], status["attempts"][0]["zone"]) == ({"cents": 3}, "b")
    assert len(status["attempts"]) == 1
    check_all(later, limit=3)


@pytest.mark.parametrize("change", [{"watermark": "w"}, {"conversionType": "video_to_gif"}])
async def test_a_conversion_with_what_is_not_known_waits(
    later: FakeApi, cluster: FakeCluster, tmp_path: Path, change: Obj
) -> None:
    async with running(later, tmp_path):
        later.create(conversion_job("c", ttlSecondsAfterFinished=0, **change))
        later.create(conversion_job("other"))
        await until_phase(later, "other", "Succeeded")
        await later.until(lambda: status_of(later, "c").get("reason") == "UnsupportedField")
        status = status_of(later, "c")
        assert status["phase"] == "Queued"
        assert any(word in status["message"] for word in ("spec.watermark", "video_to_gif"))
        assert jobs_made(later) == 1
        later.patch("conversionjobs", "c", {"spec": {"cancel": True}})
        await until_phase(later, "c", "Cancelled")


async def test_a_retry_with_what_is_not_known_waits(
    later: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", fail(ExitReason.DISK_FULL, hold=True), succeed())
    async with running(later, tmp_path):
        later.create(conversion_job("c"))
        await until_phase(later, "c", "Running")
        later.mutate("conversionjobs", "c", lambda o: o["spec"].update(watermark="w"))
        cluster.finish("c")
        await later.until(lambda: status_of(later, "c").get("reason") == "UnsupportedField", 40)
        assert len(status_of(later, "c")["attempts"]) == 1
        later.mutate("conversionjobs", "c", lambda o: o["spec"].pop("watermark"))
        await until_phase(later, "c", "Succeeded")


async def test_a_status_that_cannot_be_read_is_left_alone(
    later: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """It has a phase of a later release: whether the conversion has ended is not known."""
    async with running(later, tmp_path / "a"):
        later.create(conversion_job("c"))
        await until_phase(later, "c", "Succeeded")
    later.mutate("conversionjobs", "c", lambda o: o["status"].update(phase="Verifying"))
    later.delete("jobs", status_of(later, "c")["jobName"])
    admitted = {later.get("conversionjobs", "c")["metadata"]["uid"]: Admission(1, NAMESPACE)}
    record = {ANNOTATION: format_admissions(admitted)}  # a former leader may have admitted it
    later.mutate("leases", LEASE, lambda o: o["metadata"]["annotations"].update(record))
    made, mark = jobs_made(later), later.audit.mark()
    async with running(later, tmp_path / "b", "op-b") as op:
        await later.until(lambda: warnings(later, "StatusUnreadable"))
        for name in ("other", "last"):
            later.create(conversion_job(name))
            await until_phase(later, name, "Succeeded")
        gauge = 'converter_stuck_conversions{cause="StatusUnreadable"}'
        assert op.metric(gauge) == 1
        # Only the leader counts them.
        later.mutate("leases", LEASE, lambda o: o["spec"].update(holderIdentity="op-c"))
        await later.until(lambda: op.metric("converter_leading") == 0)
        assert op.metric(gauge) == 0
        later.mutate("leases", LEASE, lambda o: o["spec"].update(leaseDurationSeconds=1))
        await later.until(lambda: op.metric(gauge) == 1, 20)
        await op.reconcile_all()
        later.mutate("conversionjobs", "c", lambda o: o["metadata"].update(labels={"a": "b"}))
        later.delete("conversionjobs", "c")
        await later.until(lambda: op.metric(gauge) == 0)
    (event,) = warnings(later, "StatusUnreadable")
    assert event["involvedObject"]["name"] == "c"
    assert "status.phase" in event["message"]
    writes = later.audit.writes(since=mark, resource="conversionjobs", name="c")
    assert writes == []
    assert jobs_made(later) == made + 2


def older_crd() -> Obj:
    """The CRD of an invented former release: attempts have no jobUID."""
    crd = crd_of_this_release()
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del root["properties"]["status"]["properties"]["attempts"]["items"]["properties"]["jobUID"]
    return crd


async def test_nothing_starts_while_the_crd_is_older_than_the_operator(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status would lose fields. What runs ends, and all goes on when the CRD is updated."""
    monkeypatch.setattr(schema_check, "INTERVAL_SECONDS", 0.2)
    cluster.script("running", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("running"))
        await until_phase(api, "running", "Running")
        await api.use_crd(older_crd())
        health = op.operator.health
        await api.until(lambda: "status.attempts[].jobUID" in health.unlisted)
        assert not health.ready
        api.create(conversion_job("waits"))
        await api.until(lambda: status_of(api, "waits").get("reason") == "CRDOutdated")
        cluster.finish("running")
        await until_phase(api, "running", "Succeeded")
        assert jobs_made(api) == 1
        await api.use_crd(crd_of_this_release())
        await until_phase(api, "waits", "Succeeded")
        await api.until(lambda: health.ready and not health.unlisted)


@pytest.mark.fake_only(FAKE)
async def test_an_admission_of_a_former_leader_waits_for_the_crd(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former leader recorded the admission, and did not create the Job."""
    monkeypatch.setattr(schema_check, "INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(create_requests, "_LATE_CREATE_SECONDS", 1.0)  # 75 s
    async with running(api, tmp_path / "a", converter_max_parallel=0):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
    admitted = {api.get("conversionjobs", "c")["metadata"]["uid"]: Admission(1, NAMESPACE)}
    record = {ANNOTATION: format_admissions(admitted)}
    api.mutate(
        "leases", LEASE, lambda o: o["metadata"].setdefault("annotations", {}).update(record)
    )
    await api.use_crd(older_crd())
    checks: list[str] = []
    has_lists = job_creator.JobCreator._has_lists

    def count(creator: job_creator.JobCreator, uid: str) -> bool:
        known = has_lists(creator, uid)
        checks.extend([uid] if known else [])
        return known

    monkeypatch.setattr(job_creator.JobCreator, "_has_lists", count)
    with api.faults.hold(path="/openapi/v3/apis/converter.mynetwork.io/v1alpha1") as held:
        async with running(api, tmp_path / "b", "op-b"):
            await api.until(lambda: len(checks) > 1)  # only the schema is missing
            assert jobs_made(api) == 0
            held.release()
            await api.until(lambda: status_of(api, "c").get("reason") == "CRDOutdated")
            (uid,) = admitted
            await api.until(lambda: uid not in str(api.get("leases", LEASE)["metadata"]))
            assert jobs_made(api) == 0
            await api.use_crd(crd_of_this_release())
            await until_phase(api, "c", "Succeeded")
    check_all(api, limit=3)


@pytest.mark.fake_only(FAKE)
async def test_a_schema_that_cannot_be_read_does_not_stop_the_operator_for_ever(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_check, "GRACE_SECONDS", 3.0)
    with api.faults.status(403, path="/openapi/v3/apis/converter.mynetwork.io/v1alpha1"):
        async with running(api, tmp_path):
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded")


@asynccontextmanager
async def rejecting(api: FakeApi, name: str) -> AsyncIterator[None]:
    """While it lasts, the API server rejects each status of an object that the operator writes.

    The real API server does so by a rule of the CRD. The spec can still be changed.
    """
    if not isinstance(api, RealApi):
        with api.faults.status(422, "breaks a rule", name=name, **STATUS_WRITES):
            yield
        return
    stricter = crd_of_this_release()
    root = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rule = f"self.metadata.name != '{name}' || !has(self.status) || self.status.phase == 'Pending'"
    root["x-kubernetes-validations"].append({"rule": rule, "message": "breaks a rule"})
    await api.use_crd(stricter)
    yield
    await api.use_crd(crd_of_this_release())


async def test_a_status_that_cannot_be_written_is_told_once(
    api: FakeApi,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The object breaks a rule that the CRD did not have when it was stored."""
    monkeypatch.setattr(problems, "REJECTIONS_BEFORE_REPORT", 2)
    monkeypatch.setattr(worker, "REJECTED_RETRY_SECONDS", 0.5)
    cluster.script("odd", succeed(hold=True))
    async with running(api, tmp_path) as op:
        gauge = 'converter_stuck_conversions{cause="StatusRejected"}'
        async with rejecting(api, "odd"):
            api.create(conversion_job("odd"))
            await api.until(lambda: op.metric(gauge) == 1)
            api.create(conversion_job("other"))
            await until_phase(api, "other", "Succeeded")
            tried = api.audit.count(name="odd", **STATUS_WRITES)
            await api.until(lambda: api.audit.count(name="odd", **STATUS_WRITES) > tried + 2)
            (event,) = warnings(api, "StatusRejected")
            assert "breaks a rule" in event["message"]
            told = [r for r in caplog.records if "rejects the status" in r.getMessage()]
            assert len(told) <= 2
            api.patch("conversionjobs", "odd", {"spec": {"cancel": True}})
            await api.until(lambda: not [p for p in api.objects("pods") if not is_terminal(p)])
        await until_phase(api, "odd", "Cancelled")
        await api.until(lambda: op.metric(gauge) == 0)
    assert len(warnings(api, "StatusRejected")) == 1
