"""Conversions that cannot start yet say why, and start when the cause is removed."""

from __future__ import annotations

import json

import pytest

from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import LONG_INPUT, Conversions
from tests.e2e.support.operator import OperatorInCluster

SECOND = "my-network-second"
# Nothing listens there, so the pull fails at once, wherever the cluster runs.
NO_IMAGE = "localhost:1/my-converter:none"


def test_a_conversion_recovers_when_its_image_is_fixed(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    right = operator.settings()["CONVERTER_IMAGE"]
    operator.configure({"CONVERTER_IMAGE": NO_IMAGE})
    try:
        waiting = conversions.make("no-image")
        status = waiting.until_reason("ImagePullFailed", seconds=30)
        assert status["phase"] == "Starting"
        assert NO_IMAGE in status["message"]
    finally:
        operator.configure({"CONVERTER_IMAGE": right})
    # Its Job has the wrong image, so the attempt ends, and the next one has the right image.
    status = waiting.succeeded()
    assert status["attempts"][0]["reason"] == "ImageChanged"
    # Running is written once, or not at all if the conversion ends within ten seconds.
    assert [*_phases(waiting.statuses())].count("Running") <= 1


def test_a_conversion_waits_for_its_missing_claim(
    conversions: Conversions, kubectl: Kubectl
) -> None:
    waiting = conversions.make("no-claim", namespace=SECOND)
    status = waiting.until_reason("ClaimMissing", seconds=30)
    assert status["phase"] == "Queued"
    assert "my-network-shared" in status["message"]
    # It takes no slot and blocks no other conversion.
    conversions.make("elsewhere").succeeded()
    assert waiting.jobs_made() == []
    kubectl("apply", "-k", str(ROOT / "tests/e2e/overlay/late-claim"))
    waiting.succeeded()


def test_conversions_wait_while_the_operator_is_paused(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    running = conversions.long("goes-on")
    running.until_phase("Running")
    operator.configure({"CONVERTER_ENABLED": "false"})
    try:
        waiting = conversions.make("paused")
        status = waiting.until_reason("Paused", seconds=10)
        assert status["phase"] == "Queued"
        assert "CONVERTER_ENABLED" in status["message"]
        assert operator.metrics()["converter_enabled"][()] == 0
        assert running.phase == "Running"
        assert waiting.jobs_made() == []
    finally:
        operator.configure({"CONVERTER_ENABLED": "true"})
    waiting.succeeded()


def test_a_job_that_a_person_suspends_goes_on_when_it_is_resumed(
    conversions: Conversions, kubectl: Kubectl
) -> None:
    conversion = conversions.make(
        "suspended",
        "video_to_mp4",
        inputFile=LONG_INPUT,
        # The status may say Running only 10 s after the start.
        options={"duration": 120, "resolution": "360p"},
        maxRetries=0,
    )
    job = conversion.until_phase("Running")["jobName"]

    def suspend(active: bool) -> None:
        patch = json.dumps({"spec": {"suspend": active}})
        kubectl("-n", conversion.namespace, "patch", "job", job, "-p", patch)

    suspend(True)
    status = conversion.until_reason("JobSuspended")
    assert status["phase"] == "Queued"
    assert "kubectl-patch" in status["message"]
    conversions.make("meanwhile").succeeded()
    suspend(False)
    status = conversion.succeeded()
    assert [attempt["reason"] for attempt in status["attempts"]] == ["JobSuspended", "Completed"]
    assert conversion.jobs_made() == [job]


@pytest.mark.parametrize("busy", ["output", "input"])
def test_a_conversion_waits_for_an_older_one_that_uses_the_same_file(
    conversions: Conversions, busy: str
) -> None:
    older = conversions.make(f"older-{busy}", "video_to_mp4", options={"resolution": "240p"})
    path = older.body["spec"]["outputFile"]
    younger = (
        conversions.make(
            "same-output", "video_to_mp4", outputFile=path, options={"resolution": "360p"}
        )
        if busy == "output"
        else conversions.make("after-it", "extract_thumbnail", inputFile=path)
    )
    reason = "PathBusy" if busy == "output" else "WaitingForInput"
    assert older.name in younger.until_reason(reason, seconds=10)["message"]
    last = younger.succeeded()
    first = older.until_phase("Succeeded")
    assert first["completionTime"] <= last["attempts"][0]["startTime"]


def _phases(statuses: list[dict[str, str]]) -> list[str]:
    """The phases in order, without repetitions."""
    phases = [status["phase"] for status in statuses]
    return [phase for n, phase in enumerate(phases) if n == 0 or phases[n - 1] != phase]
