"""Faults between the operator and the cluster. Afterwards nothing is lost, doubled or left over."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.controller import admitter
from conversion_operator.core.naming import job_name
from conversion_operator.core.statuses import STATUS_MAX_BYTES
from tests.component.running import attempts_of, phase_of, running, status_of
from tests.component.support import FakeApi, World
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

STATUS: dict[str, Any] = {
    "verb": "patch",
    "resource": "conversionjobs",
    "subresource": "status",
}
CREATE: dict[str, Any] = {"verb": "create", "resource": "jobs"}
RENEWAL: dict[str, Any] = {"verb": "update", "resource": "leases"}


@pytest.mark.parametrize("carried_out", [True, False], ids=["answer lost", "request lost"])
@pytest.mark.parametrize("moment", ["create", "first status", "last status"])
async def test_killed_at_a_write(
    api: FakeApi, world: World, tmp_path: Path, moment: str, carried_out: bool
) -> None:
    """F1: the process dies at a write, which may or may not have arrived."""
    fault = api.faults.drop_answer if carried_out else api.faults.black_hole
    write = CREATE if moment == "create" else STATUS
    world.script("c", succeed(hold=True))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.heart.ready)
        if moment == "last status":
            api.create(conversion_job("c"))
            await api.until(lambda: phase_of(api, "c") == "Running")
        with fault(**write) as struck:
            if moment == "last status":
                world.finish("c")
            else:
                api.create(conversion_job("c"))
            await struck.wait_hit()
            await op.kill()
    async with running(api, tmp_path):
        if moment != "last status":
            await api.until(lambda: phase_of(api, "c") == "Running", 20)
            world.finish("c")
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=3)


async def test_answer_of_a_create_lost_and_operator_alive(
    api: FakeApi, world: World, tmp_path: Path
) -> None:
    with api.faults.drop_answer(times=3, **CREATE):
        async with running(api, tmp_path, converter_max_parallel=1):
            for n in range(3):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(3)), 20
            )
    check_all(api, limit=1)


async def test_a_create_without_an_answer_keeps_its_slot_though_nobody_wants_it_any_more(
    api: FakeApi, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be carried out yet, as it is here."""
    monkeypatch.setattr(admitter, "_LATE_CREATE", 12.0)  # 75 s
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.hold(times=1, **CREATE) as late:
            api.create(conversion_job("c"))
            await late.wait_hit()
            api.create(conversion_job("d"))
            api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
            await api.until(lambda: phase_of(api, "c") == "Cancelled", 20)
            (request,) = api.audit.matching(**CREATE)
            await api.until(lambda: request.outcome == "client gone", 20)
            renewals = api.audit.count(**RENEWAL)
            await api.until(lambda: api.audit.count(**RENEWAL) > renewals + 1, 20)
            assert api.audit.matching(**CREATE) == [request]
            late.release()
            await api.until(lambda: request.code == 201)
        await api.until(lambda: phase_of(api, "d") == "Succeeded", 40)
        await api.until(lambda: not world.jobs("c"), 20)
    check_all(api, limit=1)


async def test_a_create_without_an_answer_is_given_up_in_the_end(
    api: FakeApi, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request is carried out later than that: the slot is not kept for one for ever."""
    monkeypatch.setattr(admitter, "_LATE_CREATE", 3.0)  # 75 s
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.black_hole(times=1, **CREATE) as lost:
            api.create(conversion_job("c"))
            await lost.wait_hit()
            api.create(conversion_job("d"))
            api.delete("conversionjobs", "c")
            await api.until(lambda: phase_of(api, "d") == "Succeeded", 40)
    check_all(api, limit=1)


async def test_api_server_away(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F2: it resumes by itself."""
    world.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        async with api.down():
            world.finish("c")
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 30)
    check_all(api, limit=3)


