"""Changes by others to Jobs, pods, nodes and objects lose, repeat and leave behind nothing."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.core.manifest import job_name
from conversion_operator.core.status_size import STATUS_MAX_BYTES
from tests.component.running import (
    attempts_of,
    events_about,
    phase_of,
    running,
    status_of,
    until_phase,
)
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.audit import Request
from tests.component.support.history import History
from tests.component.support.invariants import check_all
from tests.component.support.scripts import (
    drained,
    evicted,
    failed_create,
    image_pull,
    preempted,
    start_error,
    succeed,
    unschedulable,
)
from tests.component.support.tools import conversion_job

pytestmark = pytest.mark.judged

# The real API server has the same part in several cases of a test: one of them is enough there.
ONE_IS_ENOUGH = pytest.mark.fake_only("a real API server judges another case of the test")
STATUS: dict[str, Any] = {
    "verb": "patch",
    "resource": "conversionjobs",
    "subresource": "status",
}


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
@pytest.mark.parametrize(
    "operator_up", [True, pytest.param(False, marks=ONE_IS_ENOUGH)], ids=["up", "down"]
)
async def test_a_conversion_recovers_when_its_job_is_deleted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, propagation: str, operator_up: bool
) -> None:
    """F7: also if the Job was deleted while the operator was down."""
    cluster.script("c", succeed(hold=True), succeed())
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        if not operator_up:
            await op.kill()
        api.delete("jobs", status_of(api, "c")["jobName"], propagation=propagation)
        if propagation == "Orphan":
            cluster.finish("c")
        if operator_up:
            await until_phase(api, "c", "Succeeded", 20)
    if not operator_up:
        async with running(api, tmp_path):
            await until_phase(api, "c", "Succeeded", 20)
    lost = ["Completed"] if propagation == "Orphan" else ["JobDeleted", "Completed"]
    assert attempts_of(api, "c") == lost
    check_all(api, limit=3)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (evicted(), "Evicted"),
        pytest.param(preempted(), "Preempted", marks=ONE_IS_ENOUGH),
        pytest.param(drained(), "Evicted", marks=ONE_IS_ENOUGH),
        (start_error(), "StartError"),
    ],
    ids=["evicted", "preempted", "drained", "start error"],
)
async def test_disruptions_use_no_retries(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, script: Any, reason: str
) -> None:
    """F8."""
    cluster.script("c", script, script, succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c", maxRetries=0))
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == [reason, reason, "Completed"]
    check_all(api, limit=3)


@pytest.mark.parametrize("force", [True, False])
async def test_a_conversion_recovers_when_its_pod_is_deleted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, force: bool
) -> None:
    cluster.script("c", succeed(hold=True), succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        cluster.delete_pods("c", force=force)
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["PodDeleted", "Completed"]
    check_all(api, limit=3)


@pytest.mark.fake_only("the clock of a real API server cannot be set")
async def test_a_conversion_on_a_lost_node_fails_and_frees_its_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F10: there is no second attempt, because the pod may still run."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Queued")
        cluster.lose_node(status_of(api, "c")["nodeName"])
        cluster.delete_pods("c")
        api.clock.advance(120)
        await op.reconcile_all()
        await api.until(lambda: status_of(api, "c")["reason"] == "NodeUnreachable", 20)
        assert phase_of(api, "d") == "Queued"
        api.clock.advance(900)
        await op.reconcile_all()
        await until_phase(api, "c", "Failed", 20)
        assert status_of(api, "c")["reason"] == "NodeLost"
        await until_phase(api, "d", "Succeeded", 20)


@pytest.mark.fake_only("the clock of a real API server cannot be set")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (image_pull(), "ImagePullFailed"),
        (unschedulable(), "Unschedulable"),
    ],
    ids=["image", "unschedulable"],
)
async def test_a_conversion_that_cannot_start_releases_its_slot_and_recovers(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, script: Any, reason: str
) -> None:
    """F12, F20: the status says why, and the slot is released after the start timeout."""
    cluster.script("c", script, succeed())
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") is not None)
        api.clock.advance(10)
        await op.reconcile_all()
        await api.until(lambda: status_of(api, "c")["reason"] == reason, 30)
        await api.until(lambda: [e["reason"] for e in events_about(api, "c")] == [reason])
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Queued")
        api.clock.advance(300)
        await op.reconcile_all()
        await until_phase(api, "d", "Succeeded", 20)
        assert (phase_of(api, "c"), status_of(api, "c")["reason"]) == ("Queued", reason)
        api.clock.advance(60)
        await op.reconcile_all()
        await until_phase(api, "c", "Succeeded")
    check_all(api, limit=1)


@pytest.mark.fake_only("a real Job controller refuses no pods here")
async def test_a_conversion_whose_pod_is_refused_releases_its_slot_at_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F20: long before the start timeout. Then one conversion of the namespace tries at a time."""
    cluster.script("c", failed_create(), succeed())
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: attempts_of(api, "c") == ["QuotaExceeded"], 20)
        assert (phase_of(api, "c"), status_of(api, "c")["reason"]) == ("Queued", "QuotaExceeded")
        assert "exceeded quota" in status_of(api, "c")["message"]
        api.create(conversion_job("d"))
        await api.until(lambda: status_of(api, "d").get("reason") == "QuotaExceeded")
        api.clock.advance(15)
        await op.reconcile_all()
        await until_phase(api, "d", "Succeeded", 20)
        await until_phase(api, "c", "Succeeded", 20)
    assert attempts_of(api, "c") == ["QuotaExceeded", "Completed"]
    check_all(api, limit=1)


