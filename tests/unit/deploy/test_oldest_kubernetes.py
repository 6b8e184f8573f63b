"""The oldest Kubernetes that the pages promise accepts the CRDs.

API servers of different versions estimate the cost of CEL rules differently. Before 1.34, they take
an option for a string of three megabytes, and refuse the CRDs.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.api.crd import build_crd
from tests.unit.deploy.rendering import ROOT

CRDS = sorted((ROOT / "crds").glob("*.yaml"))


def checked(*paths: Path) -> subprocess.CompletedProcess[str]:
    """The answer of the check. The first call builds it, which takes a minute."""
    command = [str(ROOT / "hack/check-crds"), *map(str, paths)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


@pytest.mark.timeout(600)
def test_the_oldest_api_server_accepts_the_crds() -> None:
    assert len(CRDS) == 3
    done = checked(*CRDS)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.timeout(600)
def test_a_rule_that_costs_too_much_is_found(tmp_path: Path) -> None:
    crd: dict[str, Any] = build_crd()
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["outputs"]["maxItems"]
    path = tmp_path / "crd.yaml"
    path.write_text(yaml.safe_dump(crd), encoding="utf-8")
    done = checked(path)
    assert done.returncode == 1
    assert "estimated rule cost exceeds budget" in done.stdout


def test_the_pages_promise_the_version_of_the_check() -> None:
    module = (ROOT / "hack/crd-check/go.mod").read_text(encoding="utf-8")
    found = re.search(r"k8s.io/apiextensions-apiserver v0\.(\d+)\.0\n", module)
    assert found is not None
    oldest = f"1.{found[1]}"
    chart = yaml.safe_load((ROOT / "charts/my-network-converter/Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={oldest}.0-0"
    for page in ("README.md", "docs/install.md"):
        assert f"- Kubernetes {oldest} or later" in (ROOT / page).read_text(encoding="utf-8"), page