@pytest.mark.parametrize("how", ["close", "abort", "expire"])
@pytest.mark.parametrize("resource", ["jobs", "pods", "conversionjobs"])
async def test_watch_ends(
    api: FakeApi, world: World, tmp_path: Path, resource: str, how: str
) -> None:
    """F3: what changed while a watch was broken is seen afterwards."""
    world.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        for watch in api.watches(resource=resource):
            getattr(watch, how)()
        world.finish("c")
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
    check_all(api, limit=3)


async def test_one_namespace_is_forbidden(api: FakeApi, world: World, tmp_path: Path) -> None:
    """I6: the others are served all the same."""
    with api.faults.forbid(namespace="theirs"):
        async with running(api, tmp_path, watch_namespaces="my-network,theirs") as op:
            api.create(conversion_job("c"))
            await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
            assert not op.task.done()


async def test_the_pods_watch_lags_behind_that_of_jobs(
    api: FakeApi, world: World, tmp_path: Path
) -> None:
    """F4: a finished Job whose pod is not seen yet is asked for its word, not converted again."""
    world.script("c", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        with api.faults.hold_watches(resource="pods"):
            world.finish("c")
            await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=3)


async def test_kopf_gives_up(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F3: kopf ends as a whole over a watch that is answered 410; the operator goes on."""
    world.default = succeed(hold=True)
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        with api.faults.status(410, times=1, verb="watch", resource="conversionjobs") as struck:
            for watch in api.watches(resource="conversionjobs"):
                watch.close()
            await struck.wait_hit()
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "d") == "Running", 20)
        assert not op.task.done()
        world.finish("c")
        world.finish("d")
        await api.until(lambda: phase_of(api, "d") == "Succeeded", 20)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("resource", ["pods", "conversionjobs"])
async def test_watch_goes_silent(api: FakeApi, world: World, tmp_path: Path, resource: str) -> None:
    """F3: a watch that says nothing and does not close is repaired within 90 s."""
    world.default = succeed(hold=True)
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        for watch in api.watches(resource=resource):
            watch.stall()
        world.finish("c")
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 90)
        await api.until(lambda: phase_of(api, "d") == "Running", 90)
        world.finish("d")


async def test_old_versions_replayed(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F4: an end does not go back, and nothing is created again."""
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Succeeded")
        created = api.audit.count(**CREATE)
        name = status_of(api, "c")["jobName"]
        api.replay("conversionjobs", "c")
        api.replay("jobs", name)
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "d") == "Succeeded")
        assert phase_of(api, "c") == "Succeeded"
        assert api.audit.count(**CREATE) == created + 1
    check_all(api, limit=3)


