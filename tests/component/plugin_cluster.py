"""A real API server with an installation whose controllers do not run: for ``doctor``."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.component.kubectl_plugin import ROOT, kubeconfig
from tests.component.support.real.processes import TOKEN, ControlPlane

OPERATOR = "my-network-converter"
IMAGE = "docker.io/library/my-converter:latest"


class Installation:
    """The objects of deploy/overlays/kind. Their statuses are as after a good start."""

    def __init__(self, folder: Path) -> None:
        self.plane = ControlPlane()
        self.plane.start_api_server()
        self.config = kubeconfig(folder / "admin", self.plane.url, TOKEN)
        self.kubectl("apply", "-f", str(ROOT / "crds"))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        manifests = self.kubectl("kustomize", str(ROOT / "deploy/overlays/kind"))
        self.kubectl("apply", "-f", "-", body=manifests)
        for name in ("my-network-converter-operator", "my-network-converter-gateway"):
            self.set_ready(name, 2)
        self.bind_claim()
        self.renew_lease()
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
        self.kubectl("create", "-f", "-", body=json.dumps(node))
        self.status("node/node-1", {"images": [{"names": [IMAGE], "sizeBytes": 1}]})

    def stop(self) -> None:
        self.plane.stop()

    def kubectl(self, *arguments: str, body: str = "") -> str:
        """Run kubectl as an administrator."""
        return subprocess.run(
            [ROOT / ".tools/bin/kubectl", f"--kubeconfig={self.config}", *arguments],
            input=body,
            text=True,
            stdout=subprocess.PIPE,
            check=True,
            # The API server repeats the deletion of a CRD with growing pauses while its storage
            # starts, so it can take more than a minute on a busy machine.
            timeout=180,
        ).stdout

    def status(self, target: str, status: dict[str, Any], *arguments: str) -> None:
        patch = json.dumps({"status": status})
        self.kubectl(
            *("patch", target, *arguments, "--subresource=status", "--type=merge", "-p", patch)
        )

    def set_ready(self, name: str, count: int) -> None:
        status = {"replicas": 2, "readyReplicas": count, "availableReplicas": count}
        self.status(f"deployment/{name}", status, "-n", OPERATOR)

    def bind_claim(self, mode: str = "ReadWriteMany") -> None:
        status = {"phase": "Bound", "accessModes": [mode]}
        self.status("pvc/my-network-shared", status, "-n", "my-network")

    def renew_lease(self, **spec: Any) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "my-network-converter-operator", "namespace": OPERATOR},
            "spec": {
                "holderIdentity": "operator-1",
                "leaseDurationSeconds": 3600,
                "renewTime": now,
                **spec,
            },
        }
        self.kubectl("apply", "-f", "-", body=json.dumps(lease))
