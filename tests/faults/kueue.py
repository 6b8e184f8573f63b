"""Kueue in the tests' cluster, as its own manifests install it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from tests.e2e.support.commands import ROOT, TOOLS, Kubectl, must, until
from tests.e2e.support.conversions import NAMESPACE

QUEUE: Final = "media"
LABEL: Final = "kueue.x-k8s.io/queue-name"
_IMAGE: Final = "mynetwork-test-kueue:latest"
_MODULE: Final = ROOT / "hack/go-modules/kueue"
_NAMESPACE: Final = "kueue-system"
_PATCH: Final = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "kueue-controller-manager", "namespace": _NAMESPACE},
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "manager", "image": _IMAGE, "imagePullPolicy": "Never"}]
            }
        }
    },
}


def queues(cpu: str) -> list[dict[str, Any]]:
    """A queue in the namespace of conversions, whose running Jobs may request so much CPU."""
    amounts = {"cpu": cpu, "memory": "100Gi", "ephemeral-storage": "100Gi"}
    flavor = {
        "name": QUEUE,
        "resources": [{"name": name, "nominalQuota": amount} for name, amount in amounts.items()],
    }
    group = {"coveredResources": list(amounts), "flavors": [flavor]}
    made: list[dict[str, Any]] = [
        {"kind": "ResourceFlavor", "metadata": {"name": QUEUE}},
        {
            "kind": "ClusterQueue",
            "metadata": {"name": QUEUE},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        },
        {
            "kind": "LocalQueue",
            "metadata": {"name": QUEUE, "namespace": NAMESPACE},
            "spec": {"clusterQueue": QUEUE},
        },
    ]
    return [{"apiVersion": "kueue.x-k8s.io/v1beta1"} | body for body in made]


@contextmanager
def kueue(kubectl: Kubectl, cluster: str, folder: Path, cpu: str) -> Iterator[None]:
    """Kueue with its webhooks and the queue. It is removed afterwards."""
    _load_image(cluster)
    overlay = _overlay(folder)
    kubectl("apply", "--server-side", "-k", str(overlay), limit=120)
    try:
        kubectl(*("-n", _NAMESPACE, "rollout", "status", "deployment", "--timeout=180s"), limit=190)
        for body in queues(cpu):
            # Kueue's webhook accepts connections a moment after the pod is ready.
            until(partial(_applied, kubectl, body), f"{body['kind']} is stored", 60)
        yield
    finally:
        # Kueue itself removes the finalizers of its objects, so it goes last.
        for kind in ("workloads.kueue.x-k8s.io", "localqueues", "clusterqueues", "resourceflavors"):
            kubectl("delete", kind, "--all", "--all-namespaces", "--timeout=60s", limit=90)
        kubectl("delete", "-k", str(overlay), "--ignore-not-found", limit=120)


def _applied(kubectl: Kubectl, body: dict[str, Any]) -> bool:
    return kubectl.attempt("apply", "-f", "-", text=json.dumps(body)).code == 0


def _load_image(cluster: str) -> None:
    built = subprocess.run(
        [ROOT / "hack/go-build", "kueue"], check=True, stdout=subprocess.PIPE, text=True
    )
    dockerfile = 'FROM scratch\nCOPY kueue /manager\nUSER 65532:65532\nENTRYPOINT ["/manager"]\n'
    context = built.stdout.strip()
    must(*("docker", "build", "--tag", _IMAGE, "-f", "-", context), text=dockerfile, limit=300)
    kind = str(TOOLS / "bin/kind")
    must(kind, "load", "docker-image", "--name", cluster, _IMAGE, limit=300)
    must("docker", "image", "rm", _IMAGE)


def _overlay(folder: Path) -> Path:
    """The manifests in Kueue's Go module, with our image of the program."""
    listed = subprocess.run(
        [ROOT / "hack/go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue"],
        cwd=_MODULE,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    manifests = os.path.relpath(f"{listed.stdout.strip()}/config/default", folder.resolve())
    body = {"resources": [manifests], "patches": [{"patch": yaml.safe_dump(_PATCH)}]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return folder
