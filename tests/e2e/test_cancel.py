"""Cancelling prevents the start, or stops the pod before the status is Cancelled."""

from __future__ import annotations

from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.conversions import Conversion, Conversions
from tests.e2e.support.watches import Body, Watches, live, owner


def version(body: Body) -> int:
    return int(body["metadata"]["resourceVersion"])


def test_cancelling_a_queued_conversion_creates_no_job(conversions: Conversions) -> None:
    running = [conversions.long(f"busy-{number}") for number in range(LIMIT)]
    queued = conversions.make("never-run")
    queued.until_reason("WaitingForSlot")
    queued.cancel()
    status = queued.until_phase("Cancelled", seconds=10)
    assert status["reason"] == "Cancelled"
    assert queued.jobs_made() == []
    assert not queued.output.exists()
    for conversion in running:
        conversion.until_phase("Running")


def test_a_running_conversion_is_cancelled_after_its_pod_has_ended(
    conversions: Conversions, watches: Watches
) -> None:
    running = conversions.long("stopped")
    running.until(lambda status: status.get("progress"), "under way")
    running.cancel()
    status = running.until_phase("Cancelled", seconds=30)
    assert status["reason"] == "Cancelled"
    # By resourceVersion: the pod had ended before Cancelled was written.
    written = next(e for e in watches.conversions.of(running.uid) if _cancelled(e.body))
    pods = [e for e in watches.snapshot("pods") if owner(e.body) == running.uid]
    assert max(version(e.body) for e in pods if _may_run(e.type, e.body)) < version(written.body)
    assert running.no_pod_lives()
    assert running.jobs_that_ran() == 1
    _check_no_files_left(running)


def test_cancelling_a_finished_conversion_changes_nothing(conversions: Conversions) -> None:
    done = conversions.make("done")
    before = done.succeeded()
    done.cancel()
    done.cancel()
    # When the next conversion has succeeded, the operator has seen this change.
    conversions.make("later").succeeded()
    assert done.status == before | {"observedGeneration": before["observedGeneration"] + 1}
    assert done.output.exists()


def _cancelled(body: Body) -> bool:
    return bool(body.get("status", {}).get("phase") == "Cancelled")


def _may_run(kind: str, pod: Body) -> bool:
    return kind != "DELETED" and live(pod)


def _check_no_files_left(conversion: Conversion) -> None:
    assert not conversion.output.exists()
    if conversion.output.parent.exists():
        mine = [p.name for p in conversion.output.parent.iterdir() if conversion.name in p.name]
        assert mine == [], "temporary files are left"
