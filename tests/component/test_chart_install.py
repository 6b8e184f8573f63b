"""Helm installs, upgrades, rolls back and uninstalls the chart on a real API server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.component.support.real.processes import TOKEN, ControlPlane
from tests.component.support.tools import conversion_job
from tests.unit.deploy.charts import CHART, helm
from tests.unit.deploy.rendering import ROOT

pytestmark = [
    pytest.mark.judged,
    pytest.mark.real_only("Helm needs a real API server"),
]
INSTALLATION: Final = "my-network-converter"
# No controller counts the objects of a quota here.
FIRST: Final = {"name": "my-network", "maxConversions": 0}
SECOND: Final = {"name": "team-b", "maxConversions": 0}


class Machine:
    """Helm and kubectl on an API server without other programs."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = f"--kubeconfig={kubeconfig}"

    def helm(self, *arguments: str, **values: Any) -> None:
        given = ("--values", "-") if values else ()
        self._run(
            *(helm(), *arguments, *given, self._kubeconfig, "--namespace", INSTALLATION),
            text=yaml.safe_dump(values),
        )

    def kubectl(self, *arguments: str, text: str = "") -> str:
        return self._run(str(ROOT / ".tools/bin/kubectl"), self._kubeconfig, *arguments, text=text)

    def names(self, kind: str) -> set[str]:
        """The names of our objects of a kind, in all namespaces."""
        items = json.loads(self.kubectl("get", kind, "--all-namespaces", "-o", "json"))["items"]
        return {item["metadata"]["name"] for item in items}

    def crds(self) -> list[Any]:
        found: list[Any] = json.loads(self.kubectl("get", "crd", "-o", "json"))["items"]
        return found

    def _run(self, *command: str, text: str) -> str:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Machine]:
    """A new API server for each test, so that it has no CRD.

    The API server may take minutes to remove a CRD, because it removes the instances first. No
    test waits for the CRDs of another test.
    """
    plane = ControlPlane()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "a", "cluster": {"server": plane.url, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "a", "user": {"token": TOKEN}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    file = tmp_path / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        plane.start_api_server()
        yield Machine(file)
    finally:
        plane.stop()


@pytest.fixture
def machine(server: Machine) -> Machine:
    """The API server, with the namespace of the installation."""
    server.kubectl("create", "namespace", INSTALLATION)
    return server


def test_helm_keeps_conversions_until_it_is_told_otherwise(machine: Machine) -> None:
    chart = str(CHART)
    machine.helm("install", "converter", chart, namespaces=[FIRST])
    machine.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    machine.kubectl("create", "-f", "-", text=json.dumps(conversion_job("a")))
    machine.helm("upgrade", "converter", chart, namespaces=[FIRST, SECOND])
    assert {"my-network", "team-b"} <= machine.names("namespaces")
    machine.helm("rollback", "converter")
    settings = machine.kubectl("-n", INSTALLATION, "get", "configmaps", "-o", "yaml")
    assert "WATCH_NAMESPACES: my-network\n" in settings
    # The namespace that is no longer in the values is kept, with its claim.
    assert {"my-network", "team-b"} <= machine.names("namespaces")

    machine.helm("uninstall", "converter")
    assert machine.names("deployments") == set()
    assert machine.names("validatingadmissionpolicies") == set()
    assert machine.names("convjob") == {"a"}
    claims = machine.kubectl("get", "persistentvolumeclaims", "--all-namespaces", "-o", "name")
    assert len(claims.split()) == 2

    # The same release takes up what it has kept.
    machine.helm("install", "converter", chart, namespaces=[FIRST, SECOND])
    assert machine.names("convjob") == {"a"}
    told = {"enabled": True, "keep": False}
    machine.helm("upgrade", "converter", chart, namespaces=[FIRST, SECOND], crds=told)
    machine.helm("uninstall", "converter")
    # The API server removes a CRD after its instances. How long that takes is not ours.
    assert [crd for crd in machine.crds() if "deletionTimestamp" not in crd["metadata"]] == []
