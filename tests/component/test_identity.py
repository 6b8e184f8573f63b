"""Jobs and pods that somebody else created with our labels: not read, not killed, no slot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from conversion_operator.api import names
from conversion_operator.cluster.mark_key import KEY_ANNOTATION, UNMARKED_BEFORE_ANNOTATION
from conversion_operator.controller.leadership import NAME
from conversion_operator.core.identity import MarkKey
from conversion_operator.core.manifest import job_name
from media_converter.contract import ExitReason
from tests.component.marks import ONE_IS_ENOUGH
from tests.component.running import Running, attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.kinds import EVENTS
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job

Body = dict[str, Any]

OTHER: Final = "other"
FORGED_SIZE: Final = 666
REAL_SIZE: Final = 12


def uid_of(api: FakeApi, name: str) -> str:
    uid: str = api.get("conversionjobs", name)["metadata"]["uid"]
    return uid


def job_of(api: FakeApi, name: str, attempt: int = 1) -> Body:
    return api.get("jobs", job_name(uid_of(api, name), attempt))


def mark_of(body: Body) -> str:
    mark: str = body["metadata"]["annotations"][names.MARK_ANNOTATION]
    return mark


def metadata(name: str, uid: str, attempt: int, mark: str = "", namespace: str = NAMESPACE) -> Body:
    """Everything that we write on a Job or pod, except its owner reference."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": {
            names.NAME_LABEL: names.CONVERTER_NAME,
            names.MANAGED_BY_LABEL: names.MANAGED_BY,
            names.UID_LABEL: uid,
            names.ATTEMPT_LABEL: str(attempt),
        },
        "annotations": {names.MARK_ANNOTATION: mark} if mark else {},
    }


def owner(kind: str, name: str, uid: str) -> Body:
    version = names.API_VERSION if kind == names.KIND else "batch/v1"
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}


def forge_job(api: FakeApi, meta: Body, owned_by: Body | None = None) -> Body:
    """A suspended Job, as a user with the ClusterRole edit may create it."""
    if owned_by:
        meta = meta | {"ownerReferences": [owned_by]}
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta}
    return api.create(job | {"spec": {"suspend": True, "template": template}})


def forge_pod(api: FakeApi, meta: Body, owned_by: Body | None = None) -> Body:
    """A pod whose container writes a report and ends with code 0."""
    if owned_by:
        meta = meta | {"ownerReferences": [owned_by]}
    spec = {"restartPolicy": "Never", "containers": [{"name": "converter", "image": "x"}]}
    return api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


def attempt_99(api: FakeApi, uid: str) -> list[Body]:
    made = forge_job(api, metadata("evil", uid, 99))
    return [made, forge_pod(api, metadata("evil-pod", uid, 99))]


def next_attempt(api: FakeApi, uid: str) -> list[Body]:
    """All names are right, and the mark is the one of the running attempt."""
    mark = mark_of(job_of(api, "c"))
    meta = metadata(job_name(uid, 2), uid, 2, mark)
    made = forge_job(api, meta, owner(names.KIND, "c", uid))
    pod = metadata(f"{job_name(uid, 2)}-x", uid, 2, mark)
    return [made, forge_pod(api, pod, owner("Job", job_name(uid, 2), made["metadata"]["uid"]))]


def false_mark(api: FakeApi, uid: str) -> list[Body]:
    meta = metadata(job_name(uid, 2), uid, 2, "0" * 64)
    made = forge_job(api, meta, owner(names.KIND, "c", uid))
    pod = metadata(f"{job_name(uid, 2)}-x", uid, 2, "0" * 64)
    return [made, forge_pod(api, pod, owner("Job", job_name(uid, 2), made["metadata"]["uid"]))]


def another_namespace(api: FakeApi, uid: str) -> list[Body]:
    """Everything is copied, into another namespace."""
    mark, name = mark_of(job_of(api, "c")), job_name(uid, 1)
    made = forge_job(api, metadata(name, uid, 1, mark, OTHER))
    pod = metadata(f"{name}-x", uid, 1, mark, OTHER)
    return [made, forge_pod(api, pod, owner("Job", name, made["metadata"]["uid"]))]


