"""ConversionQueues limit what runs, and say what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.controller import leadership
from tests.component.running import (
    attempts_of,
    events_about,
    phase_of,
    running,
    status_of,
    until_phase,
)
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something in the operator, which the API server does not see."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 nothing sets an event
            await asyncio.sleep(0.01)


def queue(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionQueue",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def change(api: FakeApi, name: str, **spec: Any) -> None:
    api.patch("conversionqueues", name, {"spec": spec})


def reason_of(api: FakeApi, name: str) -> str | None:
    return status_of(api, name).get("reason")


async def until_reason(api: FakeApi, name: str, reason: str) -> None:
    await api.until(lambda: reason_of(api, name) == reason, 20, f"{name} to be {reason}")


def queue_status(api: FakeApi, name: str) -> dict[str, Any]:
    status: dict[str, Any] = api.get("conversionqueues", name).get("status") or {}
    return status


def condition(api: FakeApi, name: str, kind: str) -> tuple[str, str]:
    found = queue_status(api, name).get("conditions") or []
    return next(((c["status"], c["reason"]) for c in found if c["type"] == kind), ("", ""))


@pytest.mark.judged
async def test_a_queue_limits_its_own_conversions(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    for name in "ab":
        cluster.script(name, succeed(hold=True))
    async with running(api, tmp_path):
        api.create(queue("bulk", maxParallel=1))
        for name in "ab":
            api.create(conversion_job(name, queue="bulk"))
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
        await until_reason(api, "b", "WaitingForSlot")
        assert status_of(api, "b")["queuePosition"] == 1
        change(api, "bulk", maxParallel=2)
        await until_phase(api, "b", "Running")
        cluster.finish("a")
        cluster.finish("b")
        for name in "ab":
            await until_phase(api, name, "Succeeded")
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_held_queue_starts_nothing_and_lets_what_runs_go_on(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("a", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(queue("default"))
        api.create(conversion_job("a"))
        await until_phase(api, "a", "Running")
        change(api, "default", stopPolicy="Hold")
        await api.until(lambda: condition(api, "default", "Active") == ("False", "Held"))
        api.create(conversion_job("b"))
        await until_reason(api, "b", "QueueHeld")
        await api.until(lambda: status_of(api, "b").get("queuePosition") == 1)
        cluster.finish("a")
        await until_phase(api, "a", "Succeeded")
        change(api, "default", stopPolicy="None", maxParallel=0)
        await api.until(lambda: condition(api, "default", "Active") == ("False", "NoSlots"))
        assert phase_of(api, "b") == "Queued"
        change(api, "default", maxParallel=None)
        await until_phase(api, "b", "Succeeded")
        await api.until(lambda: condition(api, "default", "Active") == ("True", "Active"))
        told = events_about(api, "default")
        assert sorted(event["reason"] for event in told) == ["Held", "NoSlots"]
        assert {event["involvedObject"]["kind"] for event in told} == {"ConversionQueue"}
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_drained_queue_stops_what_runs_without_counting_it(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("a", succeed(hold=True))
    cluster.script("other", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(queue("bulk"))
        api.create(conversion_job("a", queue="bulk", maxRetries=0))
        api.create(conversion_job("other"))
        for name in ("a", "other"):
            await until_phase(api, name, "Running")
        change(api, "bulk", stopPolicy="HoldAndDrain")
        await api.until(lambda: phase_of(api, "a") == "Queued")
        await until_reason(api, "a", "QueueHeld")
        assert phase_of(api, "other") == "Running"
        change(api, "bulk", stopPolicy="None")
        await until_phase(api, "a", "Running")
        for name in ("a", "other"):
            cluster.finish(name)
            await until_phase(api, name, "Succeeded")
    assert attempts_of(api, "a") == ["QueueHeld", "Completed"]
    assert "retries" not in status_of(api, "a")
    assert attempts_of(api, "other") == ["Completed"]
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_conversion_waits_for_its_queue_or_changes_it(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path):
        for name in "ab":
            api.create(conversion_job(name, queue="later"))
            await until_reason(api, name, "QueueMissing")
        api.create(queue("later", stopPolicy="Hold"))
        await until_reason(api, "a", "QueueHeld")
        api.delete("conversionqueues", "later")
        await until_reason(api, "a", "QueueMissing")
        api.patch("conversionjobs", "b", {"spec": {"queue": None}})
        await until_phase(api, "b", "Succeeded")
        api.create(queue("later"))
        await until_phase(api, "a", "Succeeded")
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_reserved_slot_is_free_for_light_conversions(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path):
        api.create(queue("default", light={"reserved": 1}))
        await api.until(lambda: bool(queue_status(api, "default")))
        for number in range(5):
            cluster.script(f"v{number}", succeed(hold=True))
            api.create(conversion_job(f"v{number}"))
        await until_phase(api, "v1", "Running")
        await until_reason(api, "v2", "WaitingForSlot")
        api.create(
            conversion_job("t", conversionType="extract_thumbnail", outputFile="output/t.jpg")
        )
        await until_phase(api, "t", "Succeeded")
        assert phase_of(api, "v2") == "Queued"
        for number in range(5):
            await until_phase(api, f"v{number}", "Running")
            cluster.finish(f"v{number}")
            await until_phase(api, f"v{number}", "Succeeded")
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_queue_says_what_it_counts_and_what_has_no_effect(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("a", succeed(hold=True))
    async with running(api, tmp_path):
        api.create(queue("bulk", maxParallel=1, namespaces=[{"name": NAMESPACE, "weight": 2}]))
        await api.until(lambda: condition(api, "bulk", "Accepted") == ("True", "Accepted"))
        api.create(
            queue("other", light={"reserved": 9}, namespaces=[{"name": NAMESPACE, "weight": 3}])
        )
        for name in "abc":
            api.create(conversion_job(name, queue="bulk"))
        api.create(conversion_job("d", queue="bulk", suspend=True))
        await api.until(
            lambda: (
                [queue_status(api, "bulk").get(n) for n in ("running", "queued", "blocked")]
                == [1, 2, 1]
            )
        )
        counted = {"name": NAMESPACE, "running": 1, "queued": 2, "blocked": 1}
        assert queue_status(api, "bulk")["namespaces"] == [counted]
        await api.until(lambda: condition(api, "other", "Accepted") == ("False", "NoEffect"))
        message = queue_status(api, "other")["conditions"][1]["message"]
        assert "older queue bulk" in message
        assert "CONVERTER_MAX_PARALLEL is 3" in message
        cluster.finish("a")
        for name in "abc":
            await until_phase(api, name, "Succeeded")
        await api.until(lambda: queue_status(api, "bulk").get("running") == 0)
        api.patch("conversionjobs", "d", {"spec": {"suspend": False}})
        await until_phase(api, "d", "Succeeded")
    check_all(api, limit=3)


async def test_nothing_starts_while_the_queues_are_not_known(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A queue that is held may be among them."""
    api.create(queue("default", stopPolicy="Hold"))
    with ExitStack() as refused:
        refused.enter_context(api.faults.forbid(verb="list", resource="conversionqueues"))
        async with running(api, tmp_path) as op:
            api.create(conversion_job("a"))
            await api.until(lambda: "ConversionQueues" in op.operator.health.unlisted, 20)
            assert reason_of(api, "a") in ("Pending", None)
            blocked = 'converter_admission_blocked{cause="queues"}'
            await api.until(lambda: op.metric(blocked) == 1)
            assert op.metric('converter_queue_may_start{queue="default"}') == 0
            refused.close()
            await until_reason(api, "a", "QueueHeld")
            await api.until(lambda: op.metric(blocked) == 0)
            await api.until(lambda: not op.operator.health.unlisted)
    assert not cluster.pods("a")


