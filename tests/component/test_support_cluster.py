"""Jobs, pods and nodes of the simulated cluster behave like real ones."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from media_converter.contract import ExitReason
from media_converter.report_json import parse_report
from tests.component.support import CLAIM, NAMESPACE, FakeApi, FakeCluster, podstatus
from tests.component.support.errors import Obj
from tests.component.support.history import History
from tests.component.support.scripts import (
    Script,
    config_error,
    drained,
    evicted,
    exit_with,
    fail,
    failed_create,
    image_pull,
    oom_killed,
    preempted,
    slow_start,
    start_error,
    stuck_mount,
    succeed,
    unschedulable,
)
from tests.component.test_support_deletion import job


@pytest.fixture(autouse=True)
async def _by_hand(api: FakeApi, cluster: FakeCluster) -> None:
    await api.manual()
    api.clock.freeze()


async def play(api: FakeApi, cluster: FakeCluster, script: Script, **spec: Any) -> Obj:
    """The pod of a Job ``a`` after everything has settled."""
    cluster.script("a", script)
    body = job("a")
    body["spec"] |= spec
    api.create(body)
    await cluster.settle()
    (pod,) = cluster.pods("a")
    return pod


def ended(pod: Obj) -> Obj:
    terminated: Obj = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return terminated


def waiting(pod: Obj) -> Obj:
    state: Obj = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    return state


def conditions(api: FakeApi, name: str = "a") -> list[str]:
    return [c["type"] for c in api.get("jobs", name)["status"].get("conditions", [])]


def events(api: FakeApi, reason: str) -> list[str]:
    return [event["message"] for event in api.objects("events", fields=f"reason={reason}")]


# Steps of a pod


async def test_a_pod_takes_one_step_at_a_time(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.script("a", succeed(size=77))
    api.create(job("a"))
    seen: list[tuple[str, str]] = []
    while cluster.step():
        for pod in cluster.pods("a"):
            states = pod["status"].get("containerStatuses") or [{"state": {"none": {}}}]
            seen.append((pod["status"]["phase"], next(iter(states[0]["state"]))))
    distinct = [state for i, state in enumerate(seen) if i == 0 or state != seen[i - 1]]
    assert distinct == [
        ("Pending", "none"),
        ("Pending", "waiting"),
        ("Running", "running"),
        ("Succeeded", "terminated"),
    ]
    assert conditions(api) == ["SuccessCriteriaMet", "Complete"]
    (pod,) = cluster.pods("a")
    made = parse_report(ended(pod)["message"])
    assert made is not None
    assert (made.final, made.output_size) == (True, 77)


async def test_the_pod_ends_before_the_job_says_so(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, succeed())
    versions: dict[str, int] = {}
    for change in api.storage.changes:
        status = change.new.obj.get("status", {})
        if change.kind.plural == "pods" and status.get("phase") == "Succeeded":
            versions.setdefault("pod", change.rv)
        for condition in status.get("conditions", []) if change.kind.plural == "jobs" else []:
            versions.setdefault(condition["type"], change.rv)
    assert versions["pod"] < versions["SuccessCriteriaMet"] < versions["Complete"]


async def test_a_job_and_its_pod_carry_the_labels(api: FakeApi, cluster: FakeCluster) -> None:
    body = job("a")
    body["spec"]["template"]["metadata"] = {"labels": {"mine": "1"}, "annotations": {"n": "2"}}
    api.create(body)
    await cluster.settle()
    (pod,) = api.objects("pods", labels="batch.kubernetes.io/job-name=a,mine=1,job-name=a")
    uid = api.get("jobs", "a")["metadata"]["uid"]
    assert pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid
    assert pod["metadata"]["annotations"] == {"n": "2"}
    assert pod["metadata"]["ownerReferences"][0]["uid"] == uid


async def test_run_time_goes_by_the_servers_clock(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, succeed(run_seconds=60))
    assert api.get("jobs", "a")["status"]["active"] == 1
    await cluster.advance(59)
    assert cluster.pods("a")[0]["status"]["phase"] == "Running"
    await cluster.advance(1)
    (pod,) = cluster.pods("a")
    terminated = ended(pod)
    assert terminated["finishedAt"] == api.clock.stamp()
    assert terminated["startedAt"] == api.clock.stamp(shift=-60)


# Endings


@pytest.mark.parametrize(
    ("script", "code", "reason", "phase"),
    [
        (succeed(), 0, "Completed", "Succeeded"),
        (fail(ExitReason.DISK_FULL), 42, "Error", "Failed"),
        (exit_with(137), 137, "Error", "Failed"),
        (oom_killed(), 137, "OOMKilled", "Failed"),
        (oom_killed(exit_code=0), 0, "OOMKilled", "Succeeded"),
        (start_error(), 128, "StartError", "Failed"),
        (evicted(), 137, "Error", "Failed"),
    ],
)
async def test_endings(
    api: FakeApi, cluster: FakeCluster, script: Script, code: int, reason: str, phase: str
) -> None:
    pod = await play(api, cluster, script)
    terminated = ended(pod)
    assert (terminated["exitCode"], terminated["reason"]) == (code, reason)
    assert pod["status"]["phase"] == phase
    word = "Complete" if phase == "Succeeded" else "Failed"
    assert conditions(api)[-1] == word


async def test_a_failed_job_is_first_a_failure_target(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, fail())
    assert conditions(api) == ["FailureTarget", "Failed"]
    assert api.get("jobs", "a")["status"]["failed"] == 1
    assert len(History(api.storage).pod_lives) == 1


async def test_an_evicted_pod_says_why(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await play(api, cluster, evicted("The node was low on resource: ephemeral-storage."))
    assert pod["status"]["reason"] == "Evicted"
    found = podstatus.condition(pod["status"], "DisruptionTarget")
    assert found is not None
    assert found["reason"] == "TerminationByKubelet"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (preempted(), "PreemptionByScheduler"),
        (drained(), "EvictionByEvictionAPI"),
    ],
)
async def test_a_pod_that_is_deleted(
    api: FakeApi, cluster: FakeCluster, script: Script, reason: str
) -> None:
    cluster.script("a", script)
    api.create(job("a"))
    last: Obj = {}
    while cluster.step():
        last = (cluster.pods("a") or [last])[0]
    assert cluster.pods("a") == []
    assert last["metadata"]["deletionTimestamp"]
    found = podstatus.condition(last["status"], "DisruptionTarget")
    assert found is not None
    assert found["reason"] == reason
    assert ended(last)["exitCode"] == 47
    assert conditions(api)[-1] == "Failed"


async def test_attempts_take_one_script_each(api: FakeApi, cluster: FakeCluster) -> None:
    owner = api.create(
        {
            "apiVersion": "converter.mynetwork.io/v1alpha1",
            "kind": "ConversionJob",
            "metadata": {"name": "holiday"},
            "spec": {
                "conversionType": "audio_to_mp3",
                "inputFile": "a.wav",
                "outputFile": "a.mp3",
            },
        }
    )
    cluster.script("holiday", fail(), oom_killed(), succeed())
    for number in range(4):
        api.create(job(f"try-{number}", owner))
        await cluster.settle()
    reasons = [ended(cluster.pods(f"try-{number}")[0])["reason"] for number in range(4)]
    assert reasons == ["Error", "OOMKilled", "Completed", "Completed"]


# Obstacles to the start


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (image_pull(), "ImagePullBackOff"),
        (config_error(), "CreateContainerConfigError"),
        (slow_start(), "ContainerCreating"),
        (stuck_mount(), "ContainerCreating"),
    ],
)
async def test_a_waiting_container_starts_once_fixed(
    api: FakeApi, cluster: FakeCluster, script: Script, reason: str
) -> None:
    pod = await play(api, cluster, script)
    assert pod["status"]["phase"] == "Pending"
    assert waiting(pod)["reason"] == reason
    assert api.get("jobs", "a")["status"]["active"] == 1
    cluster.fix("a")
    await cluster.settle()
    assert conditions(api)[-1] == "Complete"


async def test_an_image_pull_fails_before_it_backs_off(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, image_pull())
    reasons: list[str] = []
    for change in api.storage.changes:
        states = change.new.obj.get("status", {}).get("containerStatuses") or []
        if states and "waiting" in states[0]["state"]:
            reasons.append(states[0]["state"]["waiting"]["reason"])
    assert list(dict.fromkeys(reasons)) == ["ContainerCreating", "ErrImagePull", "ImagePullBackOff"]


@pytest.mark.parametrize(
    ("script", "reason", "word"),
    [
        (stuck_mount(), "FailedMount", "MountVolume"),
        (unschedulable(), "FailedScheduling", "Insufficient memory"),
        (failed_create(), "FailedCreate", "exceeded quota"),
    ],
)
async def test_only_an_event_says_why(
    api: FakeApi, cluster: FakeCluster, script: Script, reason: str, word: str
) -> None:
    cluster.script("a", script)
    api.create(job("a"))
    await cluster.settle()
    (message,) = events(api, reason)
    assert word in message


async def test_unschedulable(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await play(api, cluster, unschedulable("0/2 nodes are available.", seconds=30))
    found = podstatus.condition(pod["status"], "PodScheduled")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "Unschedulable")
    assert "nodeName" not in pod["spec"]
    await cluster.advance(30)
    assert conditions(api)[-1] == "Complete"


async def test_failed_create_makes_no_pod(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.script("a", failed_create())
    api.create(job("a"))
    await cluster.settle()
    assert cluster.pods("a") == []
    assert "active" not in api.get("jobs", "a")["status"]
    await cluster.advance(1)
    await cluster.advance(1)
    (event,) = api.objects("events", fields="reason=FailedCreate")
    assert event["involvedObject"]["uid"] == api.get("jobs", "a")["metadata"]["uid"]
    assert event["count"] == 2
    assert event["type"] == "Warning"
    cluster.fix("a")
    await cluster.settle()
    assert conditions(api)[-1] == "Complete"


async def test_pods_forbidden_in_a_namespace(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.forbid_pods(NAMESPACE, "exceeded quota: pods")
    api.create(job("a"))
    await cluster.settle()
    assert cluster.pods("a") == []
    await cluster.advance(1)
    cluster.allow_pods(NAMESPACE)
    await cluster.advance(1)
    assert cluster.pods("a") == []
    await cluster.advance(1)
    assert conditions(api)[-1] == "Complete"


@pytest.mark.parametrize("phase", ["", "Pending"])
async def test_a_pod_waits_for_a_missing_or_unbound_claim(
    api: FakeApi, cluster: FakeCluster, phase: str
) -> None:
    api.delete("persistentvolumeclaims", CLAIM)
    if phase:
        api.add_claim(phase=phase)
    body = job("a")
    volume = {"name": "shared", "persistentVolumeClaim": {"claimName": CLAIM}}
    body["spec"]["template"]["spec"]["volumes"] = [volume]
    api.create(body)
    await cluster.settle()
    (pod,) = cluster.pods("a")
    found = podstatus.condition(pod["status"], "PodScheduled")
    assert found is not None
    word = "unbound immediate" if phase else f'persistentvolumeclaim "{CLAIM}" not found'
    assert word in found["message"]
    if not phase:
        api.add_claim()
    else:
        api.mutate("persistentvolumeclaims", CLAIM, lambda c: c["status"].update(phase="Bound"))
    await cluster.settle()
    assert conditions(api)[-1] == "Complete"


# Deleting and stopping


async def test_deleting_a_job_sends_sigterm_to_its_pod(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, succeed(hold=True, stop_seconds=3))
    api.delete("jobs", "a")
    await cluster.settle()
    (pod,) = api.objects("pods")
    assert "deletionTimestamp" in pod["metadata"]
    assert pod["status"]["phase"] == "Running"
    await cluster.advance(3)
    assert api.objects("pods") == []
    last = [c.new.obj for c in api.storage.changes if c.kind.plural == "pods"][-1]
    assert ended(last)["exitCode"] == 143


async def test_a_pod_that_does_not_stop_is_killed_after_its_grace_period(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await play(api, cluster, succeed(hold=True, stop_seconds=1000))
    cluster.delete_pods("a")
    await cluster.settle()
    await cluster.advance(29)
    assert len(api.objects("pods")) == 1
    await cluster.advance(1)
    last = [c.new.obj for c in api.storage.changes if c.kind.plural == "pods"][-1]
    assert ended(last)["exitCode"] == 137


async def test_a_pod_deleted_before_it_ran(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, slow_start())
    cluster.delete_pods("a")
    await cluster.settle()
    last = [c.new.obj for c in api.storage.changes if c.kind.plural == "pods"][-1]
    assert ended(last)["reason"] == "ContainerStatusUnknown"
    assert conditions(api)[-1] == "Failed"


@pytest.mark.parametrize("policy", ["Failed", "TerminatingOrFailed"])
async def test_when_a_terminating_pod_counts_as_failed(
    api: FakeApi, cluster: FakeCluster, policy: str
) -> None:
    script = succeed(hold=True, stop_seconds=20)
    await play(api, cluster, script, podReplacementPolicy=policy)
    cluster.delete_pods("a")
    await cluster.settle()
    early = policy == "TerminatingOrFailed"
    assert conditions(api) == (["FailureTarget"] if early else [])
    assert api.get("jobs", "a")["status"]["terminating"] == 1
    await cluster.advance(20)
    assert conditions(api) == ["FailureTarget", "Failed"]


async def test_the_pods_own_deadline(api: FakeApi, cluster: FakeCluster) -> None:
    cluster.script("a", succeed(hold=True))
    body = job("a")
    body["spec"]["template"]["spec"]["activeDeadlineSeconds"] = 100
    api.create(body)
    await cluster.settle()
    await cluster.advance(100)
    (pod,) = cluster.pods("a")
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_ttl_of_a_job(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, succeed(), ttlSecondsAfterFinished=50)
    await cluster.advance(49)
    assert len(api.objects("jobs")) == 1
    await cluster.advance(1)
    assert api.objects("jobs") == api.objects("pods") == []


async def test_an_unsupported_field_is_an_error(api: FakeApi, cluster: FakeCluster) -> None:
    body = job("a")
    body["spec"]["activeDeadlineSeconds"] = 5
    api.create(body)
    with pytest.raises(NotImplementedError, match="activeDeadlineSeconds"):
        await cluster.settle()


async def test_a_timeout_describes_the_state_of_the_cluster(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await play(api, cluster, succeed(hold=True))
    with pytest.raises(AssertionError, match="timed out") as caught:
        await api.until(lambda: api.objects("leases"), seconds=0.01)
    assert "jobs a:" in str(caught.value)
    assert "Running" in str(caught.value)


async def test_an_error_of_the_simulation_fails_a_waiting_test(
    api: FakeApi, cluster: FakeCluster
) -> None:
    body = job("a")
    body["spec"]["activeDeadlineSeconds"] = 5
    api.simulation.start()
    api.create(body)
    with pytest.raises(NotImplementedError):
        await api.until(lambda: conditions(api))
    with pytest.raises(NotImplementedError):
        await api.manual()


# Nodes


async def test_a_lost_node_keeps_its_pod(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await play(api, cluster, succeed(hold=True, node="node-1"))
    cluster.lose_node("node-1")
    await cluster.settle()
    (pod,) = cluster.pods("a")
    found = podstatus.condition(pod["status"], "Ready")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "NodeNotReady")
    assert pod["status"]["phase"] == "Running"
    await cluster.advance(299)
    assert "deletionTimestamp" not in cluster.pods("a")[0]["metadata"]
    await cluster.advance(1)
    await cluster.advance(86400)
    (pod,) = cluster.pods("a")
    assert "deletionTimestamp" in pod["metadata"]
    assert pod["status"]["phase"] == "Running"
    found = podstatus.condition(pod["status"], "DisruptionTarget")
    assert found is not None
    assert found["reason"] == "DeletionByTaintManager"
    cluster.restore_node("node-1")
    await cluster.settle()
    assert cluster.pods("a") == []


async def test_a_toleration_sets_the_time_until_eviction(
    api: FakeApi, cluster: FakeCluster
) -> None:
    cluster.script("a", succeed(hold=True, node="node-1"))
    body = job("a")
    body["spec"]["template"]["spec"]["tolerations"] = [
        {
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 30,
        }
    ]
    api.create(body)
    await cluster.settle()
    cluster.lose_node("node-1")
    await cluster.settle()
    await cluster.advance(30)
    assert "deletionTimestamp" in cluster.pods("a")[0]["metadata"]


async def test_a_node_that_comes_back_in_time_keeps_its_pod(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await play(api, cluster, succeed(hold=True, node="node-1"))
    cluster.lose_node("node-1")
    await cluster.settle()
    cluster.restore_node("node-1")
    await cluster.settle()
    (pod,) = cluster.pods("a")
    found = podstatus.condition(pod["status"], "Ready")
    assert found is not None
    assert found["status"] == "True"
    cluster.finish("a")
    await cluster.settle()
    assert conditions(api)[-1] == "Complete"


async def test_a_lost_pod_reports_its_end_when_its_node_is_back(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await play(api, cluster, succeed(hold=True, node="node-1"))
    cluster.lose_node("node-1")
    await cluster.settle()
    await cluster.advance(300)
    cluster.restore_node("node-1", succeed(size=5))
    await cluster.settle()
    last = [c.new.obj for c in api.storage.changes if c.kind.plural == "pods"][-1]
    assert last["status"]["phase"] == "Succeeded"


async def test_drain(api: FakeApi, cluster: FakeCluster) -> None:
    await play(api, cluster, succeed(hold=True, node="node-1"))
    cluster.drain("node-1")
    await cluster.settle()
    assert conditions(api)[-1] == "Failed"
    cluster.script("b", succeed(hold=True))
    api.create(job("b"))
    await cluster.settle()
    assert cluster.pods("b")[0]["spec"]["nodeName"] == "node-2"


# Logs


async def log(api: FakeApi, pod: Obj, **query: str) -> tuple[int, bytes]:
    url = f"{api.url}/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/log"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params=query) as response,
    ):
        return response.status, await response.read()


async def test_logs(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await play(api, cluster, succeed(hold=True, logs=b"one\ntwo\n"))
    api.clock.advance(10)
    cluster.log("a", b"three\n\xff\x00four\n")
    assert await log(api, pod) == (200, b"one\ntwo\nthree\n\xff\x00four\n")
    assert await log(api, pod, tailLines="1") == (200, b"\xff\x00four\n")
    assert await log(api, pod, sinceSeconds="5", limitBytes="8") == (200, b"three\n\xff\x00")
    stamp = api.clock.stamp(shift=-5)
    assert (await log(api, pod, sinceTime=stamp))[1].startswith(b"three")
    assert (await log(api, pod, timestamps="true", tailLines="1"))[1].startswith(
        stamp[:10].encode()
    )


async def test_a_followed_log_ends_with_its_container(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await play(api, cluster, succeed(hold=True, logs=b"one\n"))
    url = f"{api.url}/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/log?follow=true"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert await response.content.readline() == b"one\n"
        cluster.log("a", b"two\n")
        assert await response.content.readline() == b"two\n"
        cluster.finish("a")
        assert await response.content.readline() == b""


async def test_no_log_before_the_container_runs(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await play(api, cluster, image_pull())
    code, text = await log(api, pod)
    assert code == 400
    assert b"is waiting to start: ImagePullBackOff" in text