def copied_mark(api: FakeApi, uid: str) -> list[Body]:
    mark = mark_of(job_of(api, "c"))
    return [forge_pod(api, metadata("a-pod", uid, 1, mark))]


def copied_mark_of_a_job_without_labels(api: FakeApi, uid: str) -> list[Body]:
    mark = mark_of(job_of(api, "c"))
    hidden = forge_job(api, {"name": "hidden", "namespace": NAMESPACE})
    owned_by = owner("Job", "hidden", hidden["metadata"]["uid"])
    return [forge_pod(api, metadata("a-pod", uid, 1, mark), owned_by)]


ATTACKS: Final[dict[str, Callable[[FakeApi, str], list[Body]]]] = {
    "attempt 99": attempt_99,
    "next attempt, copied mark": next_attempt,
    "next attempt, false mark": false_mark,
    "another namespace": another_namespace,
    "pod with a copied mark": copied_mark,
    "pod of another Job with a copied mark": copied_mark_of_a_job_without_labels,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("restart", [False, True], ids=["", "restart"])
async def test_a_forged_result_is_not_read(
    api: FakeApi,
    cluster: FakeCluster,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    attack: Callable[[FakeApi, str], list[Body]],
    restart: bool,
) -> None:
    """The conversion ends with its own result. Nothing forged is deleted; an Event names each."""
    caplog.set_level(logging.INFO)
    api.add_namespace(OTHER)
    cluster.default = succeed(size=FORGED_SIZE)
    cluster.script("c", succeed(size=REAL_SIZE, hold=True))
    settings: dict[str, Any] = {"watch_namespaces": f"{NAMESPACE},{OTHER}"}

    async def forge(op: Running) -> list[Body]:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        made = attack(api, uid_of(api, "c"))
        await api.until(lambda: op.metric("converter_foreign_children") == len(made), 20)
        return made

    async def finish(op: Running, made: list[Body]) -> None:
        await api.until(lambda: op.metric("converter_foreign_children") == len(made), 20)
        await op.reconcile_all()
        assert phase_of(api, "c") == "Running"
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")

    async with running(api, tmp_path, **settings) as op:
        made = await forge(op)
        if restart:
            await op.kill()
        else:
            await finish(op, made)
    if restart:
        async with running(api, tmp_path, **settings) as op:
            await finish(op, made)
    assert attempts_of(api, "c") == ["Completed"]
    assert status_of(api, "c")["outputSize"] == REAL_SIZE
    for body in made:
        resource, name = f"{body['kind'].lower()}s", body["metadata"]["name"]
        assert not api.audit.matching(verb="delete", resource=resource, name=name)
    if not restart and made[0]["metadata"]["namespace"] == NAMESPACE:
        events = [event for event in api.objects(EVENTS) if event["reason"].startswith("Foreign")]
        told = [(event["reason"], event["involvedObject"]["name"]) for event in events]
        assert sorted(told) == sorted((f"Foreign{body['kind']}", "c") for body in made)
        for body in made:
            assert sum(f" {body['metadata']['name']} " in e["message"] for e in events) == 1


async def test_a_second_pod_of_our_job_is_not_read(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Its owner reference and its mark are copied. It holds a slot: the Job may have made it."""
    cluster.default = succeed(size=FORGED_SIZE, hold=True)
    cluster.script("c", succeed(size=REAL_SIZE, hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        job = job_of(api, "c")
        owned_by = owner("Job", job["metadata"]["name"], job["metadata"]["uid"])
        forge_pod(api, metadata("a-pod", uid_of(api, "c"), 1, mark_of(job)), owned_by)
        await api.until(lambda: op.metric("converter_running") == 2, 20)
        await op.reconcile_all()
        assert phase_of(api, "c") == "Running"
        real = status_of(api, "c")["podName"]
        cluster.finish("a-pod")
        await api.until(lambda: op.metric("converter_running") == 1, 20)
        assert phase_of(api, "c") == "Running"
        cluster.finish(real)
        await until_phase(api, "c", "Succeeded")
    assert status_of(api, "c")["outputSize"] == REAL_SIZE


async def test_a_first_pod_of_our_job_is_not_read_without_a_mark(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A quota rejects the pod of our Job. Somebody creates one with its owner reference."""
    cluster.forbid_pods(NAMESPACE, "exceeded quota")
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: bool(api.objects("jobs")), 20)
        job = job_of(api, "c")
        cluster.allow_pods(NAMESPACE)
        owned_by = owner("Job", job["metadata"]["name"], job["metadata"]["uid"])
        forge_pod(api, metadata("a-pod", uid_of(api, "c"), 1), owned_by)
        await api.until(lambda: op.metric("converter_foreign_children") == 1, 20)
        await until_phase(api, "c", "Succeeded", 60)
    forged = api.get("pods", "a-pod")["metadata"]["uid"]
    assert forged not in [attempt.get("podUID") for attempt in status_of(api, "c")["attempts"]]
    assert status_of(api, "c")["podName"] != "a-pod"


async def test_forged_pods_of_our_job_hold_no_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Their owner reference is copied, but not their mark. Finalizers keep them terminating."""
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=2) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        job = job_of(api, "c")
        owned_by = owner("Job", job["metadata"]["name"], job["metadata"]["uid"])
        for number in range(3):
            meta = metadata(f"evil-{number}", uid_of(api, "c"), 1)
            forge_pod(api, meta | {"finalizers": ["example.com/forever"]}, owned_by)
        await api.until(lambda: op.metric("converter_foreign_children") == 3, 20)
        assert op.metric("converter_running") == 1
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Running", 20)


async def test_a_pod_without_our_label_is_not_listed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """No policy rejects it, so its copied mark must not make it the pod of a finished Job."""
    cluster.forbid_pods(NAMESPACE, "exceeded quota")
    cluster.default = succeed(size=FORGED_SIZE)
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: bool(api.objects("jobs")), 20)
        job = job_of(api, "c")
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        cluster.allow_pods(NAMESPACE)
        meta = metadata("a-pod", uid_of(api, "c"), 1, mark_of(job))
        del meta["labels"][names.MANAGED_BY_LABEL]
        forge_pod(api, meta, owner("Job", name, uid))
        cluster.forbid_pods(NAMESPACE, "exceeded quota")
        await api.until(lambda: api.get("pods", "a-pod")["status"].get("phase") == "Succeeded", 20)
        failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
        api.mutate("jobs", name, lambda body: body.update(status={"conditions": [failed]}))
        await until_phase(api, "c", "Failed", 20)
        assert op.metric("converter_foreign_children") == 0
    assert attempts_of(api, "c") == ["DeadlineExceeded"]


@pytest.mark.parametrize("restart", [False, True], ids=["", "restart"])
async def test_the_result_of_a_deleted_pod_is_not_replaced(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, restart: bool
) -> None:
    """The Job and its pod are deleted, and a pod with the copied mark succeeds."""
    cluster.default = succeed(size=FORGED_SIZE)
    cluster.script("c", succeed(hold=True), succeed(size=REAL_SIZE))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        uid, mark = uid_of(api, "c"), mark_of(job_of(api, "c"))
        if restart:
            await op.kill()
        forge_pod(api, metadata("a-pod", uid, 1, mark))
        api.delete("jobs", job_name(uid, 1))
        cluster.delete_pods("c", force=True)
        if not restart:
            await until_phase(api, "c", "Succeeded", 20)
    if restart:
        async with running(api, tmp_path):
            await until_phase(api, "c", "Succeeded", 20)
    assert attempts_of(api, "c") == ["JobDeleted", "Completed"]
    assert status_of(api, "c")["outputSize"] == REAL_SIZE


@pytest.mark.parametrize("mark", ["", "0" * 64])
@pytest.mark.parametrize("first_leader", [True, False])
async def test_a_job_with_our_name_and_owner_but_no_mark_is_not_adopted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, mark: str, first_leader: bool
) -> None:
    """JobNameTaken until it is deleted. The conversion does not run with it."""
    async with running(api, tmp_path, converter_max_parallel=0) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        uid = uid_of(api, "c")
        name = job_name(uid, 1)
        forged = forge_job(api, metadata(name, uid, 1, mark), owner(names.KIND, "c", uid))
        forge_pod(
            api,
            metadata(f"{name}-x", uid, 1, mark),
            owner("Job", name, forged["metadata"]["uid"]),
        )
        if first_leader:
            op.configure(converter_max_parallel=1)
            await api.until(lambda: status_of(api, "c").get("reason") == "JobNameTaken", 20)
    async with running(api, tmp_path, converter_max_parallel=1):
        await api.until(lambda: status_of(api, "c").get("reason") == "JobNameTaken", 30)
        assert "attempts" not in status_of(api, "c")
        api.delete("jobs", name)
        await until_phase(api, "c", "Succeeded", 60)
    job = api.find("jobs", name)
    assert job is None or mark_of(job) != mark


@pytest.mark.parametrize("counts", [False, True], ids=["without our label", "ours"])
async def test_a_copied_mark_does_not_count_without_our_label(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, counts: bool
) -> None:
    """The policies of Jobs look at this label. The operator finds a Job by its name too."""
    cluster.default = succeed(size=REAL_SIZE)
    async with running(api, tmp_path, converter_max_parallel=0):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
    uid, name = uid_of(api, "c"), job_name(uid_of(api, "c"), 1)
    secret = bytes.fromhex(api.get("leases", NAME)["metadata"]["annotations"][KEY_ANNOTATION])
    meta = metadata(name, uid, 1, MarkKey(secret).mark(NAMESPACE, uid, 1))
    if not counts:
        del meta["labels"][names.MANAGED_BY_LABEL]
    forge_job(api, meta, owner(names.KIND, "c", uid))
    async with running(api, tmp_path, converter_max_parallel=1):
        await api.until(
            lambda: (
                "attempts" in status_of(api, "c")
                or status_of(api, "c").get("reason") == "JobNameTaken"
            ),
            30,
        )
        assert ("attempts" in status_of(api, "c")) == counts


@pytest.mark.parametrize("all_labels", [False, True], ids=["our label", "all labels"])
@pytest.mark.parametrize("restart", [False, True], ids=["", "restart"])
async def test_a_job_and_pod_without_labels_still_count(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, all_labels: bool, restart: bool
) -> None:
    """``kubectl label … app.kubernetes.io/managed-by-`` hides them from lists and watches."""
    cluster.default = succeed()
    cluster.script("c", succeed(size=REAL_SIZE, hold=True))

    def strip(body: Body) -> None:
        labels = body["metadata"]["labels"]
        for label in list(labels) if all_labels else [names.MANAGED_BY_LABEL]:
            del labels[label]

    async def finish(op: Running) -> None:
        await op.reconcile_all()
        assert op.metric("converter_running") == 1
        assert phase_of(api, "c") == "Running"
        assert len(api.objects("pods")) == 1
        cluster.finish(pod)
        await until_phase(api, "c", "Succeeded", 20)

    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        job, pod = job_of(api, "c")["metadata"]["name"], status_of(api, "c")["podName"]
        if restart:
            await op.kill()
        else:
            api.create(conversion_job("d"))
            await until_phase(api, "d", "Queued")
        api.mutate("jobs", job, strip)
        api.mutate("pods", pod, strip)
        if not restart:
            await api.until(
                lambda: bool(api.audit.matching(verb="get", resource="pods", name=pod)), 20
            )
            await finish(op)
            await until_phase(api, "d", "Succeeded", 20)
    if restart:
        async with running(api, tmp_path, converter_max_parallel=1) as op:
            await api.until(lambda: op.metric("converter_running") == 1, 20)
            await finish(op)
    assert attempts_of(api, "c") == ["Completed"]
    assert status_of(api, "c")["outputSize"] == REAL_SIZE


async def test_foreign_jobs_hold_no_slot(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Suspended Jobs with our labels: no owner, an unknown conversion, and a waiting one."""
    async with running(api, tmp_path, converter_max_parallel=0) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        uid = uid_of(api, "c")
        for number in range(3):
            forge_job(api, metadata(f"unknown-{number}", "unknown", number))
            forge_job(api, metadata(f"waiting-{number}", uid, number))
        await api.until(lambda: op.metric("converter_foreign_children") == 6, 20)
        op.configure(converter_max_parallel=1)
        await until_phase(api, "c", "Succeeded", 20)
        assert op.metric("converter_running") == 0


@pytest.mark.judged
@pytest.mark.parametrize(
    "restart", [pytest.param(False, marks=ONE_IS_ENOUGH), True], ids=["", "restart"]
)
@pytest.mark.parametrize("what", [pytest.param("ConversionJob", marks=ONE_IS_ENOUGH), "both"])
async def test_orphans_hold_their_slot_and_are_deleted_when_they_end(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, restart: bool, what: str
) -> None:
    """``kubectl delete --cascade=orphan`` of the ConversionJob, and also of its Job."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        job, pod = job_of(api, "c")["metadata"]["name"], status_of(api, "c")["podName"]
        if restart:
            await op.kill()
        api.delete("conversionjobs", "c", propagation="Orphan")
        await api.until(lambda: "ownerReferences" not in api.get("jobs", job)["metadata"])
        if what == "both":
            api.delete("jobs", job, propagation="Orphan")
            await api.until(lambda: "ownerReferences" not in api.get("pods", pod)["metadata"])
        if not restart:
            await _orphan_ends(api, cluster, op, pod)
    if restart:
        async with running(api, tmp_path, converter_max_parallel=1) as op:
            await _orphan_ends(api, cluster, op, pod)
    check_all(api, limit=1)


async def _orphan_ends(api: FakeApi, cluster: FakeCluster, op: Running, pod: str) -> None:
    api.create(conversion_job("d"))
    await until_phase(api, "d", "Queued")
    await op.reconcile_all()
    assert op.metric("converter_running") == 1
    assert api.get("pods", pod)["status"]["phase"] == "Running"
    cluster.finish(pod)
    await until_phase(api, "d", "Succeeded", 20)
    await api.until(lambda: api.find("pods", pod) is None, 20)
    owned = {o["name"] for job in api.objects("jobs") for o in job["metadata"]["ownerReferences"]}
    assert owned == {"d"}


async def test_an_orphan_job_without_a_pod_is_deleted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Somebody suspended it. It holds no slot, and it is deleted after the start timeout."""
    cluster.forbid_pods(NAMESPACE, "no pods today")
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: bool(api.objects("jobs")), 20)
        job = job_of(api, "c")["metadata"]["name"]
        api.delete("conversionjobs", "c", propagation="Orphan")
        await api.until(lambda: "ownerReferences" not in api.get("jobs", job)["metadata"])
        cluster.allow_pods(NAMESPACE)
        api.mutate("jobs", job, lambda body: body["spec"].update(suspend=True))
        await api.until(lambda: op.operator.store.conversion("c") is None)
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded", 30)
        assert api.find("jobs", job) is not None
        api.clock.advance(400)
        await op.reconcile_all()
        # The timer of the operator does not follow the clock of the test. A change of what the
        # operator reads has the same effect.
        changed = {names.POD_SETTINGS_ANNOTATION: "b"}
        api.mutate("jobs", job, lambda body: body["metadata"]["annotations"].update(changed))
        await api.until(lambda: api.find("jobs", job) is None, 30)


