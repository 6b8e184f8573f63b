"""The manifests of docs/gitops.md fit Flux, the chart and the CRD, and its health check works."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.validation import spec_rules
from tests.support.argo_cd import OF_KSTATUS, PAGE, argo_health, health_check, manifests
from tests.support.kstatus import health
from tests.unit.deploy.charts import chart_objects, template
from tests.unit.deploy.rendering import ROOT, of_kind, samples

Obj = dict[str, Any]
CONVERSIONS = json.loads((ROOT / "tests/golden/unreleased.json").read_text(encoding="utf-8"))
INSTALLATION = "my-network-converter"


IN_FLUX = [obj for obj in manifests() if ".toolkit.fluxcd.io/" in obj["apiVersion"]]


def strictly_decoded(*documents: Obj) -> str:
    """Decode with the Go types of Flux. Returns the error."""
    built = subprocess.run(
        [ROOT / "hack/go-build", "flux"], check=True, stdout=subprocess.PIPE, text=True
    )
    done = subprocess.run(
        [f"{built.stdout.strip()}/flux"],
        input=yaml.safe_dump_all(documents),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def test_the_page_has_no_manifest_that_no_test_knows() -> None:
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in manifests()] == [
        ("Namespace", "my-network-converter"),
        ("OCIRepository", "converter"),
        ("HelmRelease", "converter"),
        ("Kustomization", "converter"),
        ("Kustomization", "conversions"),
        ("Secret", "media-charts"),
        ("Application", "converter"),
        ("ConfigMap", "argocd-cm"),
        ("ConversionJob", "guitar-mp3"),
    ]


def test_flux_accepts_its_manifests() -> None:
    assert strictly_decoded(*IN_FLUX) == ""


@pytest.mark.parametrize("obj", IN_FLUX, ids=lambda obj: obj["kind"])
def test_a_field_that_flux_does_not_know_is_found(obj: Obj) -> None:
    changed = copy.deepcopy(obj)
    changed["spec"]["intervall"] = changed["spec"].pop("interval")
    assert 'unknown field "spec.intervall"' in strictly_decoded(changed)


def values_of(obj: Obj) -> Obj:
    """The values of the chart in a HelmRelease or an Application."""
    spec: Obj = obj["spec"]
    values: Obj = spec["values"] if "values" in spec else spec["source"]["helm"]["valuesObject"]
    return values


@pytest.mark.parametrize("kind", ["HelmRelease", "Application"])
def test_the_chart_accepts_the_values(kind: str) -> None:
    (obj,) = of_kind(manifests(), kind)
    made = chart_objects(INSTALLATION, values_of(obj))
    (claim,) = of_kind(made, "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "shared-files"
    typo = copy.deepcopy(values_of(obj))
    typo["operator"]["setings"] = typo["operator"].pop("settings")
    assert template(INSTALLATION, typo).returncode != 0


def test_the_manifests_of_both_tools_name_the_same_release() -> None:
    by_kind = {obj["kind"]: obj for obj in manifests()}
    repository, release = by_kind["OCIRepository"], by_kind["HelmRelease"]
    assert release["spec"]["chartRef"] == {"kind": "OCIRepository", "name": "converter"}
    assert release["metadata"]["namespace"] == repository["metadata"]["namespace"] == INSTALLATION
    source = by_kind["Application"]["spec"]["source"]
    url = by_kind["Secret"]["stringData"]["url"]
    assert source["repoURL"] == url
    assert repository["spec"]["url"] == f"oci://{url}/{source['chart']}"
    assert repository["spec"]["ref"]["tag"] == source["targetRevision"] == "0.2.0"
    chart = yaml.safe_load((ROOT / "charts/my-network-converter/Chart.yaml").read_text())
    assert source["chart"] == chart["name"]
    page = PAGE.read_text(encoding="utf-8")
    assert f"helm push dist/{chart['name']}-0.2.0.tgz oci://{url}\n" in page
    labels = by_kind["Namespace"]["metadata"]["labels"]
    policy = by_kind["Application"]["spec"]["syncPolicy"]
    assert policy["managedNamespaceMetadata"]["labels"] == labels
    assert by_kind["Application"]["spec"]["destination"]["namespace"] == INSTALLATION


def test_the_conversion_that_is_waited_for_exists() -> None:
    (flux,) = (obj for obj in manifests() if obj["metadata"]["name"] == "conversions")
    (check,) = flux["spec"]["healthChecks"]
    assert (check["apiVersion"], check["kind"]) == (names.API_VERSION, names.KIND)
    (made,) = of_kind(manifests(), names.KIND)
    (sample,) = (obj for obj in samples() if obj["metadata"]["name"] == check["name"])
    assert made["metadata"] == sample["metadata"]
    assert made["metadata"]["namespace"] == check["namespace"]
    ConversionJobSpec.model_validate(made["spec"])
    assert flux["spec"]["dependsOn"] == [{"name": "converter"}]


def test_argo_cd_finds_the_health_check() -> None:
    key, _ = health_check()
    assert key == f"resource.customizations.health.{names.GROUP}_{names.KIND}"


@pytest.mark.parametrize("obj", CONVERSIONS, ids=lambda obj: obj["metadata"]["name"])
def test_argo_cd_and_flux_agree_about_each_phase(obj: Obj) -> None:
    obj = copy.deepcopy(obj)
    assert argo_health(obj) == (OF_KSTATUS[health(obj)], obj["status"]["message"])
    table = PAGE.read_text(encoding="utf-8").partition("| Phase | Conditions")[2].splitlines()
    row = next(row for row in table if obj["status"]["phase"] in row)
    conditions, told = (cell.strip() for cell in row.split("|")[2:4])
    true = {c["type"] for c in obj["status"]["conditions"] if c["status"] == "True"}
    assert (set(conditions.split(", ")), told) == (true, health(obj))
    obj["metadata"]["generation"] += 1
    assert argo_health(obj)[0] == OF_KSTATUS[health(obj)] == "Progressing"


def test_a_conversion_without_a_status_is_progressing() -> None:
    """As from an API server that had a CRD without a default."""
    assert argo_health({"metadata": {"generation": 1}}) == ("Progressing", None)


def test_the_page_names_the_fields_that_can_be_changed() -> None:
    """A rule of the CRD names them too."""
    (told,) = {
        found for rule in spec_rules() for found in re.findall(r"\((.*) can change", rule.message)
    }
    sentence = PAGE.read_text(encoding="utf-8").partition("into another one.** Only ")[2]
    named = re.findall(r"`(\w+)`", sentence.partition(" can be changed")[0])
    assert named == told.split(", ")
