"""The sweep policy: when a sweep is wanted, what it runs, and when its Job is deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.children import Children, Job
from conversion_operator.core.cleanup import plan_cleanup
from conversion_operator.core.manifest import build_job, build_sweep, sweep_name
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import DeleteJob
from conversion_operator.core.sweep import wants_sweep
from media_converter.contract import EXIT_CODES, ExitReason
from tests.unit.operator.builders import (
    POLICY,
    UID,
    at,
    bad_report,
    children,
    conversion,
    ended,
    job,
    pod,
    running,
    snapshot,
    status,
    step,
    succeeded,
)
from tests.unit.operator.queueing import new_queue, slots_held

NONE = Children()


def failed(reason: str) -> Conversion:
    """A conversion whose last attempt failed 11 s after T0."""
    subject = step(conversion(maxRetries=0), children(job(), running()))[1]
    if reason == "OutOfMemory":
        end = ended(137, "OOMKilled")
    elif reason == "ContainerKilled":
        end = ended(137, "Error")
    else:
        end = ended(EXIT_CODES[ExitReason(reason)], "Error", bad_report(ExitReason(reason)))
    subject = step(subject, children(job(), end), 12)[1]
    assert status(subject).reason == reason
    return subject


def sweep(**changes: object) -> Job:
    return replace(job(0, name=sweep_name(UID), created=at(20)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("OutOfMemory", True),
        ("ContainerKilled", True),
        ("DiskFull", False),
        ("InputEmpty", False),
    ],
)
def test_wanted_after_a_killed_attempt_only(reason: str, wanted: bool) -> None:
    assert wants_sweep(failed(reason), NONE, at(20)) is wanted


@pytest.mark.parametrize(
    ("subject", "parts", "now"),
    [
        (conversion(), NONE, 20),
        (step(conversion(), children(job(), succeeded()), 12)[1], NONE, 20),
        (replace(failed("OutOfMemory"), deleting=True), NONE, 20),
        (replace(failed("OutOfMemory"), spec=None), NONE, 20),
        (failed("OutOfMemory"), children(job()), 20),
        (failed("OutOfMemory"), children(running()), 20),
        (failed("OutOfMemory"), children(sweep()), 20),
        (failed("OutOfMemory"), children(sweep(finished="Complete")), 20),
        (failed("OutOfMemory"), children(sweep(finished="Failed")), 20),
        (failed("OutOfMemory"), NONE, 12 + 3600),
    ],
    ids=[
        "not ended",
        "succeeded",
        "being deleted",
        "no spec",
        "a live Job",
        "a live pod",
        "in progress",
        "done",
        "failed",
        "an hour later",
    ],
)
def test_not_wanted(subject: Conversion, parts: Children, now: float) -> None:
    assert not wants_sweep(subject, parts, at(now))


def test_the_job_of_a_sweep_stays_for_an_hour() -> None:
    subject = failed("OutOfMemory")
    sweeping = children(sweep(), pod(0, phase="Running", job_name=sweep_name(UID)))
    assert plan_cleanup(snapshot(subject, sweeping, 30)).actions == ()
    done = children(sweep(finished="Complete"))
    assert plan_cleanup(snapshot(subject, done, 3600)).actions == ()
    plan = plan_cleanup(snapshot(subject, done, 11 + 3600))
    assert plan.actions == (DeleteJob(done.jobs[0], foreground=False),)
    assert plan.status is None


def test_a_sweep_that_does_not_finish_releases_its_slot() -> None:
    subject, late = failed("OutOfMemory"), 20 + POLICY.start_timeout
    plan = plan_cleanup(snapshot(subject, children(sweep()), late - 1))
    assert (plan.actions, plan.requeue_after) == ((), timedelta(seconds=1))
    plan = plan_cleanup(snapshot(subject, children(sweep()), late))
    assert plan.actions == (DeleteJob(sweep(), foreground=True),)


def test_sweeps_run_in_order_and_in_spare_slots_only() -> None:
    first, second = failed("OutOfMemory"), failed("ContainerKilled")
    second = replace(second, key=replace(second.key, uid="0"), created=at(1))
    later = status(second).model_copy(update={"completion_time": at(15)})
    ended = {UID: first, "0": replace(second, status=later)}

    def sweeps(held: int, waiting: int, policy: Policy = POLICY) -> tuple[str, ...]:
        more = {f"w{n}": conversion(f"w{n}", outputFile=f"{n}.mp4") for n in range(waiting)}
        queue = new_queue(ended | more, {}, policy)
        return AdmissionPass(queue, at(20), Obstacles(), queue.namespaces).select(held).sweeps

    assert sweeps(0, 0) == (UID, "0")
    assert sweeps(2, 0) == (UID,)
    assert sweeps(1, 1) == (UID,)
    assert sweeps(0, 3) == sweeps(3, 0) == ()
    assert sweeps(0, 0, replace(POLICY, enabled=False)) == ()


def test_a_sweep_takes_a_slot_even_after_a_lost_node() -> None:
    assert slots_held({UID: children(sweep())}, ()) == 1
    assert slots_held({UID: children(sweep(), running())}, (), lost_with_node={UID}) == 1


def test_the_manifest_of_a_sweep() -> None:
    subject = replace(
        failed("OutOfMemory"), spec=conversion(resources={"limits": {"memory": "14Mi"}}).spec
    )
    body, attempt = build_sweep(subject, POLICY, "m"), build_job(subject, 1, POLICY, False, "m")
    assert body["metadata"]["name"] == sweep_name(UID)
    assert body["metadata"]["ownerReferences"] == attempt["metadata"]["ownerReferences"]
    (container,) = body["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["sweep"]
    assert {e["name"]: e["value"] for e in container["env"]} == {
        "JOB_ID": subject.key.name,
        "OUTPUT_FILE": "/output/a.mp4",
    }
    (usual,) = attempt["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == POLICY.limits
    same = ("image", "securityContext", "volumeMounts")
    assert [container[key] for key in same] == [usual[key] for key in same]