async def test_the_status_records_the_uids(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", fail(ExitReason.DISK_FULL), succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded", 60)
    recorded = status_of(api, "c")["attempts"]
    jobs = [job_of(api, "c", attempt)["metadata"]["uid"] for attempt in (1, 2)]
    assert [attempt["jobUID"] for attempt in recorded] == jobs
    pods = {pod["metadata"]["uid"] for pod in api.objects("pods")}
    assert {attempt["podUID"] for attempt in recorded} == pods


def _without_marks(api: FakeApi) -> None:
    """Make everything look as a release without marks has left it."""
    for resource in ("jobs", "pods"):
        for body in api.objects(resource):
            api.mutate(
                resource,
                body["metadata"]["name"],
                lambda body: body["metadata"]["annotations"].pop(names.MARK_ANNOTATION, None),
            )
    for conversion in api.objects("conversionjobs"):
        api.mutate("conversionjobs", conversion["metadata"]["name"], _without_uids)
    api.mutate("leases", NAME, lambda body: body["metadata"]["annotations"].pop(KEY_ANNOTATION))


def _without_uids(body: Body) -> None:
    for attempt in (body.get("status") or {}).get("attempts") or ():
        attempt.pop("jobUID", None)
        attempt.pop("podUID", None)


@pytest.mark.parametrize("recorded", [True, False], ids=["in the status", "not in the status"])
async def test_an_upgrade_continues_what_runs(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, recorded: bool
) -> None:
    """The former release made no marks. Its Job is older than the key, so it is not forged."""
    cluster.script("c", succeed(hold=True), succeed(size=FORGED_SIZE))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        await op.kill()
    _without_marks(api)
    if not recorded:
        api.mutate("conversionjobs", "c", lambda body: body.pop("status"))
    api.clock.advance(2)
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        await until_phase(api, "c", "Running", 20)
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Queued", 20)
        assert op.metric("converter_foreign_children") == 0
        assert op.metric("converter_running") == 1
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded", 20)
        await until_phase(api, "d", "Succeeded", 20)
    assert attempts_of(api, "c") == ["Completed"]
    assert status_of(api, "c")["attempts"][0]["jobUID"] == job_of(api, "c")["metadata"]["uid"]
    check_all(api, limit=1)


