"""Suspended Jobs, as with Kueue: the same Job waits without a slot, and runs when it is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conversion_operator.core.suspended import MIN_SUSPENDED_JOBS
from media_converter.contract import ExitReason
from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.history import History
from tests.component.support.invariants import check_all, check_one_live_pod_each
from tests.component.support.kinds import JOBS, Kind
from tests.component.support.podstatus import started_at
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job


def suspend(api: FakeApi, job: str, active: bool = True) -> None:
    api.patch("jobs", job, {"spec": {"suspend": active}})


def suspend_all_new_jobs(api: FakeApi, namespace: str = "") -> None:
    """Like a mutating webhook of Kueue."""

    def mutate(kind: Kind, obj: dict[str, Any]) -> None:
        if kind is JOBS and namespace in ("", obj["metadata"]["namespace"]):
            obj["spec"]["suspend"] = True

    api.storage.mutators.append(mutate)


def uid(api: FakeApi, name: str) -> str:
    found: str = api.get("conversionjobs", name)["metadata"]["uid"]
    return found


def job_of(api: FakeApi, name: str) -> str:
    job: str = status_of(api, name)["jobName"]
    return job


async def until_suspended(api: FakeApi, name: str) -> None:
    await api.until(
        lambda: status_of(api, name).get("reason") == "JobSuspended", 20, f"{name} suspended"
    )


@pytest.mark.fake_only("it needs a webhook")
async def test_a_job_that_is_created_suspended_waits_without_a_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """There is no start timeout, and the same Job runs."""
    suspend_all_new_jobs(api)
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await until_suspended(api, "c")
        assert phase_of(api, "c") == "Queued"
        assert "webhook" in status_of(api, "c")["message"]
        api.clock.advance(100_000)
        await op.reconcile_all()
        api.storage.mutators.clear()
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        assert status_of(api, "c")["reason"] == "JobSuspended"
        suspend(api, job_of(api, "c"), active=False)
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["Completed"]
    assert len(History(api.storage).jobs) == 2
    check_all(api, limit=1)


@pytest.mark.judged
async def test_a_job_that_is_suspended_while_it_runs_goes_on_later(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """It counts against nothing. The next pod of the same Job is the next attempt."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1):
        api.create(conversion_job("c", maxRetries=0))
        await until_phase(api, "c", "Running")
        job = job_of(api, "c")
        suspend(api, job)
        await until_suspended(api, "c")
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        suspend(api, job, active=False)
        await until_phase(api, "c", "Running")
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")
    status = status_of(api, "c")
    assert attempts_of(api, "c") == ["JobSuspended", "Completed"]
    first, second = status["attempts"]
    assert first["jobUID"] == second["jobUID"]
    assert first["podUID"] != second["podUID"]
    assert "retries" not in status
    check_all(api, limit=1)


@pytest.mark.judged
@pytest.mark.parametrize("resumed", [False, True], ids=["still suspended", "resumed"])
async def test_a_suspension_while_no_operator_runs(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, resumed: bool
) -> None:
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c", maxRetries=0))
        await until_phase(api, "c", "Running")
        job = job_of(api, "c")
        await op.kill()
    suspend(api, job)
    await api.until(lambda: not cluster.pods("c"))
    if resumed:
        suspend(api, job, active=False)
        await api.until(lambda: bool(cluster.pods("c")))
    async with running(api, tmp_path):
        if not resumed:
            await until_suspended(api, "c")
            suspend(api, job, active=False)
        await api.until(lambda: len(status_of(api, "c")["attempts"]) == 2, 20)
        await until_phase(api, "c", "Running")
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["JobSuspended", "Completed"]
    assert len(History(api.storage).jobs) == 1
    check_all(api, limit=3)


@pytest.mark.judged
@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_suspended_conversion_can_be_stopped(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, how: str
) -> None:
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        suspend(api, job_of(api, "c"))
        await until_suspended(api, "c")
        if how == "cancel":
            api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
            await until_phase(api, "c", "Cancelled")
        else:
            api.delete("conversionjobs", "c")
        await api.until(lambda: not api.objects("jobs"), 20)
    check_one_live_pod_each(api)