async def test_delayed_watches(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F4: acting on what is old news neither doubles nor over-admits."""
    with api.faults.delay_watches(1.0):
        async with running(api, tmp_path, converter_max_parallel=2):
            for n in range(6):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(6)), 60
            )
    check_all(api, limit=2)


@pytest.mark.parametrize("code", [409, 422, 429, 500, 503])
async def test_a_fifth_of_the_writes_fails(
    api: FakeApi, world: World, tmp_path: Path, code: int
) -> None:
    """F5."""
    with api.faults.status(code, share=0.2, seed=code, verb=("create", "patch", "delete")):
        async with running(api, tmp_path, converter_max_parallel=2):
            for n in range(8):
                api.create(conversion_job(f"c{n}"))
            await api.until(
                lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(8)), 60
            )
    check_all(api, limit=2)


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
@pytest.mark.parametrize("operator_up", [True, False])
async def test_job_deleted_by_hand(
    api: FakeApi, world: World, tmp_path: Path, propagation: str, operator_up: bool
) -> None:
    """F7: a named loss, also if it happened while the operator was down."""
    world.script("c", succeed(hold=True), succeed())
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        if not operator_up:
            await op.kill()
        api.delete("jobs", status_of(api, "c")["jobName"], propagation=propagation)
        if propagation == "Orphan":
            world.finish("c")
        if operator_up:
            await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
    if not operator_up:
        async with running(api, tmp_path):
            await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
    lost = ["Completed"] if propagation == "Orphan" else ["JobDeleted", "Completed"]
    assert attempts_of(api, "c") == lost
    check_all(api, limit=3)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (evicted(), "Evicted"),
        (preempted(), "Preempted"),
        (drained(), "Evicted"),
        (start_error(), "StartError"),
    ],
    ids=["evicted", "preempted", "drained", "start error"],
)
async def test_disruptions_are_retried_free(
    api: FakeApi, world: World, tmp_path: Path, script: Any, reason: str
) -> None:
    """F8."""
    world.script("c", script, script, succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c", maxRetries=0))
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 30)
    assert attempts_of(api, "c") == [reason, reason, "Completed"]
    check_all(api, limit=3)


@pytest.mark.parametrize("force", [True, False])
async def test_pod_deleted_by_hand(api: FakeApi, world: World, tmp_path: Path, force: bool) -> None:
    world.script("c", succeed(hold=True), succeed())
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        world.delete_pods("c", force=force)
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 30)
    assert attempts_of(api, "c") == ["PodDeleted", "Completed"]
    check_all(api, limit=3)


async def test_node_lost(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F10: no second attempt while the pod may run; failed in the end, and the slot is free."""
    world.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "d") == "Queued")
        world.lose_node(status_of(api, "c")["nodeName"])
        world.delete_pods("c")
        api.clock.advance(120)
        await op.look_again()
        await api.until(lambda: status_of(api, "c")["reason"] == "NodeUnreachable", 20)
        assert phase_of(api, "d") == "Queued"
        api.clock.advance(900)
        await op.look_again()
        await api.until(lambda: phase_of(api, "c") == "Failed", 20)
        assert status_of(api, "c")["reason"] == "NodeLost"
        await api.until(lambda: phase_of(api, "d") == "Succeeded", 20)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (image_pull(), "ImagePullFailed"),
        (unschedulable(), "Unschedulable"),
        (failed_create(), "QuotaExceeded"),
    ],
    ids=["image", "unschedulable", "quota"],
)
async def test_one_that_cannot_start(
    api: FakeApi, world: World, tmp_path: Path, script: Any, reason: str
) -> None:
    """F12, F20: says why, gives its slot away after the start timeout, and recovers by itself."""
    world.script("c", script, succeed())
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") is not None)
        api.clock.advance(10)
        await op.look_again()
        await api.until(lambda: status_of(api, "c")["reason"] == reason, 30)
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "d") == "Queued")
        api.clock.advance(300)
        await op.look_again()
        await api.until(lambda: phase_of(api, "d") == "Succeeded", 20)
        assert (phase_of(api, "c"), status_of(api, "c")["reason"]) == ("Queued", reason)
        api.clock.advance(60)
        await op.look_again()
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 30)
    check_all(api, limit=1)