@pytest.mark.parametrize("taken_over", [False, True], ids=["same term", "next term"])
async def test_a_queue_that_changes_at_the_moment_of_admission(
    api: FakeApi,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken_over: bool,
) -> None:
    """The other queue has no room for it, so its Job is not created."""
    monkeypatch.setattr(leadership, "_RENEW_DEADLINE_SECONDS", 9)  # 20 s
    cluster.script("a", succeed(hold=True))
    api.create(queue("bulk", maxParallel=1))
    async with running(api, tmp_path) as op:
        store, reserved = op.operator.store, op.operator._admitter._creator.reserved
        api.create(conversion_job("a", queue="bulk"))
        await until_phase(api, "a", "Running")
        with api.faults.hold(verb="update", resource="leases") as admission:
            api.create(conversion_job("b"))
            uid = api.get("conversionjobs", "b")["metadata"]["uid"]
            await until(lambda: uid in reserved)
            api.patch("conversionjobs", "b", {"spec": {"queue": "bulk"}})
            await until(lambda: bool((seen := store.conversion(uid)) and seen.queue == "bulk"))
            if taken_over:  # no response arrives in time, and no renewal either
                await until(lambda: not op.operator._leadership.leads())
            admission.release()
        # A next leader does not know whether the admission was recorded. It may keep the slot.
        await until(lambda: op.operator._leadership.term == 1 + taken_over)
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
        assert not cluster.pods("b")
        cluster.finish("a")
        await until_phase(api, "b", "Succeeded")
    check_all(api, limit=3)
