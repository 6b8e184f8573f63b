"""Admission policies of other people change the Jobs and pods of the operator."""

from __future__ import annotations

import pytest

from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversion, Conversions
from tests.e2e.support.policies import ADD_SIDECAR, MIRROR, REWRITE_IMAGE, mutating
from tests.e2e.support.watches import runs


def test_a_rewritten_image_runs(conversions: Conversions, kubectl: Kubectl) -> None:
    with mutating(kubectl, "batch", "jobs", REWRITE_IMAGE):
        rewritten = conversions.make("rewritten-image")
        rewritten.succeeded()
    (name,) = rewritten.jobs_made()
    (container,) = kubectl.get("-n", NAMESPACE, "job", name)["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == f"{MIRROR}my-converter:latest"


@pytest.mark.parametrize("seconds", [0, 600], ids=["ends at once", "runs on"])
def test_a_sidecar_changes_no_result(
    conversions: Conversions, kubectl: Kubectl, seconds: int
) -> None:
    with mutating(kubectl, "", "pods", ADD_SIDECAR % seconds):
        first = conversions.make("with-sidecar", maxRetries=0)
        status = first.succeeded(seconds=60)
        assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert len(first.jobs_made()) == 1
    if seconds:
        _frees_its_slot_and_ends(first, conversions)


def _frees_its_slot_and_ends(first: Conversion, conversions: Conversions) -> None:
    (pod,) = first.pods()
    names = [container["name"] for container in pod["spec"]["containers"]]
    assert sorted(names) == names == ["aa-proxy", "converter"]
    first.watches.until(lambda: not first.pods(), "the pod with the sidecar is deleted", 60)
    second = conversions.make("after-a-sidecar")
    second.succeeded()
    assert not any(runs(pod) for pod in first.pods())