async def test_a_resumed_job_counts_at_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Whoever resumes does not ask for a slot. Nothing is admitted until the number is lower."""
    for name in ("a", "b", "c"):
        cluster.script(name, succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("a"))
        await until_phase(api, "a", "Running")
        suspend(api, job_of(api, "a"))
        await until_suspended(api, "a")
        api.create(conversion_job("b"))
        await until_phase(api, "b", "Running")
        suspend(api, job_of(api, "a"), active=False)
        await until_phase(api, "a", "Running")
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        cluster.finish("b")
        await until_phase(api, "b", "Succeeded")
        await op.reconcile_all()
        await api.until(lambda: op.metric("converter_running") == 1)
        assert phase_of(api, "c") == "Queued"
        cluster.finish("a")
        await until_phase(api, "c", "Running")
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")


@pytest.mark.fake_only("it needs a webhook")
async def test_a_long_queue_does_not_become_as_many_suspended_jobs(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The others wait, and other namespaces go on."""
    api.add_namespace("other")
    suspend_all_new_jobs(api, "my-network")
    many = MIN_SUSPENDED_JOBS + 5
    async with running(api, tmp_path, watch_namespaces="my-network,other") as op:
        for n in range(many):
            api.create(conversion_job(f"c{n:02}"))
        await api.until(lambda: len(api.objects("jobs")) == MIN_SUSPENDED_JOBS, 30)
        await op.reconcile_all()
        elsewhere = conversion_job("d")
        elsewhere["metadata"]["namespace"] = "other"
        api.create(elsewhere)
        await api.until(
            lambda: (
                (api.get("conversionjobs", "d", "other").get("status") or {}).get("phase")
                == "Succeeded"
            ),
            20,
        )
        assert len(api.objects("jobs", "my-network")) == MIN_SUSPENDED_JOBS
        api.create(conversion_job("late"))
        await until_phase(api, "late", "Queued")
        late = status_of(api, "late")
        assert (late["reason"], late["queuePosition"]) == ("WaitingForSlot", 6)
        assert "10 Jobs are suspended" in late["message"]
        suspend(api, job_of(api, "c00"), active=False)
        await until_phase(api, "c00", "Succeeded")
        await api.until(
            lambda: len(api.objects("jobs", "my-network")) == MIN_SUSPENDED_JOBS + 1, 20
        )


async def test_a_pod_that_is_not_known_yet_keeps_the_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The watch of pods is late: the Job is suspended, and its pod still runs."""
    cluster.script("c", succeed(hold=True, stop_seconds=5))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        with api.faults.hold_watches(resource="pods"):
            api.create(conversion_job("c"))
            await api.until(lambda: any(started_at(pod) for pod in cluster.pods("c")), 20)
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Queued")
            suspend(api, api.objects("jobs")[0]["metadata"]["name"])
            await api.until(lambda: op.operator.store.children(uid(api, "c")).pods, 20)
            await op.reconcile_all()
            assert op.metric("converter_running") == 1
            assert len(api.objects("jobs")) == 1
        api.clock.advance(6)
        await until_phase(api, "d", "Succeeded")
        await until_suspended(api, "c")
    check_one_live_pod_each(api)


async def test_a_late_watch_of_jobs_does_not_hide_a_suspension(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The end of the pod is seen before the suspension."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        with api.faults.hold_watches(resource="jobs"):
            suspend(api, job_of(api, "c"))
            await until_suspended(api, "c")
        assert attempts_of(api, "c") == ["JobSuspended", None]


async def test_a_job_that_has_lost_its_labels_is_found_by_its_name(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The name has the number of the first attempt of the Job."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        job = job_of(api, "c")
        suspend(api, job)
        await until_suspended(api, "c")
        await op.kill()
    api.mutate("jobs", job, lambda body: body["metadata"].pop("labels"))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.store.children(uid(api, "c")).jobs, 20)
        suspend(api, job, active=False)
        await until_phase(api, "c", "Running")
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")
    assert attempts_of(api, "c") == ["JobSuspended", "Completed"]
    assert len(History(api.storage).jobs) == 1


async def test_an_attempt_that_fails_while_it_is_suspended_is_retried_with_a_new_job(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    ending = fail(ExitReason.DISK_FULL).ending
    cluster.script("c", succeed(hold=True, on_sigterm=ending), succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        first = job_of(api, "c")
        suspend(api, first)
        await until_phase(api, "c", "Succeeded", 60)
        assert attempts_of(api, "c") == ["DiskFull", "Completed"]
        await api.until(lambda: api.find("jobs", first) is None)
    check_all(api, limit=3)
