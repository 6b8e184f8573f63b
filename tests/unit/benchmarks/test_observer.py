"""The benchmark on a cluster counts what the watches show."""

from __future__ import annotations

from typing import Any

from benchmarks.observer import Observer
from benchmarks.percentiles import percentile


def _job(name: str, owner: str | None = None, *conditions: str) -> dict[str, Any]:
    owners = [{"kind": "ConversionJob", "name": owner}] if owner else []
    status = {"conditions": [{"type": c, "status": "True"} for c in conditions]}
    return {"metadata": {"name": name, "ownerReferences": owners}, "status": status}


def _pod(uid: str, job: str, phase: str) -> dict[str, Any]:
    labels = {"batch.kubernetes.io/job-name": job}
    return {"metadata": {"uid": uid, "name": uid, "labels": labels}, "status": {"phase": phase}}


def _conversion(name: str, phase: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase, "reason": "Because"}}


async def test_the_latencies_of_a_conversion() -> None:
    seen = Observer(conversions=True, submitted={"a": 1.0})
    seen.take_job("ADDED", _job("converter-1", "a"), 1.5)
    seen.take_pod("ADDED", _pod("p", "converter-1", "Pending"), 1.6)
    seen.take_pod("MODIFIED", _pod("p", "converter-1", "Succeeded"), 2.0)
    seen.take_job("MODIFIED", _job("converter-1", "a", "Complete"), 2.1)
    assert not seen.finished
    seen.take_conversion("MODIFIED", _conversion("a", "Succeeded"), 2.25)
    seen.take_conversion("MODIFIED", _conversion("a", "Succeeded"), 9.0)
    assert seen.latencies() == {
        "submit_to_job_p50": 0.5,
        "submit_to_job_p99": 0.5,
        "pod_end_to_finished_p50": 0.25,
        "pod_end_to_finished_p99": 0.25,
    }
    assert seen.rate == 1 / 1.25
    assert not seen.failed


async def test_a_plain_job_has_finished_with_its_condition() -> None:
    seen = Observer(conversions=False, submitted={"a": 1.0, "b": 1.0})
    seen.take_job("MODIFIED", _job("a", None, "SuccessCriteriaMet"), 2.0)
    assert not seen.finished
    seen.take_job("MODIFIED", _job("a", None, "Complete"), 3.0)
    seen.take_job("MODIFIED", _job("b", None, "Failed"), 3.0)
    assert seen.finished == {"a": 3.0, "b": 3.0}
    assert seen.finished_over_time() == [(0.0, 0), (2.0, 1), (2.0, 2)]
    assert seen.failed == {"b": "Failed"}


async def test_live_pods_are_counted_until_they_end() -> None:
    seen = Observer(conversions=False)
    for uid in ("p", "q"):
        seen.take_pod("ADDED", _pod(uid, uid, "Pending"), 1.0)
        seen.take_pod("MODIFIED", _pod(uid, uid, "Running"), 2.0)
    seen.take_pod("MODIFIED", _pod("p", "p", "Succeeded"), 3.0)
    seen.take_pod("DELETED", _pod("q", "q", "Running"), 3.0)
    seen.take_pod("ADDED", _pod("r", "r", "Pending"), 4.0)
    assert seen.most_live == 2


async def test_a_pod_has_ended_when_its_container_has() -> None:
    seen = Observer(conversions=False)
    pod = _pod("p", "p", "Running")
    state = {"containerID": "containerd://abc", "state": {"running": {}}}
    pod["status"]["containerStatuses"] = [state]
    seen.take_pod("MODIFIED", pod, 1.0)
    assert not seen.pod_ended
    assert seen.containers == {"abc": "p"}
    pod["status"]["containerStatuses"] = [state | {"state": {"terminated": {"exitCode": 0}}}]
    seen.take_pod("MODIFIED", pod, 2.0)
    seen.take_pod("MODIFIED", _pod("p", "p", "Succeeded"), 3.0)
    assert seen.pod_ended == {"p": 2.0}


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 50) == 50.0
    assert percentile(values, 99) == 99.0
    assert percentile([7.0], 99) == 7.0
