"""The Helm chart as a second installation: the previous release, upgraded, rolled back, removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.support.commands import ROOT, TOOLS, Kubectl, must
from tests.e2e.support.conversions import Conversion, Conversions
from tests.support.releases import previous_release, write_sources
from tests.unit.deploy.charts import CHART, helm

IMAGES: Final = ("my-converter", "my-converter-gateway", "my-converter-operator")
RELEASE: Final = "converter"
INSTALLATION: Final = "converter-chart"
NAMESPACE: Final = "chart-conversions"
NEW: Final = "latest"
"""The version of this commit's images, which the cluster has."""
CRD: Final = "conversionjobs.converter.mynetwork.io"
VALUES: Final = {
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
# The installation of the other tests has brought the CRD with kubectl.
ADOPT: Final = ("--take-ownership", "--force-conflicts")


class Helm:
    """Helm on the tests' cluster, with the charts of the previous release and of this commit."""

    def __init__(self, kubectl: Kubectl, folder: Path, old: str, sources: Path) -> None:
        self.old = old
        self._options = (f"--kubeconfig={kubectl.kubeconfig}", "--namespace", INSTALLATION)
        self._folder = folder
        self._package(sources / CHART.relative_to(ROOT), old, old)
        self._package(CHART, "99.0.0", NEW)
        self._values = folder / "values.json"
        self._values.write_text(json.dumps(VALUES), encoding="utf-8")

    def _package(self, chart: Path, version: str, images: str) -> None:
        """Write a chart as `make release` does. The version of its images is their tag."""
        versions = ("--version", version, "--app-version", images)
        must(helm(), "package", str(chart), *versions, "--destination", str(self._folder))

    def __call__(self, *arguments: str) -> str:
        return must(helm(), *arguments, *self._options, limit=240)

    def apply(self, command: str, version: str) -> None:
        """Install or upgrade to a version of the chart."""
        number = "99.0.0" if version == NEW else version
        chart = str(self._folder / f"my-network-converter-{number}.tgz")
        values = ("--values", str(self._values))
        self(command, RELEASE, chart, *values, *ADOPT, "--wait", "--timeout", "3m")


@pytest.fixture(scope="module")
def previous(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The version and the sources of the previous release. Its images are in the nodes."""
    release = previous_release(ROOT)
    sources = tmp_path_factory.mktemp("previous") / "sources"
    write_sources(ROOT, release, sources)
    images = [f"{image}:{release.version}" for image in IMAGES]
    tools = {"PATH": f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    try:
        subprocess.run(
            [sources / "hack/images", "--release", release.version],
            env=dict(os.environ) | tools,
            check=True,
            timeout=3600,
        )
        kind = str(TOOLS / "bin/kind")
        must(kind, "load", "docker-image", "--name", cluster, *images, limit=300)
        yield release.version, sources
    finally:
        must("docker", "image", "rm", "--force", *images)
        shutil.rmtree(sources)


@pytest.fixture
def release(kubectl: Kubectl, previous: tuple[str, Path], tmp_path: Path) -> Iterator[Helm]:
    """The previous release, installed. Afterwards nothing of it is left."""
    kubectl.create(VOLUME)
    kubectl("create", "namespace", INSTALLATION)
    kubectl(
        *("label", "namespace", INSTALLATION),
        "pod-security.kubernetes.io/enforce=restricted",
    )
    installed = Helm(kubectl, tmp_path, *previous)
    try:
        installed.apply("install", installed.old)
        yield installed
    finally:
        installed("uninstall", RELEASE, "--ignore-not-found", "--wait")
        crds = ("--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        kubectl("apply", *crds)
        for namespace in (NAMESPACE, INSTALLATION):
            kubectl("delete", "namespace", namespace, "--ignore-not-found", limit=120)
        kubectl("delete", "persistentvolume", NAMESPACE, "--ignore-not-found", limit=120)


def version_that_runs(kubectl: Kubectl) -> set[str]:
    """The versions of the images that the ready Deployments have."""
    deployments = kubectl.get("-n", INSTALLATION, "deployments")["items"]
    pods = [item["spec"]["template"]["spec"] for item in deployments]
    return {pod["containers"][0]["image"].rpartition(":")[2] for pod in pods}


def runs_of(status: Any) -> list[Any]:
    """The uids of the Job and the pod of each attempt."""
    return [(attempt["jobUID"], attempt.get("podUID")) for attempt in status.get("attempts", ())]


def end_of(conversion: Conversion) -> tuple[Any, ...]:
    """What must stay of a conversion that has ended. A rollback removes newer fields."""
    status = conversion.status
    written = conversion.output.stat().st_mtime_ns if conversion.output.exists() else None
    named = (status[name] for name in ("phase", "reason", "message", "completionTime"))
    return *named, runs_of(status), written


def restored(kubectl: Kubectl, conversions: Conversions, name: str, **special: Any) -> Conversion:
    """A conversion as Velero restores it, so that it stays Pending."""
    body = conversions.manifest(name, **special)
    body["metadata"]["labels"] = {"velero.io/restore-name": "restore"}
    return conversions.adopt(kubectl.create(body))


def test_upgrades_and_rollbacks_lose_nothing_and_repeat_nothing(
    kubectl: Kubectl, release: Helm, conversions: Conversions
) -> None:
    assert version_that_runs(kubectl) == {release.old}
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
    pending = restored(kubectl, conversions, "pending", **there)
    pending.until_reason("Restored")
    before = {conversion.name: runs_of(conversion.status) for conversion in running}
    ends = [end_of(conversion) for conversion in (done, failed, cancelled)]

    release.apply("upgrade", NEW)
    assert version_that_runs(kubectl) == {NEW}
    release("rollback", RELEASE, "--force-conflicts", "--wait", "--timeout", "3m")
    assert version_that_runs(kubectl) == {release.old}
    release.apply("upgrade", NEW)

    assert {conversion.name: runs_of(conversion.status) for conversion in running} == before
    assert {conversion.phase for conversion in running} == {"Running"}
    assert [end_of(conversion) for conversion in (done, failed, cancelled)] == ends
    assert (queued.phase, pending.phase) == ("Queued", "Pending")
    for conversion in running:
        conversion.cancel()
        conversion.until_phase("Cancelled")
    kubectl("-n", NAMESPACE, "label", "convjob", "pending", "velero.io/restore-name-")
    queued.succeeded()
    pending.succeeded()
    for conversion in (done, failed, cancelled, queued, pending, *running):
        assert conversion.jobs_that_ran() == 1, conversion.name
    release("test", RELEASE, "--timeout", "3m")

    release("uninstall", RELEASE, "--wait")
    assert not kubectl.get("-n", INSTALLATION, "deployments")["items"]
    # The CRD of the chart is kept with its objects, and the claim with its files.
    assert kubectl.get("crd", CRD)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert kubectl.get("-n", NAMESPACE, "convjob", "done")["status"]["phase"] == "Succeeded"
    assert kubectl.get("-n", NAMESPACE, "persistentvolumeclaims")["items"]
    assert [end_of(conversion) for conversion in (done, failed, cancelled)] == ends


def has_pod(status: Any) -> bool:
    """True if an attempt has a pod."""
    return any(attempt.get("podUID") for attempt in status.get("attempts", ()))
