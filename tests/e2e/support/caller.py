"""A program in the cluster that calls the HTTP API: a pod with a service account of its own."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.e2e.support.commands import ROOT, Kubectl

BASE_URL: Final = "http://my-network-converter-gateway.my-network-converter"
TOKEN_FILE: Final = "/var/run/secrets/my-network-converter/token"  # noqa: S105  a path
SHARED: Final = "/opt/my-network/shared"
STORAGE: Final = "/opt/my-network/storage"
"""Where MY Network has the volume, and the folder ``storage`` of it."""

_IMAGE: Final = "my-converter-gateway:latest"
_CLIENT: Final = "mynetwork-converter-client"
_CLIENT_FOLDER: Final = "/client/mynetwork_converter"
# No image has the client's libraries; what these need themselves is in the gateway's.
_LIBRARIES: Final = ("httpx2", "httpcore2", "tenacity", "truststore")
_WITH_VARIABLES: Final = (
    "import json, os, sys; variables, *arguments = sys.argv[1:]; "
    "environment = {**os.environ, **json.loads(variables)}; "
    "os.execvpe('python3', ('python3', '-', *arguments), environment)"
)
"""Runs the script on standard input with variables, which are the first argument as JSON."""
_RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _pod(name: str, namespace: str, volume: bool, program: str) -> dict[str, Any]:
    token = {"serviceAccountToken": {"path": "token", "audience": "my-network-converter"}}
    volumes = [
        {"name": "token", "projected": {"sources": [token]}},
        {"name": "client", "configMap": {"name": _CLIENT}},
    ]
    mounts = [
        {"name": "token", "mountPath": TOKEN_FILE.rpartition("/")[0]},
        {"name": "client", "mountPath": _CLIENT_FOLDER},
    ]
    if volume:
        claim = {"claimName": "my-network-shared"}
        volumes.append({"name": "shared", "persistentVolumeClaim": claim})
        mounts.append({"name": "shared", "mountPath": SHARED})
        mounts.append({"name": "shared", "mountPath": STORAGE, "subPath": "storage"})
    container = {
        "name": "main",
        "image": _IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", program],
        "env": [
            {"name": "PYTHONPATH", "value": f"/client:{_CLIENT_FOLDER}/libraries.zip:/packages"}
        ],
        "securityContext": _RESTRICTED,
        "volumeMounts": mounts,
    }
    spec = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _pack_libraries(folder: Path) -> Path:
    """A zip file that Python imports the libraries from: a ConfigMap has no folders."""
    archive = folder / "libraries.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for library in _LIBRARIES:
            for file in distribution(library).files or ():
                # httpx2 reads its version from its metadata.
                if file.suffix == ".py" or file.name == "METADATA":
                    packed.write(Path(str(file.locate())), str(file))
    return archive


@dataclass(frozen=True, slots=True)
class Caller:
    """A pod that runs Python, with httpx2 and the client of the API."""

    kubectl: Kubectl
    name: str
    namespace: str

    @classmethod
    def start(
        cls,
        kubectl: Kubectl,
        name: str,
        namespace: str,
        *,
        volume: bool = False,
        program: str = "import signal; signal.pause()",
    ) -> Caller:
        """Make it, with a service account that may do nothing yet, and wait until it runs."""
        here = ("-n", namespace)
        kubectl(*here, "create", "serviceaccount", name)
        if kubectl.attempt(*here, "get", "configmap", _CLIENT).code:
            with TemporaryDirectory() as folder:
                archive = _pack_libraries(Path(folder))
                files = (
                    f"--from-file={ROOT / 'client/mynetwork_converter'}",
                    f"--from-file={archive}",
                )
                kubectl(*here, "create", "configmap", _CLIENT, *files)
        kubectl.create(_pod(name, namespace, volume, program))
        kubectl.wait("condition=Ready", *here, f"pod/{name}", seconds=60)
        return cls(kubectl, name, namespace)

    def serve(self, port: int) -> str:
        """Make a Service for its port; returns the URL."""
        here = ("-n", self.namespace, "expose", "pod", self.name, f"--port={port}")
        self.kubectl(*here)
        return f"http://{self.name}.{self.namespace}.svc.cluster.local:{port}"

    def bind(self) -> None:
        """Let its service account call the API about the conversions of its namespace."""
        self.kubectl(
            *("-n", self.namespace, "create", "rolebinding", self.name),
            "--clusterrole=my-network-converter-caller",
            f"--serviceaccount={self.namespace}:{self.name}",
        )

    def run(self, script: str, *arguments: str, **environment: str) -> str:
        """What a script prints; it has to work."""
        # The image has no program that sets variables.
        command = ("python3", "-c", _WITH_VARIABLES, json.dumps(environment), *arguments)
        here = ("-n", self.namespace, "exec", "-i", self.name, "--")
        return self.kubectl(*here, *command, text=script, limit=180)

    def ask(self, script: str, *arguments: str) -> Any:
        """The JSON value that a script prints last."""
        return json.loads(self.run(script, *arguments).splitlines()[-1])

    def remove(self) -> None:
        """Take pod and account away."""
        here = ("-n", self.namespace, "delete", "--ignore-not-found", "--wait=false")
        for kind in ("pod", "serviceaccount", "rolebinding", "service"):
            self.kubectl(*here, kind, self.name)