async def test_a_job_forged_after_an_upgrade_is_not_adopted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The Job of the former release is deleted, and one that looks the same takes its name."""
    cluster.default = succeed(size=FORGED_SIZE)
    cluster.script("c", succeed(hold=True), succeed(size=REAL_SIZE))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        await op.kill()
    _without_marks(api)
    uid, name = uid_of(api, "c"), job_name(uid_of(api, "c"), 1)
    api.clock.advance(2)
    api.delete("jobs", name)
    cluster.delete_pods("c", force=True)
    await api.until(lambda: api.find("jobs", name) is None)
    forged = forge_job(api, metadata(name, uid, 1), owner(names.KIND, "c", uid))
    forge_pod(api, metadata("a-pod", uid, 1), owner("Job", name, forged["metadata"]["uid"]))
    api.clock.advance(2)
    async with running(api, tmp_path) as op:
        await until_phase(api, "c", "Succeeded", 60)
        assert op.metric("converter_foreign_children") == 2
    assert attempts_of(api, "c") == ["JobDeleted", "Completed"]
    assert status_of(api, "c")["outputSize"] == REAL_SIZE


async def test_recorded_uids_count_without_the_key(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Somebody deletes the Lease and with it the key. The next leader makes another key."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        await op.kill()
    api.delete("leases", NAME)
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.metric("converter_running") == 1, 20)
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded", 20)
        assert op.metric("converter_foreign_children") == 0
    assert attempts_of(api, "c") == ["Completed"]


async def test_the_key_survives_release_and_takeover(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    keys = []
    for identity in ("op-a", "op-b"):
        async with running(api, tmp_path, identity):
            api.create(conversion_job(identity))
            await until_phase(api, identity, "Succeeded", 20)
        annotations = api.get("leases", NAME)["metadata"]["annotations"]
        assert UNMARKED_BEFORE_ANNOTATION not in annotations
        keys.append(annotations[KEY_ANNOTATION])
    assert keys[0] == keys[1]
    assert len(bytes.fromhex(keys[0])) == 32
