"""The operator reports its work in structured logs, metrics and Events, with few writes."""

from __future__ import annotations

from typing import Any

from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.watches import Watches


def test_each_conversion_is_logged_as_structured_records(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    good = conversions.make("logged-good", "audio_to_mp3")
    bad = conversions.make("logged-bad", inputFile="input/not-there.jpg")
    cancelled = conversions.long("logged-cancelled")
    cancelled.until_phase("Running")
    cancelled.cancel()
    status = good.succeeded()
    bad.until_phase("Failed")
    cancelled.until_phase("Cancelled")

    def events(uid: str) -> list[Any]:
        return [record for record in operator.records() if record.get("uid") == uid]

    for conversion, last in (
        (good, "job_completed"),
        (bad, "job_failed"),
        (cancelled, "job_cancelled"),
    ):
        records = events(conversion.uid)
        # The operator may see a short conversion only after its end.
        assert [r["event"] for r in records if r["event"] != "job_retried"] in (
            ["job_started", last],
            [last],
        )
        for record in records:
            assert record["job_id"] == conversion.name
            assert record["namespace"] == NAMESPACE
            assert record["conversion_type"] == conversion.body["spec"]["conversionType"]
            assert {"timestamp", "level", "logger", "message"} <= set(record)
    completed, failed = events(good.uid)[-1], events(bad.uid)[-1]
    assert completed["output_size_bytes"] == status["outputSize"]
    assert completed["duration_seconds"] == status["durationMilliseconds"] / 1000
    assert failed["reason"] == "InputNotFound"
    assert "not-there.jpg" in failed["detail"]


def test_metrics_count_finished_conversions(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    before = operator.metrics()
    conversions.make("counted-1").succeeded()
    conversions.make("counted-2").succeeded()
    conversions.make("counted-3", inputFile="input/not-there.jpg").until_phase("Failed")
    after = operator.metrics()

    def more(name: str, *labels: str) -> float:
        return after[name][labels] - before.get(name, {}).get(labels, 0)

    finished = "converter_conversions_finished_total"
    assert more(finished, "image_resize", "Succeeded", "Completed") == 2
    assert more(finished, "image_resize", "Failed", "InputNotFound") == 1
    assert more("converter_run_seconds_count", "image_resize") == 3
    assert after["converter_run_seconds_sum"][("image_resize",)] >= 0
    assert after["converter_parallel_limit"][()] == 3
    assert after["converter_enabled"][()] == after["converter_leading"][()] == 1
    assert after["converter_queued"][()] == 0


def test_metrics_count_queued_and_running_conversions(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    running = [conversions.long(f"seen-{number}") for number in range(3)]
    queued = [conversions.make(f"seen-queued-{number}") for number in range(2)]
    for conversion in running:
        conversion.until_phase("Running")
    for conversion in queued:
        conversion.until_reason("WaitingForSlot")
    metrics = operator.metrics()
    assert metrics["converter_running"][()] == 3
    assert metrics["converter_queued"][()] == 2


def test_kubectl_describe_shows_the_reason(
    conversions: Conversions, kubectl: Kubectl, watches: Watches
) -> None:
    failing = conversions.make("described", inputFile="input/not-there.jpg")
    failing.until_phase("Failed")
    # The operator posts Events after it has stored the status, and does not wait for them.
    watches.until(
        lambda: any(
            event["involvedObject"]["uid"] == failing.uid and event["reason"] == "InputNotFound"
            for event in watches.events.current.values()
        ),
        "an Event reports it",
        10,
    )
    text = kubectl("-n", NAMESPACE, "describe", "convjob", failing.name)
    assert "InputNotFound" in text
    assert "not-there.jpg" in text


def test_a_conversion_needs_few_writes(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    conversion = conversions.make("few-writes")
    conversion.succeeded()
    conversions.make("after-it").succeeded()
    writes = [
        (request["verb"], request.get("objectRef", {}).get("subresource"))
        for request in operator.requests(conversion.body["metadata"]["creationTimestamp"])
        if request.get("objectRef", {}).get("name") == conversion.name
        and request["verb"] not in ("get", "list", "watch")
    ]
    # Queued, Starting if it takes long, Running, and the end.
    assert set(writes) == {("patch", "status")}
    assert conversion.jobs_that_ran() == 1
    assert len(writes) <= 4 * len(conversion.jobs_made())
