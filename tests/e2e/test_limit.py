"""The parallel limit and the queue, checked with the history of all pods and Jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.conversions import Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.watches import Watches, converting, matching_over_time, owner, runs

COUNT = 10


@pytest.fixture(scope="module", autouse=True)
def _changed_settings_arrive(operator: OperatorInCluster) -> Iterator[None]:
    """A changed setting reaches the busy operator without a restart."""
    name, before = "CONVERTER_QUEUE_TIMEOUT_SECONDS", "86400"
    with operator.log() as log:
        operator.patch_settings({name: "86399"})
        changed = time.monotonic()
        yield
        log.until(
            lambda record: record.get("converter_queue_timeout_seconds") == 86399,
            "the changed setting",
            # The kubelet syncs mounted ConfigMaps every 60 to 90 seconds.
            max(1.0, changed + 120 - time.monotonic()),
        )
    operator.configure({name: before})


def test_ten_conversions_run_three_at_a_time_in_order(
    conversions: Conversions, watches: Watches
) -> None:
    seen = len(watches.snapshot("pods")), len(watches.snapshot("jobs"))
    # Each runs for a few seconds, which is longer than the start of two more.
    made = [
        conversions.make(
            f"queued-{number}",
            "video_to_mp4",
            inputFile="input/long.mp4",
            options={"duration": 15, "resolution": "360p"},
        )
        for number in range(COUNT)
    ]
    for conversion in made:
        conversion.succeeded(seconds=200)

    pods = watches.snapshot("pods")[seen[0] :]
    assert max(len(alive) for alive in matching_over_time(pods, converting)) == LIMIT
    # The containers really run at the same time. Three fit a small node, because the requests are
    # lower than the limits.
    assert max(len(alive) for alive in matching_over_time(pods, runs)) == LIMIT
    for conversion in made:
        assert conversion.jobs_that_ran() == 1
    # Finished Jobs stay for a while, so that a late create request creates no second Job.
    kept = {owner(job) for job in watches.jobs.current.values()}
    assert kept >= {conversion.uid for conversion in made}

    def age(number: int) -> tuple[str, str]:
        return made[number].body["metadata"]["creationTimestamp"], made[number].name

    expected = [made[number].uid for number in sorted(range(COUNT), key=age)]
    jobs = [owner(e.body) for e in watches.snapshot("jobs")[seen[1] :] if e.type == "ADDED"]
    started = [uid for uid in dict.fromkeys(jobs) if uid in expected]
    # Jobs for slots that are free at the same time are created concurrently, in any order.
    for place, uid in enumerate(expected):
        assert abs(started.index(uid) - place) < LIMIT, "not in the order of the queue"


def test_a_higher_priority_goes_to_the_front_of_the_queue(conversions: Conversions) -> None:
    running = [conversions.long(f"first-{number}") for number in range(LIMIT)]
    for conversion in running:
        conversion.until_phase("Running")
    patient = conversions.make("patient")
    assert patient.until_reason("WaitingForSlot")["queuePosition"] == 1
    urgent = conversions.make("urgent", priority=50)
    assert urgent.until_reason("WaitingForSlot")["queuePosition"] == 1
    assert not patient.jobs_made()
    running[0].cancel()
    first, second = urgent.succeeded(), patient.succeeded()
    assert first["attempts"][0]["startTime"] <= second["attempts"][0]["startTime"]
    assert first["completionTime"] <= second["attempts"][0]["startTime"]
