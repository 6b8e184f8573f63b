"""Flux, Helm and kapply see a conversion as it is: kstatus, and the defaults of the real CRD."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.commands import ROOT, Kubectl, must
from tests.e2e.support.conversions import Conversion, Conversions
from tests.e2e.support.watches import Watches
from tests.support.kstatus import health

Judge = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The health of an object by the library that Flux and Helm use."""
    folder = Path(must(str(ROOT / "hack/go-build"), "kstatus", limit=280).strip())

    def compute(body: dict[str, Any]) -> str:
        result = json.loads(must(str(folder / "kstatus"), text=json.dumps(body)))
        assert result["Status"] == health(body)
        return str(result["Status"])

    return compute


def healths(conversion: Conversion, watches: Watches, judge: Judge) -> list[str]:
    """The health of each version of a conversion, without repetitions."""
    found = [judge(dict(event.body)) for event in watches.conversions.of(conversion.uid)]
    return [now for now, before in zip(found, ["", *found], strict=False) if now != before]


def test_health_follows_the_conversion(
    conversions: Conversions, watches: Watches, judge: Judge
) -> None:
    good = conversions.make("good")
    bad = conversions.make("bad", inputFile="input/there-is-none.png")
    stopped = conversions.long("stopped")
    good.succeeded()
    bad.until_phase("Failed")
    stopped.until_phase("Running")
    stopped.cancel()
    stopped.until_phase("Cancelled")
    assert healths(good, watches, judge) == ["InProgress", "Current"]
    assert healths(bad, watches, judge) == ["InProgress", "Failed"]
    assert healths(stopped, watches, judge) == ["InProgress", "Current"]
    generation = bad.status["observedGeneration"]
    bad.patch(ttlSecondsAfterFinished=999)
    bad.until(lambda status: status.get("observedGeneration") == generation + 1, "observed")
    assert healths(bad, watches, judge)[-2:] == ["InProgress", "Failed"]


def test_a_conversion_that_no_operator_sees_is_pending(
    conversions: Conversions, kubectl: Kubectl, judge: Judge
) -> None:
    """Nobody serves the namespace default."""
    manifest = conversions.manifest("unseen")
    manifest["metadata"]["namespace"] = "default"
    manifest["status"] = {"phase": "Succeeded"}
    made = kubectl.create(manifest)
    try:
        assert made["status"]["phase"] == "Pending"
        assert judge(dict(made)) == "InProgress"
        table = kubectl("-n", "default", "get", "convjob", "unseen")
        assert "Pending" in table
        _write_status(kubectl, {"op": "replace", "path": "/status/phase", "value": "Succeeded"})
        refused = _write_status(kubectl, {"op": "remove", "path": "/status"})
        assert "status may not be removed" in refused
    finally:
        kubectl("-n", "default", "delete", "convjob", "unseen")


def _write_status(kubectl: Kubectl, operation: dict[str, Any]) -> str:
    """Patch the status of the unseen conversion. Returns the error."""
    patch = json.dumps([operation])
    arguments = ("-n", "default", "patch", "convjob", "unseen", "--subresource=status")
    return kubectl.attempt(*arguments, "--type=json", "-p", patch).err
