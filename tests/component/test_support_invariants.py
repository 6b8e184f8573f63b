"""Every check passes for a good scenario, and fails for its violation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.aio.client import BatchV1Api, CustomObjectsApi

from tests.component.raw_objects import raw
from tests.component.support import (
    NAMESPACE,
    FakeApi,
    FakeCluster,
    check_all,
    check_all_finished,
    check_events,
    check_final,
    check_no_leaks,
    check_no_warnings,
    check_one_job_per_attempt,
    check_one_live_pod_each,
    check_outputs,
    check_parallel_limit,
    check_statuses,
    check_writes,
)
from tests.component.support.errors import Obj
from tests.component.support.history import History, Life, peak
from tests.component.support.scripts import SHA256, Script, fail, oom_killed, report, succeed
from tests.component.support.tools import client, conversion_job
from tests.component.test_support_deletion import job


@pytest.fixture(autouse=True)
async def _by_hand(api: FakeApi, cluster: FakeCluster) -> None:
    await api.manual()
    api.clock.freeze()


def status(phase: str, **more: Any) -> Obj:
    done = phase in ("Succeeded", "Failed", "Cancelled")
    good = {"Succeeded": "True", "Failed": "False", "Cancelled": "False"}.get(phase, "Unknown")
    conditions = [
        {
            "type": kind,
            "status": value,
            "reason": "Test",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind, value in (("Succeeded", good), ("Finished", "True" if done else "False"))
    ]
    return {"phase": phase, "reason": "Test", "message": "", "conditions": conditions} | more


def write(api: FakeApi, name: str, phase: str, **more: Any) -> None:
    api.mutate("conversionjobs", name, lambda obj: obj.update(status=status(phase, **more)))


def attempt(owner: Obj, number: int = 1, name: str | None = None) -> Obj:
    made = job(name or f"{owner['metadata']['name']}-{number}", owner)
    made["metadata"]["labels"] = {"converter.mynetwork.io/attempt": str(number)}
    return made


async def convert(
    api: FakeApi, cluster: FakeCluster, name: str, script: Script | None = None
) -> Obj:
    """A conversion whose first attempt has settled."""
    owner = api.create(conversion_job(name))
    if script is not None:
        cluster.script(name, script)
    api.create(attempt(owner))
    await cluster.settle()
    return owner


def violated(check: Callable[..., None], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check(*args, **kwargs)
    return str(caught.value)


async def test_a_good_scenario(api: FakeApi, cluster: FakeCluster) -> None:
    for name in ("a", "b"):
        await convert(api, cluster, name, succeed(size=5))
        write(api, name, "Running")
        write(api, name, "Succeeded", outputSize=5, output={"sha256": SHA256})
    check_all(api, limit=1)
    check_no_leaks(api, jobs=2)


async def test_i1_forbids_two_pods_of_one_conversion(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.default = succeed(hold=True)
    owner = await convert(api, cluster, "a")
    check_one_live_pod_each(api)
    api.create(attempt(owner, 2))
    await cluster.settle()
    assert "had 2 live pods" in violated(check_one_live_pod_each, api)
    lost = cluster.pods("a-1")[0]["metadata"]["uid"]
    check_one_live_pod_each(api, excluding={lost})


async def test_i1_allows_one_pod_after_the_other(api: FakeApi, cluster: FakeCluster) -> None:
    owner = await convert(api, cluster, "a", fail())
    api.create(attempt(owner, 2))
    await cluster.settle()
    check_one_live_pod_each(api)
    check_parallel_limit(api, limit=1)


async def test_i1_counts_an_orphan_for_its_conversion(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.default = succeed(hold=True)
    owner = await convert(api, cluster, "a")
    api.delete("jobs", "a-1", propagation="Orphan")
    await cluster.settle()
    api.create(attempt(owner, 2))
    await cluster.settle()
    assert "had 2 live pods" in violated(check_one_live_pod_each, api)


async def test_i2_counts_short_lived_pods(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.default = succeed(hold=True)
    for name in "abc":
        await convert(api, cluster, name)
    cluster.finish("b")
    await cluster.settle()
    check_parallel_limit(api, limit=3)
    assert "3 live pods" in violated(check_parallel_limit, api, limit=2)


async def test_i2_forbids_a_job_created_while_all_slots_are_held(
    api: FakeApi, cluster: FakeCluster
) -> None:
    owners = [api.create(conversion_job(name)) for name in "ab"]
    cluster.forbid_pods(NAMESPACE, "no")
    for owner in owners:
        api.create(attempt(owner))
        await cluster.settle()
    assert api.objects("pods") == []
    check_parallel_limit(api, limit=2)
    assert "was made" in violated(check_parallel_limit, api, limit=1)


async def test_i2_does_not_count_a_job_whose_pod_has_ended(
    api: FakeApi, cluster: FakeCluster
) -> None:
    """The conditions of the Job come later, as on a real API server."""
    cluster.job_seconds = 1.0
    await convert(api, cluster, "a")
    assert "Complete" not in str(api.get("jobs", "a-1")["status"])
    await convert(api, cluster, "b")
    check_parallel_limit(api, limit=1)


async def test_i2_counts_a_pod_without_a_job(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.default = succeed(hold=True)
    await convert(api, cluster, "a")
    api.delete("jobs", "a-1", propagation="Orphan")
    await cluster.settle()
    cluster.forbid_pods(NAMESPACE, "no")
    await convert(api, cluster, "b")
    assert len(api.objects("pods")) == 1
    assert "was made" in violated(check_parallel_limit, api, limit=1)
    check_parallel_limit(api, limit=2)


async def test_i2_counts_a_terminating_pod(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.default = succeed(hold=True, stop_seconds=20)
    await convert(api, cluster, "a")
    api.delete("jobs", "a-1")
    await cluster.settle()
    await convert(api, cluster, "b")
    assert "2 live pods" in violated(check_parallel_limit, api, limit=1)


async def test_one_job_per_attempt_counts_deleted_jobs(api: FakeApi, cluster: FakeCluster) -> None:
    owner = await convert(api, cluster, "a")
    api.delete("jobs", "a-1")
    await cluster.settle()
    check_one_job_per_attempt(api)
    api.create(attempt(owner, 1, name="other"))
    assert "more than once" in violated(check_one_job_per_attempt, api)


async def test_i3_needs_a_terminal_phase_and_its_conditions(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    assert "a is Pending" in violated(check_all_finished, api)
    write(api, "a", "Running")
    assert "a is Running" in violated(check_all_finished, api)
    write(api, "a", "Failed")
    check_all_finished(api)
    api.mutate("conversionjobs", "a", lambda o: o["status"].update(conditions=[]))
    assert "no condition Finished" in violated(check_all_finished, api)


async def test_a_change_after_the_end_is_noticed(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    for phase in ("Queued", "Running", "Failed"):
        write(api, "a", phase)
    check_final(api)
    assert History(api.storage).phases(api.get("conversionjobs", "a")["metadata"]["uid"]) == [
        "Pending",
        "Queued",
        "Running",
        "Failed",
    ]
    write(api, "a", "Failed", logs="late")
    assert "written after its end" in violated(check_final, api)


async def test_leaks_are_noticed(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.default = succeed(hold=True)
    await convert(api, cluster, "a")
    text = violated(check_no_leaks, api)
    assert "live pod" in text
    assert "unfinished Job a-1" in text
    cluster.finish("a")
    await cluster.settle()
    check_no_leaks(api)
    assert "1 Jobs" in violated(check_no_leaks, api, jobs=0)
    api.delete("conversionjobs", "a")
    assert "ownerless Job a-1" in violated(check_no_leaks, api)
    api.create(conversion_job("b", metadata={"finalizers": ["test.example/x"]}))
    assert "finalizer on ConversionJob b" in violated(check_no_leaks, api)


async def test_warnings_are_noticed(api: FakeApi) -> None:
    made: Any = job("a")
    made["spec"]["backofLimit"] = 0
    async with client(api.url) as http:
        await raw(http, "POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", made)
    assert "spec.backofLimit" in violated(check_no_warnings, api)


@pytest.mark.parametrize(
    ("script", "good"),
    [
        (succeed(size=5), True),
        (succeed(size=6), False),
        (succeed(size=5, sha256="0" * 64), False),
        (fail(), False),
        (oom_killed(exit_code=0, message=report(size=5)), False),
        (succeed(size=5, hold=True), False),
    ],
)
async def test_i5_needs_a_pod_with_the_same_output(
    api: FakeApi, cluster: FakeCluster, script: Script, good: bool
) -> None:
    await convert(api, cluster, "a", script)
    write(api, "a", "Succeeded", outputSize=5, output={"sha256": SHA256})
    if good:
        check_outputs(api)
    else:
        assert "a says" in violated(check_outputs, api)


async def test_i5_an_output_that_comes_later_does_not_count(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await convert(api, cluster, "a", succeed(size=5, hold=True))
    write(api, "a", "Succeeded", outputSize=5, output={"sha256": SHA256})
    cluster.finish("a")
    await cluster.settle()
    assert "a says" in violated(check_outputs, api)


async def test_a_status_that_is_too_large_is_noticed(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    write(api, "a", "Running", logs="x" * 2048)
    check_statuses(api)
    write(api, "a", "Running", logs="ä" * 4096)
    write(api, "a", "Running")
    assert "bytes" in violated(check_statuses, api)


async def test_writes_are_counted_by_conversion(api: FakeApi, cluster: FakeCluster) -> None:
    cj = ("converter.mynetwork.io", "v1alpha1", NAMESPACE, "conversionjobs")
    owner = api.create(conversion_job("a"))
    async with client(api.url) as http:
        body: Any = attempt(owner)
        await BatchV1Api(http).create_namespaced_job(NAMESPACE, body)
        for priority in (1, 1, 2):
            patch = {"spec": {"priority": priority}}
            await CustomObjectsApi(http).patch_namespaced_custom_object(*cj, "a", patch)
        await BatchV1Api(http).delete_namespaced_job("a-1", NAMESPACE)
    check_writes(api, most=5)
    assert "5 writes for" in violated(check_writes, api, most=4)


async def test_events_are_counted_by_conversion(api: FakeApi) -> None:
    owner = api.create(conversion_job("a"))
    for number in range(3):
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"e{number}", "namespace": NAMESPACE},
                "involvedObject": {
                    "kind": "ConversionJob",
                    "namespace": NAMESPACE,
                    "uid": owner["metadata"]["uid"],
                },
            }
        )
    check_events(api, most=3)
    assert "more than 2 Events" in violated(check_events, api, most=2)


@pytest.mark.parametrize(
    ("spans", "most", "at"),
    [
        ([], 0, 0),
        ([(1, 3), (3, 5)], 1, 1),
        ([(1, 4), (2, 5), (3, None)], 3, 3),
        ([(1, None), (5, 6), (7, 8)], 2, 5),
    ],
)
def test_peak(spans: list[tuple[int, int | None]], most: int, at: int) -> None:
    lives = [Life("u", "n", "j", "o", start, end) for start, end in spans]
    assert peak(lives) == (most, at)
