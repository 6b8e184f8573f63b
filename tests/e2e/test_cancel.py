"""Cancelling: nothing is started, or what runs is stopped before the status says so."""

from __future__ import annotations

from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.conversions import Conversion, Conversions
from tests.e2e.support.watches import Body, Watches, live, owner


def version(body: Body) -> int:
    return int(body["metadata"]["resourceVersion"])


def test_while_it_is_queued(conversions: Conversions) -> None:
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


def test_while_it_runs(conversions: Conversions, watches: Watches) -> None:
    running = conversions.long("stopped")
    running.until(lambda status: status.get("progress"), "under way")
    running.cancel()
    status = running.until_phase("Cancelled", seconds=30)
    assert status["reason"] == "Cancelled"
    # By the store's own order: the pod had ended before Cancelled was written.
    written = next(e for e in watches.conversions.of(running.uid) if _cancelled(e.body))
    pods = [e for e in watches.snapshot("pods") if owner(e.body) == running.uid]
    assert max(version(e.body) for e in pods if _may_run(e.type, e.body)) < version(written.body)
    assert running.no_pod_lives()
    assert running.jobs_that_ran() == 1
    _left_nothing(running)


def test_twice_and_after_the_end_changes_nothing(conversions: Conversions) -> None:
    done = conversions.make("done")
    before = done.succeeded()
    done.cancel()
    done.cancel()
    # The operator has seen the change when it sees the next conversion through.
    conversions.make("later").succeeded()
    assert done.status == before
    assert done.output.exists()


def _cancelled(body: Body) -> bool:
    return bool(body.get("status", {}).get("phase") == "Cancelled")


def _may_run(kind: str, pod: Body) -> bool:
    return kind != "DELETED" and live(pod)


def _left_nothing(conversion: Conversion) -> None:
    assert not conversion.output.exists()
    if conversion.output.parent.exists():
        mine = [p.name for p in conversion.output.parent.iterdir() if conversion.name in p.name]
        assert mine == [], "temporary files are left"