async def test_a_webhook_that_refuses_the_job(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F20: its words are in the status, others go on, and it recovers by itself."""
    async with running(api, tmp_path, converter_max_parallel=1):
        with api.faults.admission_denied("no conversions on Mondays", resource="jobs") as denied:
            api.create(conversion_job("c"))
            await denied.wait_hit()
            await api.until(lambda: status_of(api, "c").get("reason") == "PodRejected", 30)
            assert "no conversions on Mondays" in status_of(api, "c")["message"]
            assert phase_of(api, "c") == "Queued"
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "d") == "Succeeded", 10)
        assert phase_of(api, "c") == "Queued"
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 40)
    assert attempts_of(api, "c") == ["Completed"]
    check_all(api, limit=1)


async def test_deleted_and_created_anew_under_the_same_name(
    api: FakeApi, world: World, tmp_path: Path
) -> None:
    """F14: nothing of the former shows in the latter."""
    world.script("c", succeed(hold=True), succeed(size=77))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        former = status_of(api, "c")["podName"]
        api.delete("conversionjobs", "c")
        api.create(conversion_job("c"))
        world.default = succeed(size=77)
        await api.until(lambda: phase_of(api, "c") in ("Running", "Succeeded"), 20)
        assert status_of(api, "c")["podName"] != former
        await api.until(lambda: api.find("pods", former) is None, 20)


async def test_a_status_does_not_go_to_a_namesake(
    api: FakeApi, world: World, tmp_path: Path
) -> None:
    """F14: it is made anew between the look at the former and the write of what became of that."""
    world.script("c", succeed(hold=True))
    world.default = succeed(hold=True)

    def make_anew(_: Any) -> None:
        api.delete("conversionjobs", "c")
        api.create(conversion_job("c"))

    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        former = status_of(api, "c")["podName"]
        with api.faults.tap(on_arrival=make_anew, times=1, **STATUS) as write:
            world.finish("c")
            await write.wait_hit()
        await api.until(lambda: phase_of(api, "c") == "Running", 20)
        uid = api.get("conversionjobs", "c")["metadata"]["uid"]
        phases = History(api.store).phases(uid)
        assert phases[-1] == "Running", "the end of the former was written to the latter"
        assert "Succeeded" not in phases
        assert status_of(api, "c")["podName"] != former
        world.finish("c")
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)


@pytest.mark.parametrize("hours", [1, -1])
async def test_clock_off_by_an_hour(api: FakeApi, world: World, tmp_path: Path, hours: int) -> None:
    """F16: the API server's clock, not ours, decides on timeouts and time to live."""
    api.clock.advance(timedelta(hours=hours).total_seconds())
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c", ttlSecondsAfterFinished=1800))
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
        await op.look_again()
        api.create(conversion_job("d"))
        await api.until(lambda: phase_of(api, "d") == "Succeeded", 20)
        assert phase_of(api, "c") == "Succeeded"
        api.clock.advance(1800)
        await op.look_again()
        await api.until(lambda: api.find("conversionjobs", "c") is None, 30)


async def test_two_operators(api: FakeApi, world: World, tmp_path: Path) -> None:
    """F17: one leads; the other takes over at once when it is told to stop."""
    world.default = succeed(hold=True)
    second = await api.front("b")
    async with running(api, tmp_path / "b", "op-b", second, converter_max_parallel=2):
        async with running(api, tmp_path / "a", "op-a", converter_max_parallel=2):
            for n in range(4):
                api.create(conversion_job(f"c{n}"))
            await api.until(lambda: sum(phase_of(api, f"c{n}") == "Running" for n in range(4)) == 2)
        for n in range(4):
            await api.until(lambda n=n: phase_of(api, f"c{n}") == "Running", 20)  # type: ignore[misc]
            world.finish(f"c{n}")
        await api.until(lambda: all(phase_of(api, f"c{n}") == "Succeeded" for n in range(4)), 20)
    check_all(api, limit=2)


async def test_a_job_of_a_stranger_has_the_name(api: FakeApi, world: World, tmp_path: Path) -> None:
    async with running(api, tmp_path, converter_max_parallel=0) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Queued")
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
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 60)


@pytest.mark.parametrize(
    "log",
    [
        b"x" * 1_000_000,
        b"\r".join(b"frame %d" % n for n in range(100_000)),
        b"\x00\xff\xfe\x1b[31m" * 10_000,
        "é😀<&>".encode() * 50_000,
        b"<" * 1_000_000,  # six bytes each where kubectl prints it
    ],
    ids=["one line", "carriage returns", "binary", "wide", "signs"],
)
async def test_status_stays_small(api: FakeApi, world: World, tmp_path: Path, log: bytes) -> None:
    """F19."""
    world.script("c", succeed(tail=log.decode(errors="replace")[-20_000:], hold=True))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(lambda: phase_of(api, "c") == "Running")
        world.log("c", log)
        world.finish("c")
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 20)
    statuses = History(api.store).statuses(api.get("conversionjobs", "c")["metadata"]["uid"])
    assert max(map(_printed_size, statuses)) <= STATUS_MAX_BYTES
    check_all(api, limit=3)


def _printed_size(status: dict[str, Any]) -> int:
    """Its bytes as kubectl prints it."""
    text = json.dumps(status, ensure_ascii=False)
    return len(re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text).encode())


async def test_cancel_at_any_moment(api: FakeApi, world: World, tmp_path: Path) -> None:
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
