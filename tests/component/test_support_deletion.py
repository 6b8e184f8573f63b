"""Deletion in the API server: policies, finalizers, grace periods, garbage collection."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.aio.client import ApiException, BatchV1Api, CoreV1Api, CustomObjectsApi

from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.errors import Obj
from tests.component.support.scripts import succeed
from tests.component.support.tools import client, conversion_job

pytestmark = pytest.mark.judged

CJ = ("converter.mynetwork.io", "v1alpha1", NAMESPACE, "conversionjobs")


def job(name: str, owner: Obj | None = None, *, blocks: bool = True) -> Obj:
    meta: Obj = {"name": name}
    if owner is not None:
        meta["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": blocks,
            }
        ]
    container = {"name": "c", "image": "i:1"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"backoffLimit": 0, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


async def running_job(api: FakeApi, cluster: FakeCluster, name: str = "a") -> Obj:
    """A Job whose pod runs. Stops automatic mode."""
    await api.manual()
    cluster.script(name, succeed(hold=True))
    api.create(job(name))
    await cluster.settle()
    (pod,) = cluster.pods(name)
    assert pod["status"]["phase"] == "Running"
    return pod


async def delete_job(api: FakeApi, name: str = "a", **options: Any) -> Any:
    async with client(api.url) as http:
        return await BatchV1Api(http).delete_namespaced_job(name, NAMESPACE, **options)


def deletions(api: FakeApi, since: int) -> list[str]:
    """The kinds of the objects that were removed after a version, in this order."""
    later = (change for change in api.storage.changes if change.rv > since)
    return [change.kind.plural for change in later if change.type == "DELETED"]


async def test_a_job_deleted_without_a_policy_leaves_its_pods(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await running_job(api, cluster)
    await delete_job(api)
    await cluster.settle()
    assert api.objects("jobs") == []
    (pod,) = api.objects("pods")
    assert pod["status"]["phase"] == "Running"
    assert "ownerReferences" not in pod["metadata"]
    assert "finalizers" not in pod["metadata"]


async def test_background_deletion_removes_the_job_first(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await running_job(api, cluster)
    before = api.storage.rv
    status = await delete_job(api, propagation_policy="Background")
    assert status["status"] == "Success"
    assert api.objects("jobs") == []
    await cluster.settle()
    assert api.objects("pods") == []
    assert deletions(api, before) == ["jobs", "pods"]


async def test_foreground_deletion_removes_the_job_last(api: FakeApi, cluster: FakeCluster) -> None:
    await running_job(api, cluster)
    await delete_job(api, propagation_policy="Foreground")
    (left,) = api.objects("jobs")
    assert left["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert "deletionTimestamp" in left["metadata"]
    before = api.storage.rv
    await cluster.settle()
    assert deletions(api, before) == ["pods", "jobs"]


async def test_foreground_deletion_waits_for_a_slow_pod(api: FakeApi, cluster: FakeCluster) -> None:
    await api.manual()
    api.clock.freeze()
    cluster.script("a", succeed(hold=True, stop_seconds=20))
    api.create(job("a"))
    await cluster.settle()
    await delete_job(api, propagation_policy="Foreground")
    await cluster.settle()
    (pod,) = api.objects("pods")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 30
    assert pod["status"]["phase"] == "Running"
    await cluster.advance(19)
    assert len(api.objects("jobs")) == 1
    await cluster.advance(1)
    assert api.objects("jobs") == api.objects("pods") == []


async def test_foreground_deletion_does_not_wait_for_dependents_that_do_not_block(
    api: FakeApi,
) -> None:
    await api.manual()
    owner = api.create(conversion_job("a"))
    api.create(job("child", owner, blocks=False))
    api.patch("jobs", "child", {"metadata": {"finalizers": ["test.example/hold"]}})
    api.delete("conversionjobs", "a", propagation="Foreground")
    await api.settle()
    assert api.objects("conversionjobs") == []
    assert "deletionTimestamp" in api.get("jobs", "child")["metadata"]


async def test_dependents_of_a_deleted_owner_are_deleted(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await api.manual()
    cluster.default = succeed(hold=True)
    owner = api.create(conversion_job("a"))
    api.create(job("child", owner))
    await cluster.settle()
    assert len(api.objects("pods")) == 1
    async with client(api.url) as http:
        await CustomObjectsApi(http).delete_namespaced_custom_object(*CJ, "a")
    await cluster.settle()
    assert api.objects("jobs") == api.objects("pods") == []


async def test_an_owner_of_the_same_name_but_another_uid_is_no_owner(api: FakeApi) -> None:
    owner = api.create(conversion_job("a"))
    api.delete("conversionjobs", "a")
    api.create(conversion_job("a"))
    api.create(job("child", owner))
    await api.until(lambda: api.objects("jobs") == [], what="the Job to be deleted")
    assert api.find("conversionjobs", "a")


async def test_a_finalizer_holds_an_object(api: FakeApi) -> None:
    await api.manual()
    api.create(conversion_job("a", metadata={"finalizers": ["test.example/hold"]}))
    api.delete("conversionjobs", "a")
    left = api.get("conversionjobs", "a")
    assert left["metadata"]["deletionTimestamp"]
    assert left["metadata"]["generation"] == 2
    async with client(api.url) as http:
        custom = CustomObjectsApi(http)
        with pytest.raises(ApiException) as caught:
            await custom.patch_namespaced_custom_object(
                *CJ,
                "a",
                {"metadata": {"finalizers": ["test.example/hold", "test.example/more"]}},
            )
        assert caught.value.status == 422
        await custom.patch_namespaced_custom_object(*CJ, "a", {"metadata": {"finalizers": None}})
    assert api.find("conversionjobs", "a") is None
    await api.until(lambda: api.storage.changes[-1].type == "DELETED", what="the change")


@pytest.mark.parametrize("key", ["uid", "resourceVersion"])
async def test_preconditions(api: FakeApi, key: str) -> None:
    good = api.create(conversion_job("a"))["metadata"][key]
    async with client(api.url) as http:
        delete: Any = CustomObjectsApi(http).delete_namespaced_custom_object
        body = {"preconditions": {key: "wrong"}}
        with pytest.raises(ApiException) as caught:
            await delete(*CJ, "a", body=body)
        assert caught.value.status == 409
        assert api.find("conversionjobs", "a")
        await delete(*CJ, "a", body={"preconditions": {key: good}})
    assert api.find("conversionjobs", "a") is None


async def test_an_unknown_propagation_policy_is_rejected(api: FakeApi) -> None:
    await api.manual()
    api.create(job("a"))
    with pytest.raises(ApiException) as caught:
        await delete_job(api, propagation_policy="Sideways")
    assert caught.value.status == 422


async def test_a_deleted_pod_keeps_its_grace_period(api: FakeApi, cluster: FakeCluster) -> None:
    pod = await running_job(api, cluster)
    async with client(api.url) as http:
        core = CoreV1Api(http)
        name = pod["metadata"]["name"]
        answer = await core.delete_namespaced_pod(name, NAMESPACE)
        assert answer.metadata is not None
        assert answer.metadata.deletion_timestamp is not None
        assert answer.metadata.deletion_grace_period_seconds == 30
        answer = await core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=5)
        assert answer.metadata is not None
        assert answer.metadata.deletion_grace_period_seconds == 5
    assert len(api.objects("pods")) == 1


@pytest.mark.parametrize("phase", ["Pending", "Succeeded"])
async def test_a_pod_that_does_not_run_is_deleted_at_once(api: FakeApi, phase: str) -> None:
    await api.manual()
    container = {"name": "c", "image": "i:1"}
    meta = {"name": "a", "namespace": NAMESPACE}
    spec = {"containers": [container]}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    if phase == "Succeeded":
        api.mutate("pods", "a", lambda pod: pod["spec"].update(nodeName="node-1"))
        api.mutate("pods", "a", lambda pod: pod["status"].update(phase=phase))
    api.delete("pods", "a")
    assert api.objects("pods") == []


async def test_delete_collection_by_label(api: FakeApi) -> None:
    await api.manual()
    for name in ("a", "b"):
        api.create(job(name) | {"metadata": {"name": name, "labels": {"x": name}}})
    async with client(api.url) as http:
        await BatchV1Api(http).delete_collection_namespaced_job(
            NAMESPACE, label_selector="x=a", propagation_policy="Background"
        )
    assert [left["metadata"]["name"] for left in api.objects("jobs")] == ["b"]


async def test_deleting_a_namespace_deletes_everything_in_it(
    api: FakeApi, cluster: FakeCluster
) -> None:
    await running_job(api, cluster)
    api.create(conversion_job("a"))
    await api.automatic()
    api.delete_namespace()
    await api.until(lambda: api.find("namespaces", NAMESPACE) is None, what="its end")
    for resource in ("conversionjobs", "jobs", "pods", "events", "persistentvolumeclaims"):
        assert api.objects(resource, NAMESPACE) == []
