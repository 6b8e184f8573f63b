"""Failures have the right reason and number of attempts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conversion_operator.core.manifest import parse_quantity
from tests.e2e.support.commands import Kubectl, Result
from tests.e2e.support.conversions import Conversions
from tests.e2e.support.watches import Watches, owner


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.jpg", None, "InputNotFound"),
        ("empty.jpg", b"", "InputEmpty"),
        ("letter.jpg", b"Dear Sir or Madam,\n" * 100, "UnsupportedFormat"),
    ],
)
def test_a_faulty_input_is_reported_and_not_retried(
    conversions: Conversions, volume: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (volume / "input" / name).write_bytes(content)
    failing = conversions.make(name.replace(".", "-"), inputFile=f"input/{name}")
    status = failing.until_phase("Failed")
    assert status["reason"] == reason
    assert name in status["message"] or name in status["logs"]
    assert failing.jobs_that_ran() == 1
    assert not failing.output.exists()


def test_a_conversion_over_its_time_limit_fails(conversions: Conversions) -> None:
    slow = conversions.long("slow", timeoutSeconds=4)
    status = slow.until_phase("Failed")
    assert status["reason"] == "DeadlineExceeded"
    assert 4 <= status["durationSeconds"] < 30
    assert slow.jobs_that_ran() == 1
    assert not slow.output.exists()


@pytest.mark.parametrize(("mebibytes", "phase"), [(28, "Succeeded"), (14, "Failed")])
def test_out_of_memory_is_retried_once_with_twice_the_memory(
    conversions: Conversions, watches: Watches, mebibytes: int, phase: str
) -> None:
    """An AVIF of the sample needs about 36 MiB. A video would be refused at the start."""
    hungry = conversions.make(
        f"hungry-{mebibytes}",
        inputFile="input/hubble-deep-field.jpg",
        outputFile=f"output/hungry-{mebibytes}.avif",
        options={"size": "2000x2000"},
        resources={"limits": {"memory": f"{mebibytes}Mi"}},
    )
    status = hungry.until_phase(phase, seconds=120)
    tried = [a["reason"] for a in status["attempts"] if a["reason"] != "StartError"]
    assert tried == ["OutOfMemory", status["reason"]]
    assert status["reason"] == ("Completed" if phase == "Succeeded" else "OutOfMemory")
    limits = [
        int(parse_quantity(container["resources"]["limits"]["memory"]))
        for container in (
            event.body["spec"]["template"]["spec"]["containers"][0]
            for event in watches.snapshot("jobs")
            if event.type == "ADDED"
            and owner(event.body) == hungry.uid
            and not event.body["metadata"]["name"].endswith("-sweep")
        )
    ]
    assert (limits[0], limits[-1]) == (mebibytes << 20, mebibytes << 21)
    assert hungry.output.exists() == (phase == "Succeeded")


def test_a_finished_conversion_is_deleted_after_its_ttl_and_its_output_stays(
    conversions: Conversions, watches: Watches
) -> None:
    short = conversions.make("short-lived", ttlSecondsAfterFinished=2)
    short.succeeded()
    watches.until(lambda: short.uid not in watches.conversions.current, "it is deleted", 30)
    assert short.output.exists()


def test_kubectl_wait_returns_in_every_terminal_phase(
    conversions: Conversions, kubectl: Kubectl
) -> None:
    made = [
        conversions.make("will-succeed"),
        conversions.make("will-fail", inputFile="input/not-there.jpg"),
        conversions.long("will-be-cancelled"),
    ]
    ends: dict[str, Result] = {}

    def wait(name: str) -> None:
        ends[name] = kubectl.attempt(
            *("-n", "my-network", "wait", "--for=condition=Finished"),
            *(f"convjob/{name}", "--timeout=90s"),
            limit=100,
        )

    threads = [threading.Thread(target=wait, args=(conversion.name,)) for conversion in made]
    for thread in threads:
        thread.start()
    made[2].until_phase("Running")
    made[2].cancel()
    for thread in threads:
        thread.join()
    assert {name: end.code for name, end in ends.items()} == dict.fromkeys(ends, 0), ends
    assert [c.until_phase("Succeeded", "Failed", "Cancelled")["phase"] for c in made] == [
        "Succeeded",
        "Failed",
        "Cancelled",
    ]
    for conversion in made:
        conditions = {c["type"]: c["status"] for c in conversion.status["conditions"]}
        succeeded = "True" if conversion.phase == "Succeeded" else "False"
        stalled = {"Stalled": "True"} if conversion.phase == "Failed" else {}
        assert conditions == {"Succeeded": succeeded, "Finished": "True"} | stalled