async def test_a_job_rejected_by_a_webhook_is_retried(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F20: the webhook's message is in the status, and other conversions go on."""

    def of_c(request: Request) -> bool:
        return request.verb == "create" and b'"/input/c.mov"' in request.body

    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.admission_denied("no conversions on Mondays", where=of_c) as denied:
            api.create(conversion_job("c"))
            await denied.wait_hit()
            await api.until(lambda: status_of(api, "c").get("reason") == "PodRejected", 30)
            assert "no conversions on Mondays" in status_of(api, "c")["message"]
            assert phase_of(api, "c") == "Queued"
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Succeeded")
            assert phase_of(api, "c") == "Queued"
        await until_phase(api, "c", "Succeeded", 60)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=1)


async def test_a_recreated_conversion_starts_from_scratch(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F14: the new ConversionJob has the same name and nothing else of the old one."""
    cluster.script("c", succeed(hold=True), succeed(size=77))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        old_pod = status_of(api, "c")["podName"]
        api.delete("conversionjobs", "c")
        api.create(conversion_job("c"))
        cluster.default = succeed(size=77)
        await api.until(lambda: phase_of(api, "c") in ("Running", "Succeeded"), 20)
        assert status_of(api, "c")["podName"] != old_pod
        await api.until(lambda: api.find("pods", old_pod) is None, 20)


async def test_a_late_status_is_not_written_to_a_recreated_conversion(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F14: the ConversionJob is recreated between the decision and the write of its status."""
    cluster.script("c", succeed(hold=True))
    cluster.default = succeed(hold=True)

    def recreate(_: Any) -> None:
        api.delete("conversionjobs", "c")
        api.create(conversion_job("c"))

    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        old_pod = status_of(api, "c")["podName"]
        with api.faults.tap(on_arrival=recreate, times=1, **STATUS) as write:
            cluster.finish("c")
            await write.wait_hit()
        await until_phase(api, "c", "Running", 20)
        uid = api.get("conversionjobs", "c")["metadata"]["uid"]
        # The history of a real API server comes from a watch, which may be later than a read.
        await api.until(lambda: "Running" in History(api.storage).phases(uid), 20)
        phases = History(api.storage).phases(uid)
        assert phases[-1] == "Running", (
            "the status of the old conversion was written to the new one"
        )
        assert "Succeeded" not in phases
        assert status_of(api, "c")["podName"] != old_pod
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded", 20)


@pytest.mark.fake_only("the clock of a real API server cannot be set")
@pytest.mark.parametrize("hours", [1, -1])
async def test_time_limits_use_the_clock_of_the_api_server(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, hours: int
) -> None:
    """F16: timeouts and time to live do not use the operator's own clock."""
    api.clock.advance(timedelta(hours=hours).total_seconds())
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c", ttlSecondsAfterFinished=1800))
        await until_phase(api, "c", "Succeeded", 20)
        await op.reconcile_all()
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded", 20)
        assert phase_of(api, "c") == "Succeeded"
        api.clock.advance(1800)
        await op.reconcile_all()
        await api.until(lambda: api.find("conversionjobs", "c") is None, 30)


async def test_the_second_operator_takes_over_when_the_leader_stops(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """F17: the leader releases the Lease when it stops."""
    cluster.default = succeed(hold=True)
    second = await api.add_endpoint("b")
    async with running(api, tmp_path / "b", "op-b", second, converter_max_parallel=2):
        async with running(api, tmp_path / "a", "op-a", converter_max_parallel=2):
            for n in range(4):
                api.create(conversion_job(f"c{n}"))
            await api.until(lambda: sum(phase_of(api, f"c{n}") == "Running" for n in range(4)) == 2)
        for n in range(4):
            await until_phase(api, f"c{n}", "Running", 20)
            cluster.finish(f"c{n}")
        await api.until(lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(4)), 20)
    check_all(api, limit=2)


async def test_a_foreign_job_with_our_name_is_not_adopted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_max_parallel=0) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        uid = api.get("conversionjobs", "c")["metadata"]["uid"]
        container = {"name": "x", "image": "x"}
        api.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": job_name(uid, 1), "namespace": "my-network"},
                "spec": {
                    "suspend": True,
                    "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
                },
            }
        )
        op.configure(converter_max_parallel=3)
        await api.until(lambda: status_of(api, "c").get("reason") == "JobNameTaken", 20)
        api.delete("jobs", job_name(uid, 1))
        await until_phase(api, "c", "Succeeded", 60)


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(b"x" * 1_000_000, marks=ONE_IS_ENOUGH),
        pytest.param(b"\r".join(b"frame %d" % n for n in range(100_000)), marks=ONE_IS_ENOUGH),
        b"\x00\xff\xfe\x1b[31m" * 10_000,
        pytest.param("é😀<&>".encode() * 50_000, marks=ONE_IS_ENOUGH),
        b"<" * 1_000_000,  # kubectl prints each as six bytes
    ],
    ids=["one line", "carriage returns", "binary", "wide", "signs"],
)
async def test_a_status_stays_small_whatever_the_log(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, log: bytes
) -> None:
    """F19."""
    cluster.script("c", succeed(tail=log.decode(errors="replace")[-20_000:], hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        cluster.log("c", log)
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded", 20)
    statuses = History(api.storage).statuses(api.get("conversionjobs", "c")["metadata"]["uid"])
    assert max(map(_printed_size, statuses)) <= STATUS_MAX_BYTES
    check_all(api, limit=3)


def _printed_size(status: dict[str, Any]) -> int:
    """The size of a status as kubectl prints it."""
    text = json.dumps(status, ensure_ascii=False)
    return len(re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text).encode())


async def test_cancelling_at_any_moment_leaves_nothing_behind(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_max_parallel=3):
        for n in range(12):
            api.create(conversion_job(f"c{n}"))
            if n % 2:
                api.patch("conversionjobs", f"c{n}", {"spec": {"cancel": True}})
        await api.until(
            lambda: all(phase_of(api, f"c{n}") in ("Succeeded", "Cancelled") for n in range(12)),
            60,
        )
    assert all(phase_of(api, f"c{n}") == "Succeeded" for n in range(0, 12, 2))
    check_all(api, limit=3)


@pytest.mark.fake_only("the clock of a real API server cannot be set")
async def test_a_pod_without_a_node_gives_up_its_slot_if_another_conversion_waits(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """It stays while nobody waits. After it was given up, it starts again when a pod has ended."""
    cluster.script("c", unschedulable(), succeed())
    limits: dict[str, Any] = {"converter_max_parallel": 1, "converter_unschedulable_seconds": 2}
    async with running(api, tmp_path, **limits) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: bool(cluster.pods("c")), 20)
        api.clock.advance(400)  # the start timeout is 300 s
        await op.reconcile_all()
        await api.until(lambda: status_of(api, "c")["reason"] == "Unschedulable", 20)
        assert len(cluster.pods("c")) == 1
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded", 30)
        await until_phase(api, "c", "Succeeded", 20)  # the clock of its back-off did not move
    assert attempts_of(api, "c") == ["Unschedulable", "Completed"]
    assert status_of(api, "c")["retries"]["notStarted"] == 0
    check_all(api, limit=1)


async def test_a_pod_without_a_node_starts_again_when_a_setting_changes(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", unschedulable(), succeed())
    cluster.script("d", succeed(hold=True))
    limits: dict[str, Any] = {"converter_max_parallel": 1, "converter_unschedulable_seconds": 1}
    async with running(api, tmp_path, **limits) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: bool(cluster.pods("c")), 20)
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Running", 30)
        op.configure(converter_max_parallel=2)
        await until_phase(api, "c", "Succeeded", 20)
        cluster.finish("d")
        await until_phase(api, "d", "Succeeded", 20)
