"""Whole conversions: the statuses that users see, and the requests to the API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion_operator.cluster.client import Cluster
from tests.component.running import events_about, phase_of, running, status_of, until_phase
from tests.component.support import CLAIM, NAMESPACE, FakeApi, FakeCluster
from tests.component.support.scripts import fail, image_pull, oom_killed, succeed
from tests.component.support.tools import configuration, conversion_job

pytestmark = pytest.mark.judged


async def test_a_conversion_succeeds(api: FakeApi, cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.script("holiday", succeed(size=12345))
    async with running(api, tmp_path):
        api.create(conversion_job("holiday"))
        await until_phase(api, "holiday", "Succeeded")
    stored = status_of(api, "holiday")
    assert stored["outputSize"] == 12345
    assert stored["reason"] == "Completed"
    assert [c["status"] for c in stored["conditions"]] == ["True", "True"]
    assert api.audit.count(verb="create", resource="jobs") == 1
    assert "finalizers" not in api.get("conversionjobs", "holiday")["metadata"]


async def test_three_run_at_a_time_in_the_order_of_the_queue(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    names = [f"c{n}" for n in range(7)]
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        for name in names:
            api.create(conversion_job(name))
        await api.until(lambda: [phase_of(api, n) for n in names[:3]] == ["Running"] * 3)
        await api.until(lambda: all(phase_of(api, n) == "Queued" for n in names[3:]))
        assert [status_of(api, n)["queuePosition"] for n in names[3:]] == [1, 2, 3, 4]
        assert len(api.objects("jobs")) == 3
        for name in names:
            await until_phase(api, name, "Running")
            cluster.finish(name)
        await api.until(lambda: all(phase_of(api, n) == "Succeeded" for n in names))


async def test_a_faulty_input_is_not_retried(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("bad", fail("InputEmpty"))
    async with running(api, tmp_path):
        api.create(conversion_job("bad"))
        await until_phase(api, "bad", "Failed")
    assert status_of(api, "bad")["reason"] == "InputEmpty"
    assert api.audit.count(verb="create", resource="jobs") == 1


async def test_out_of_memory_is_retried_with_twice_the_memory(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The Job of the first attempt stays, although its conditions come late."""
    cluster.job_seconds = 1.0
    cluster.script("big", oom_killed(), succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("big"))
        await until_phase(api, "big", "Succeeded")
    limits = [
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for job in sorted(api.objects("jobs"), key=lambda j: j["metadata"]["name"])
    ]
    assert limits == ["1Gi", str(2 * 1024**3)]


async def test_a_conversion_recovers_when_its_image_is_fixed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", image_pull(), succeed())
    async with running(api, tmp_path, converter_image="wrong:1") as op:
        api.create(conversion_job("c"))
        await api.until(lambda: status_of(api, "c").get("reason") == "ImagePullFailed")
        op.configure(converter_image="right:1")
        await until_phase(api, "c", "Succeeded")


async def test_cancelling_a_running_conversion_deletes_its_pod(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
        await until_phase(api, "c", "Cancelled")
        assert cluster.pods("c") == []


async def test_cancelling_a_queued_conversion_creates_no_job(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_max_parallel=0):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
        await until_phase(api, "c", "Cancelled")
    assert api.audit.count(verb="create", resource="jobs") == 0


async def test_conversions_wait_while_the_operator_is_paused(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_enabled="false") as op:
        api.create(conversion_job("c"))
        await api.until(lambda: status_of(api, "c").get("reason") == "Paused")
        op.configure(converter_enabled="true")
        await until_phase(api, "c", "Succeeded")


async def test_a_conversion_waits_for_its_missing_claim(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.delete("persistentvolumeclaims", CLAIM)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        api.create(conversion_job("d"))
        await api.until(lambda: status_of(api, "c").get("reason") == "ClaimMissing")
        await api.until(lambda: status_of(api, "d").get("reason") == "ClaimMissing")
        await api.until(lambda: events_about(api, CLAIM))
        api.add_claim()
        await until_phase(api, "c", "Succeeded")
        await until_phase(api, "d", "Succeeded")
    (event,) = events_about(api, CLAIM)
    assert event["involvedObject"]["kind"] == "PersistentVolumeClaim"
    assert "Starts automatically after you create the claim" in event["message"]


@pytest.mark.fake_only("a real API server always validates")
async def test_an_invalid_object_does_not_stop_the_others(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    odd = conversion_job("odd")
    odd["spec"] = {"conversionType": "audio_to_mp3", "inputFile": 7}
    async with running(api, tmp_path):
        api.create(odd, check=False)
        api.create(conversion_job("good"))
        await until_phase(api, "good", "Succeeded")
        await until_phase(api, "odd", "Failed")
    assert status_of(api, "odd")["reason"] == "InvalidSpec"


async def test_a_conversion_needs_few_writes(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready)
        mark = api.audit.mark()
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
        writes = api.audit.writes(since=mark, resource="jobs") + api.audit.writes(
            since=mark, resource="conversionjobs"
        )
        # One create, Starting or Running, Succeeded. The Job is deleted later.
        assert len(writes) <= 3


async def test_progress_behind_long_lines_is_seen(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The limit of bytes cuts the newest lines of a log, not the oldest."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        lines = (b"x" * 1000 + b"\n") * 40
        cluster.log("c", lines + b'{"progress":{"percent":50}}\n')
        await api.until(
            lambda: status_of(api, "c").get("progress", {}).get("percent") == 50, 20, "progress"
        )
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")


async def test_the_latest_warning_is_found_whatever_its_time_field(api: FakeApi) -> None:
    """Events of newer reporters have no lastTimestamp."""
    client = Cluster(configuration(api.url), "op-a")
    about = {"kind": "Pod", "name": "p", "namespace": NAMESPACE, "uid": "u"}
    for name, field, stamp in (
        ("b", "lastTimestamp", "2026-01-01T12:00:00Z"),
        ("a", "eventTime", "2026-01-01T12:00:30.000000Z"),
        ("c", "lastTimestamp", "2026-01-01T12:00:01Z"),
    ):
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "type": "Warning",
            "reason": f"Reason-{name}",
            "message": "because",
            "action": "a",
            "reportingComponent": "c",
            "reportingInstance": "i",
            "involvedObject": about,
        }
        api.create(event | {field: stamp})
    assert await client.latest_warning(NAMESPACE, "u") == "Reason-a: because"
    await client.close()
