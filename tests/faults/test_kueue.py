"""A namespace with Kueue, policies that change Jobs and pods, and a quota runs the samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversion, Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.policies import ADD_SIDECAR, MIRROR, REWRITE_IMAGE, mutating
from tests.e2e.support.watches import Body, Watches, owner
from tests.faults.kueue import LABEL, QUEUE, kueue

SAMPLES: Final = ROOT / "deploy/samples"
SETTING: Final = "CONVERTER_POD_SETTINGS"
SIDECAR: Final = "aa-proxy"
# Two conversions request so much CPU. The ResourceQuota allows one more pod at a time.
CPU: Final = "200m"


def quota(pods: int) -> Body:
    """A ResourceQuota of the namespace with this many pods."""
    hard = {
        "pods": str(pods),
        "requests.cpu": "8",
        "requests.memory": "16Gi",
        "limits.cpu": "16",
        "limits.memory": "16Gi",
    }
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "mynetwork-test", "namespace": NAMESPACE},
        "spec": {"hard": hard},
    }


@pytest.fixture
def neighbours(
    cluster: str, kubectl: Kubectl, operator: OperatorInCluster, tmp_path: Path
) -> Iterator[None]:
    """The namespace has all of it. The operator puts its Jobs into the queue."""
    with ExitStack() as stack:
        stack.enter_context(kueue(kubectl, cluster, tmp_path, CPU))
        stack.enter_context(mutating(kubectl, "batch", "jobs", REWRITE_IMAGE))
        stack.enter_context(mutating(kubectl, "", "pods", ADD_SIDECAR % 600))
        # The file server's pod counts, too.
        existing = kubectl.get("pods", "-n", NAMESPACE)["items"]
        kubectl.create(quota(len(existing) + 1))
        stack.callback(kubectl, "-n", NAMESPACE, "delete", "resourcequota", "mynetwork-test")
        set_pod_settings(operator, {"namespaces": {NAMESPACE: {"labels": {LABEL: QUEUE}}}})
        stack.callback(set_pod_settings, operator, {})
        yield


def set_pod_settings(operator: OperatorInCluster, document: dict[str, Any]) -> None:
    """Change the setting, and wait until it is in force."""
    with operator.log() as log:
        operator.patch_settings({SETTING: json.dumps(document) if document else ""})
        log.until(lambda record: record["message"] == "Settings changed", "settings changed", 60)


def first_states(watches: Watches, kind: str, conversion: Conversion) -> list[Body]:
    """The Jobs or pods of a conversion, as they were created."""
    made: dict[str, Body] = {}
    for event in watches.snapshot(kind):
        if owner(event.body) == conversion.uid:
            made.setdefault(event.uid, event.body)
    assert made
    return list(made.values())


def statuses_with(conversion: Conversion, reason: str) -> list[Any]:
    return [status for status in conversion.statuses() if status["reason"] == reason]


@pytest.mark.usefixtures("neighbours")
def test_the_samples_succeed(kubectl: Kubectl, conversions: Conversions, watches: Watches) -> None:
    samples = []
    for path in sorted(SAMPLES.glob("*.yaml")):
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
        samples.append(conversions.adopt(kubectl.create(body)))
    assert len(samples) == 5
    for sample in samples:
        sample.succeeded(seconds=300)
    for sample in samples:
        for job in first_states(watches, "jobs", sample):
            assert job["spec"]["suspend"]  # by Kueue's webhook
            assert job["metadata"]["labels"][LABEL] == QUEUE
            (container,) = job["spec"]["template"]["spec"]["containers"]
            assert container["image"] == f"{MIRROR}my-converter:latest"
        for pod in first_states(watches, "pods", sample):
            assert pod["spec"]["containers"][0]["name"] == SIDECAR
        # What the policies changed is not taken for a change of the settings.
        attempts = [a for status in sample.statuses() for a in status.get("attempts", ())]
        assert not {a.get("reason") for a in attempts} & {"ImageChanged", "PodSettingsChanged"}
    # Kueue and the quota did hold some of them.
    for reason in ("JobSuspended", "QuotaExceeded"):
        assert any(statuses_with(sample, reason) for sample in samples), reason
