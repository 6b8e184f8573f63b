"""The Helm chart as a second installation: install, test, upgrade, roll back, uninstall.

While there is no earlier release, both versions of the chart have the same objects. They differ in
an annotation, so that the operator and the HTTP API restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.support.commands import Kubectl, must
from tests.e2e.support.conversions import Conversion, Conversions
from tests.unit.deploy.charts import CHART, helm

RELEASE: Final = "converter"
INSTALLATION: Final = "converter-chart"
NAMESPACE: Final = "chart-conversions"
VALUES: Final = {
    # The installation of the other tests has brought the CRD.
    "crds": {"enabled": False},
    "images": {name: {"tag": "latest"} for name in ("operator", "gateway", "converter")},
    "namespaces": [
        {
            "name": NAMESPACE,
            # Without a quota: Kubernetes takes minutes to count a new one.
            "maxConversions": 0,
            "claim": {"storageClassName": "", "volumeName": NAMESPACE},
        }
    ],
    "operator": {"settings": {"CONVERTER_MAX_PARALLEL": 3}},
}
VOLUME: Final = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": NAMESPACE},
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "10Gi"},
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": NAMESPACE, "name": "my-network-shared"},
        "hostPath": {"path": "/var/lib/my-network-shared", "type": "Directory"},
    },
}


class Helm:
    """Helm on the tests' cluster."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self._options = (f"--kubeconfig={kubectl.kubeconfig}", "--namespace", INSTALLATION)
        self._folder = folder
        for version in ("0.0.1", "0.0.2"):
            must(helm(), "package", str(CHART), "--version", version, "--destination", str(folder))

    def __call__(self, *arguments: str) -> str:
        return must(helm(), *arguments, *self._options, limit=240)

    def apply(self, command: str, version: str) -> None:
        """Install or upgrade to a version of the chart."""
        pods = {"podAnnotations": {"version": version}}
        values = VALUES | {"gateway": pods, "operator": {**VALUES["operator"], **pods}}  # type: ignore[dict-item]
        file = self._folder / "values.json"
        file.write_text(json.dumps(values), encoding="utf-8")
        chart = str(self._folder / f"my-network-converter-{version}.tgz")
        self(command, RELEASE, chart, "--values", str(file), "--wait", "--timeout", "3m")


@pytest.fixture
def release(kubectl: Kubectl, tmp_path: Path) -> Iterator[Helm]:
    """The first version, installed. Afterwards nothing of it is left."""
    kubectl.create(VOLUME)
    kubectl("create", "namespace", INSTALLATION)
    kubectl(
        *("label", "namespace", INSTALLATION),
        "pod-security.kubernetes.io/enforce=restricted",
    )
    installed = Helm(kubectl, tmp_path)
    try:
        installed.apply("install", "0.0.1")
        yield installed
    finally:
        installed("uninstall", RELEASE, "--ignore-not-found", "--wait")
        for namespace in (NAMESPACE, INSTALLATION):
            kubectl("delete", "namespace", namespace, "--ignore-not-found", limit=120)
        kubectl("delete", "persistentvolume", NAMESPACE, "--ignore-not-found", limit=120)


def version_that_runs(kubectl: Kubectl) -> set[str]:
    """The versions of the chart that the ready Deployments have."""
    deployments = kubectl.get("-n", INSTALLATION, "deployments")["items"]
    return {item["spec"]["template"]["metadata"]["annotations"]["version"] for item in deployments}


def runs_of(conversion: Conversion) -> list[Any]:
    """The uids of the Job and the pod of each attempt."""
    status = conversion.status
    return [(attempt["jobUID"], attempt.get("podUID")) for attempt in status.get("attempts", ())]


def test_upgrades_and_rollbacks_lose_nothing_and_repeat_nothing(
    kubectl: Kubectl, release: Helm, conversions: Conversions
) -> None:
    release("test", RELEASE, "--timeout", "3m")
    there = {"namespace": NAMESPACE}
    done = conversions.make("done", **there)
    failed = conversions.make("failed", inputFile="input/none.jpg", **there)
    done.succeeded()
    failed.until_phase("Failed")
    cancelled = conversions.long("cancelled", **there)
    cancelled.until_phase("Running")
    cancelled.cancel()
    cancelled.until_phase("Cancelled")
    running = [conversions.long(f"running-{number}", **there) for number in range(3)]
    for conversion in running:
        conversion.until(has_pod, "started")
    queued = conversions.make("queued", **there)
    queued.until_phase("Queued")
    before = {conversion.name: runs_of(conversion) for conversion in running}
    ends = [conversion.status for conversion in (done, failed, cancelled)]

    release.apply("upgrade", "0.0.2")
    assert version_that_runs(kubectl) == {"0.0.2"}
    release("rollback", RELEASE, "--wait", "--timeout", "3m")
    assert version_that_runs(kubectl) == {"0.0.1"}
    release.apply("upgrade", "0.0.2")

    assert {conversion.name: runs_of(conversion) for conversion in running} == before
    assert {conversion.phase for conversion in running} == {"Running"}
    assert [conversion.status for conversion in (done, failed, cancelled)] == ends
    for conversion in running:
        conversion.cancel()
        conversion.until_phase("Cancelled")
    queued.succeeded()
    for conversion in (done, failed, cancelled, queued, *running):
        assert conversion.jobs_that_ran() == 1, conversion.name

    release("uninstall", RELEASE, "--wait")
    assert kubectl.get("-n", NAMESPACE, "convjob", "done")["status"]["phase"] == "Succeeded"
    assert kubectl.get("-n", NAMESPACE, "persistentvolumeclaims")["items"]
    assert not kubectl.get("-n", INSTALLATION, "deployments")["items"]


def has_pod(status: Any) -> bool:
    """True if an attempt has a pod."""
    return any(attempt.get("podUID") for attempt in status.get("attempts", ()))
