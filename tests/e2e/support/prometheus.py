"""A Prometheus in the cluster, with the rules and what to scrape from deploy/monitoring."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.e2e.support.commands import ROOT, Kubectl, must
from tests.e2e.support.operator import NAMESPACE as OPERATOR_NAMESPACE

IMAGE: Final = "converter-test-prometheus:latest"
FOLDER: Final = ROOT / "deploy/monitoring"
NAMESPACE: Final = "monitoring"
NAME: Final = "prometheus"
_SOURCE: Final = Path(__file__).parents[1] / "prometheus"
_CONFIG: Final = """\
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [plain-rules.yaml]
scrape_config_files: [scrape.yaml]
"""


def build_image() -> None:
    """Build the image, if it has changed."""
    must("docker", "build", "--network=host", "-q", "-t", IMAGE, str(_SOURCE), limit=300)


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool in a folder that it can read, without a network."""
    return subprocess.run(
        [
            *("docker", "run", "--rm", "--network=none", f"--volume={folder}:/rules:ro"),
            *("--workdir=/rules", "--entrypoint=promtool", IMAGE, *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Prometheus:
    """Answers queries."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def query(self, expression: str) -> list[Any]:
        """The samples of an instant query. Raises CommandFailed if it is not valid."""
        found: list[Any] = self._get(f"query?query={quote(expression, safe='')}")["result"]
        return found

    def rules(self) -> list[Any]:
        """The state of each rule."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[Any]:
        """What it scrapes."""
        active: list[Any] = self._get("targets?state=active")["activeTargets"]
        return active

    def _get(self, path: str) -> Any:
        pod = f"/api/v1/namespaces/{NAMESPACE}/pods/{NAME}:9090/proxy"
        return json.loads(self._kubectl.raw(f"{pod}/api/v1/{path}"))["data"]


@contextmanager
def prometheus_in_cluster(kubectl: Kubectl) -> Iterator[Prometheus]:
    """Runs until the end of the block, in a namespace with the label for metrics."""
    load_image(kubectl, IMAGE)
    _remove(kubectl)  # what a killed run left
    for body in _objects():
        kubectl.create(body)
    try:
        kubectl.wait("condition=Ready", "-n", NAMESPACE, f"pod/{NAME}", seconds=60)
        yield Prometheus(kubectl)
    finally:
        _remove(kubectl)


def _remove(kubectl: Kubectl) -> None:
    there = ("-n", OPERATOR_NAMESPACE, "role,rolebinding", NAME)
    for what in (there, ("namespace", NAMESPACE)):
        kubectl("delete", *what, "--ignore-not-found")


def load_image(kubectl: Kubectl, image: str) -> None:
    """Load an image of the local Docker into each node."""
    for node in kubectl.get("nodes")["items"]:
        load = ("docker", "exec", "-i", node["metadata"]["name"], "ctr", "-n", "k8s.io")
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                [*load, "images", "import", "-"],
                stdin=saved.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=120,
            )


def _objects() -> Iterator[dict[str, Any]]:
    own = {"name": NAME, "namespace": NAMESPACE}
    there = {"name": NAME, "namespace": OPERATOR_NAMESPACE}
    rbac, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    scrape = (FOLDER / "scrape.yaml").read_text(encoding="utf-8")
    assert "scrape_interval: 30s" in scrape
    files = {
        "prometheus.yml": _CONFIG,
        "scrape.yaml": scrape.replace("scrape_interval: 30s", "scrape_interval: 1s"),
        "plain-rules.yaml": (FOLDER / "plain-rules.yaml").read_text(encoding="utf-8"),
    }
    label = {"metrics": "enabled"}
    yield _object("v1", "Namespace", {"name": NAMESPACE, "labels": label})
    yield _object("v1", "ServiceAccount", own)
    yield _object("v1", "ConfigMap", own, data=files)
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    yield _object(rbac, "Role", there, rules=[pods])
    yield _object(
        rbac,
        "RoleBinding",
        there,
        roleRef={"apiGroup": group, "kind": "Role", "name": NAME},
        subjects=[{"kind": "ServiceAccount", **own}],
    )
    yield _object("v1", "Pod", own, spec=_pod())


def _object(version: str, kind: str, metadata: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534},
        "volumes": [{"name": "config", "configMap": {"name": NAME}}, {"name": "d", "emptyDir": {}}],
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "args": ["--config.file=/config/prometheus.yml", "--storage.tsdb.path=/data"],
                "readinessProbe": {
                    "httpGet": {"path": "/-/ready", "port": 9090},
                    "periodSeconds": 1,
                },
                "volumeMounts": [
                    {"name": "config", "mountPath": "/config"},
                    {"name": "d", "mountPath": "/data"},
                ],
            }
        ],
    }
