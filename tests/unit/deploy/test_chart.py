"""The Helm chart: it equals the output of kustomize, and Helm refuses values that do not exist."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.api import names
from conversion_operator.api.pod_settings import parse_pod_settings
from conversion_operator.controller.settings import Settings
from hack.generate import generated_files
from tests.unit.deploy.charts import (
    CHART,
    by_name,
    chart_hooks,
    chart_objects,
    run_helm,
    template,
)
from tests.unit.deploy.rendering import (
    DEPLOY,
    GATEWAY,
    OPERATOR,
    ROOT,
    all_namespaces,
    edit,
    of_kind,
    render,
)
from tests.unit.deploy.test_manifests import unrestricted

RELEASE = "my-network-converter"
REGISTRY = "registry.example.com"
VERSION = "0.1.0"
IMAGES = {"registry": REGISTRY} | {
    name: {"tag": VERSION} for name in ("operator", "gateway", "converter")
}
CLAIM = {"storageClassName": "shared-files", "size": "100Gi"}
STORAGE_CLASS: dict[str, Any] = {
    "images": IMAGES,
    "namespaces": [{"name": "my-network", "claim": CLAIM}],
}
# What only Helm needs. docs/design.md says why.
ONLY_IN_THE_CHART = ("helm.sh/resource-policy", "checksum/settings")


def comparable(value: Any) -> Any:
    """An object without the annotations that only the chart has."""
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    plain = {name: comparable(inner) for name, inner in value.items()}
    if isinstance(plain.get("annotations"), dict):
        for name in ONLY_IN_THE_CHART:
            plain["annotations"].pop(name, None)
        if not plain["annotations"]:
            del plain["annotations"]
    return plain


def crds() -> list[dict[str, Any]]:
    files = sorted((ROOT / "crds").iterdir())
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]


def assert_equal(chart: Any, overlay: Any, release: str) -> None:
    """Both have the same objects, except the namespace that must exist before Helm installs."""
    left, right = by_name(chart), by_name([*overlay, *crds()])
    del right["Namespace", "", release]
    assert set(left) == set(right)
    for name, item in right.items():
        assert comparable(left[name]) == comparable(item), name


def test_the_chart_equals_the_overlay_for_storage_classes() -> None:
    assert_equal(chart_objects(RELEASE, STORAGE_CLASS), render("storage-class"), RELEASE)


SETTINGS_OF_THE_SECOND = """\
  - patch: |
      apiVersion: v1
      kind: ConfigMap
      metadata:
        name: {name}
        namespace: converter-b
      data:
        {setting}: team-b
"""


def test_the_chart_equals_the_overlay_of_a_second_installation_without_tokens(
    tmp_path: Path,
) -> None:
    deploy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("samples"))
    overlay = deploy / "overlays/storage-class"
    edit(
        overlay / "operator/kustomization.yaml", (f"namespace: {RELEASE}", "namespace: converter-b")
    )
    edit(overlay / "my-network/kustomization.yaml", ("namespace: my-network", "namespace: team-b"))
    edit(overlay / "kustomization.yaml", ("components:\n", "components:\n  - ../../network-auth\n"))
    edit(
        deploy / "network-auth/kustomization.yaml",
        ("kubernetes.io/metadata.name: my-network", "kubernetes.io/metadata.name: website"),
    )
    with (overlay / "kustomization.yaml").open("a", encoding="utf-8") as page:
        for name, setting in ((OPERATOR, "WATCH_NAMESPACES"), (GATEWAY, "GATEWAY_NAMESPACE")):
            page.write(SETTINGS_OF_THE_SECOND.format(name=name, setting=setting))
    values = {
        "images": IMAGES,
        "namespaces": [{"name": "team-b", "claim": CLAIM}],
        "gateway": {"settings": {"GATEWAY_AUTH": "network"}, "callerNamespace": "website"},
    }
    assert_equal(chart_objects("converter-b", values), render(str(overlay)), "converter-b")


def test_each_generated_template_is_made_from_a_file_of_deploy() -> None:
    generated = {name for name in generated_files() if name.startswith("charts/")}
    folders = {str(Path(name).parent) for name in generated if "/templates/" in name}
    found = {
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).iterdir()
    }
    assert found == {name for name in generated if "/templates/" in name}


TYPOS: dict[str, dict[str, Any]] = {
    "a key": {"image": IMAGES},
    "a key of a namespace": {"namespaces": [{"name": "a", "claims": {}}]},
    "a namespace without a name": {"namespaces": [{"create": True}]},
    "a namespace as text": {"namespaces": ["my-network"]},
    "no namespace": {"namespaces": []},
    "the name of a namespace": {"namespaces": [{"name": "My_Network"}]},
    "a size": {"namespaces": [{"name": "a", "claim": {"size": "100 GB"}}]},
    "the name of a setting": {"operator": {"settings": {"CONVERTER_MAX_PARALEL": 5}}},
    "a number": {"operator": {"settings": {"CONVERTER_MAX_PARALLEL": "four"}}},
    "a bound": {"operator": {"settings": {"CONVERTER_MAX_PARALLEL": -1}}},
    "a choice": {"operator": {"settings": {"LOG_LEVEL": "VERBOSE"}}},
    "a boolean": {"operator": {"settings": {"CONVERTER_ENABLED": "yes please"}}},
    "a setting that has a value": {"operator": {"settings": {"CONVERTER_IMAGE": "a"}}},
    "a setting of the other part": {"gateway": {"settings": {"CONVERTER_MAX_PARALLEL": 5}}},
    "a digest": {"images": {"converter": {"digest": "sha256:abc"}}},
    "a pull policy": {"images": {"pullPolicy": "ifNotPresent"}},
    "a pull secret": {"imagePullSecrets": ["registry"]},
    "a label": {"extraLabels": {"team": 7}},
    "resources": {"operator": {"resources": {"limit": {"cpu": "1"}}}},
    "a switch": {"crds": {"keep": "no"}},
    "an interval": {"monitoring": {"serviceMonitor": {"interval": "30"}}},
    "the folder of the test": {"test": {"folder": "../output"}},
}


@pytest.mark.parametrize("typo", TYPOS)
def test_helm_refuses_a_typo_and_names_the_place(typo: str) -> None:
    done = template(RELEASE, TYPOS[typo])
    assert done.returncode != 0
    place = next(iter(TYPOS[typo]))
    assert "values don't meet the specifications of the schema" in done.stderr
    assert place in done.stderr


def test_values_yaml_has_each_value_that_the_schema_allows() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert missing(schema, values, "") == []


def missing(schema: dict[str, Any], values: Any, path: str) -> list[str]:
    """The properties of the schema that have no default. Settings have theirs in the templates."""
    found = []
    for name, inner in schema.get("properties", {}).items():
        if path.endswith(".settings") or (path, name) == ("", "global"):
            continue
        if name not in values:
            found.append(f"{path}.{name}")
        elif isinstance(values[name], dict):
            found += missing(inner, values[name], f"{path}.{name}")
    return found


def test_the_comments_of_values_yaml_name_each_value_of_a_namespace() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    item = schema["properties"]["namespaces"]["items"]["properties"]
    page = (CHART / "values.yaml").read_text(encoding="utf-8")
    for name in (*item, *item["claim"]["properties"]):
        assert re.search(rf"^#  +{name}:", page, re.MULTILINE), name


def test_helm_accepts_the_chart() -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def one(objects: Any, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    (found,) = (
        item
        for item in of_kind(objects, kind)
        if item["metadata"]["name"] == name
        and (not namespace or item["metadata"].get("namespace") == namespace)
    )
    return dict(found)


def test_settings_are_texts_as_the_operator_reads_them() -> None:
    given: dict[str, Any] = {
        "CONVERTER_MAX_PARALLEL": 12,
        "CONVERTER_MAX_OUTPUT_BYTES": 107374182401,
        "CONVERTER_ENABLED": False,
        "CONVERTER_MAX_CPU": 8,
        "CONVERTER_RESTORE_LABELS": "",
        "CONVERTER_CALLBACK_HOSTS": 'a.example.com "b"',
    }
    objects = chart_objects(RELEASE, {"operator": {"settings": given}})
    data = one(objects, "ConfigMap", OPERATOR)["data"]
    assert {name: data[name] for name in given} == {
        "CONVERTER_MAX_PARALLEL": "12",
        "CONVERTER_MAX_OUTPUT_BYTES": "107374182401",
        "CONVERTER_ENABLED": "false",
        "CONVERTER_MAX_CPU": "8",
        "CONVERTER_RESTORE_LABELS": "",
        "CONVERTER_CALLBACK_HOSTS": 'a.example.com "b"',
    }
    defaults = one(chart_objects(RELEASE, {}), "ConfigMap", OPERATOR)["data"]
    assert {name: data[name] for name in data if name not in given} == {
        name: defaults[name] for name in data if name not in given
    }
    # The LimitRange has the maximum of the settings.
    (container,) = one(objects, "LimitRange", RELEASE)["spec"]["limits"]
    assert container["max"]["cpu"] == "8"


def test_every_namespace_has_its_own_objects() -> None:
    values = {
        "namespaces": [
            {
                "name": "a",
                "maxConversions": 50,
                "claim": {"volumeName": "v", "storageClassName": ""},
            },
            {"name": "b", "create": False, "maxConversions": 0, "claim": {"create": False}},
        ],
        "operator": {"settings": {"SHARED_VOLUME_CLAIM": "media"}},
    }
    objects = chart_objects("converter-b", values)
    kinds = {
        space: sorted(
            item["kind"] for item in objects if item["metadata"].get("namespace") == space
        )
        for space in ("a", "b")
    }
    both = ["LimitRange", "NetworkPolicy", "Role", "Role", "RoleBinding", "RoleBinding"]
    assert kinds["a"] == sorted([*both, "PersistentVolumeClaim", "ResourceQuota"])
    assert kinds["b"] == both
    (namespace,) = of_kind(objects, "Namespace")
    assert namespace["metadata"]["name"] == "a"
    assert namespace["metadata"]["labels"][names.OPERATOR_NAMESPACE_LABEL] == "converter-b"
    quota = one(objects, "ResourceQuota", RELEASE, "a")["spec"]["hard"]
    assert quota == {f"count/{names.PLURAL}.{names.GROUP}": "50"}
    claim = one(objects, "PersistentVolumeClaim", "media", "a")["spec"]
    assert (claim["storageClassName"], claim["volumeName"]) == ("", "v")
    settings = one(objects, "ConfigMap", OPERATOR)["data"]
    assert (settings["WATCH_NAMESPACES"], settings["SHARED_VOLUME_CLAIM"]) == ("a,b", "media")
    assert one(objects, "ConfigMap", GATEWAY)["data"]["GATEWAY_NAMESPACE"] == "a"


@pytest.mark.parametrize("release", [RELEASE, "converter-b"])
def test_the_chart_equals_the_overlay_for_all_namespaces(tmp_path: Path, release: str) -> None:
    overlay = all_namespaces(tmp_path)
    edit(
        overlay / "operator/kustomization.yaml", (f"namespace: {RELEASE}", f"namespace: {release}")
    )
    objects = chart_objects(release, STORAGE_CLASS | {"watchAllNamespaces": True})
    assert_equal(objects, render(str(overlay)), release)
    assert one(objects, "ConfigMap", OPERATOR)["data"]["WATCH_NAMESPACES"] == "*"
    for role in of_kind(objects, "ClusterRoleBinding"):
        assert role["metadata"]["name"].startswith(release)
        assert role["roleRef"]["name"] == role["metadata"]["name"]
        assert [subject["namespace"] for subject in role["subjects"]] == [release]
    policies = [each["metadata"]["name"] for each in of_kind(objects, "ValidatingAdmissionPolicy")]
    assert f"{release}-caller" in policies
    assert f"{release}-unserved" not in policies


def test_a_namespace_that_is_not_served_any_more_keeps_its_objects() -> None:
    """So the operator can end what runs there before its rights are removed."""
    namespaces = [{"name": "a"}, {"name": "b", "serve": False}]
    objects = chart_objects(RELEASE, {"namespaces": namespaces})
    assert one(objects, "ConfigMap", OPERATOR)["data"]["WATCH_NAMESPACES"] == "a"
    assert one(objects, "RoleBinding", OPERATOR, "b")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "a is listed twice"),
        ([{"name": RELEASE, "create": False}], "is the namespace of the release"),
        ([{"name": "a", "serve": False}], "at least one needs serve: true"),
    ],
)
def test_helm_refuses_namespaces_that_cannot_be_right(listed: Any, message: str) -> None:
    done = template(RELEASE, {"namespaces": listed})
    assert done.returncode != 0
    assert message in done.stderr


def test_a_claim_has_the_default_class_unless_one_is_given() -> None:
    (claim,) = of_kind(chart_objects(RELEASE, {}), "PersistentVolumeClaim")
    assert "storageClassName" not in claim["spec"]


def test_helm_keeps_what_has_conversions_and_files() -> None:
    kept = {
        item["kind"]
        for item in chart_objects(RELEASE, {})
        if item["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {"CustomResourceDefinition", "Namespace", "PersistentVolumeClaim"}
    unkept = of_kind(chart_objects(RELEASE, {"crds": {"keep": False}}), "CustomResourceDefinition")
    assert len(unkept) == len(crds())
    assert all(comparable(each) == each for each in unkept)
    assert not of_kind(
        chart_objects(RELEASE, {"crds": {"enabled": False}}), "CustomResourceDefinition"
    )


def images(objects: Any) -> set[str]:
    pods = [item["spec"]["template"]["spec"] for item in of_kind(objects, "Deployment")]
    settings = one(objects, "ConfigMap", OPERATOR)["data"]
    return {pod["containers"][0]["image"] for pod in pods} | {settings["CONVERTER_IMAGE"]}


def test_images_have_the_version_of_the_chart_a_tag_or_a_digest() -> None:
    assert images(chart_objects(RELEASE, {})) == {
        "my-converter-operator:0.0.0",
        "my-converter-gateway:0.0.0",
        "my-converter:0.0.0",
    }
    digest = f"sha256:{'a' * 64}"
    given = {
        "registry": f"{REGISTRY}/media/",
        "operator": {"repository": "operator", "tag": "1", "digest": digest},
        "converter": {"digest": digest},
    }
    assert images(chart_objects(RELEASE, {"images": given})) == {
        f"{REGISTRY}/media/operator@{digest}",
        f"{REGISTRY}/media/my-converter-gateway:0.0.0",
        f"{REGISTRY}/media/my-converter@{digest}",
    }


def test_pods_and_objects_get_what_the_values_say() -> None:
    pod = {
        "priorityClassName": "high",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "resources": {"requests": {"cpu": "2"}},
    }
    values = {
        "extraLabels": {"team": "media"},
        "imagePullSecrets": [{"name": "registry"}],
        "operator": pod | {"podAnnotations": {"a": "b"}},
        "gateway": pod | {"podAnnotations": {"a": "b"}, "replicas": 1},
    }
    objects = chart_objects(RELEASE, values)
    for item in objects:
        assert item["metadata"]["labels"]["team"] == "media", item["metadata"]
    for name in (OPERATOR, GATEWAY):
        deployed = one(objects, "Deployment", name)["spec"]["template"]
        assert deployed["metadata"]["labels"] == {"app.kubernetes.io/name": name, "team": "media"}
        assert deployed["metadata"]["annotations"]["a"] == "b"
        spec = deployed["spec"]
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert spec["containers"][0]["resources"]["requests"]["cpu"] == "2"
        for key in ("priorityClassName", "nodeSelector", "tolerations", "affinity"):
            assert spec[key] == pod[key]
    # With one replica, a budget would block the drain of its node.
    assert not of_kind(objects, "PodDisruptionBudget")


def checksum(values: dict[str, Any]) -> str:
    deployed = one(chart_objects(RELEASE, values), "Deployment", GATEWAY)["spec"]["template"]
    return str(deployed["metadata"]["annotations"]["checksum/settings"])


def test_pod_settings_may_be_written_as_yaml() -> None:
    document = {"labels": {"team": "a", "x": "1"}, "hostUsers": False, "tolerations": []}
    for given in (document, yaml.safe_dump(document)):
        values = {"operator": {"settings": {"CONVERTER_POD_SETTINGS": given}}}
        data = one(chart_objects(RELEASE, values), "ConfigMap", OPERATOR)["data"]
        assert yaml.safe_load(data["CONVERTER_POD_SETTINGS"]) == document
        assert parse_pod_settings(data["CONVERTER_POD_SETTINGS"]).common.labels["x"] == "1"


def test_the_http_api_restarts_when_its_settings_change() -> None:
    assert checksum({}) == checksum({"operator": {"settings": {"CONVERTER_MAX_PARALLEL": 5}}})
    assert checksum({}) != checksum({"gateway": {"settings": {"GATEWAY_RATE_BURST": 5}}})


def test_parts_can_be_left_out() -> None:
    off = {"enabled": False}
    objects = chart_objects(RELEASE, {"gateway": off, "userRoles": off, "policies": off})
    text = yaml.safe_dump_all(objects)
    assert GATEWAY not in text
    assert not of_kind(objects, "ClusterRole")
    assert not of_kind(objects, "ValidatingAdmissionPolicy")


def test_a_service_monitor_is_made_when_it_is_asked_for() -> None:
    assert not of_kind(chart_objects(RELEASE, {}), "ServiceMonitor")
    wanted = {"enabled": True, "labels": {"release": "prometheus"}}
    allowed = [{"namespaceSelector": {"matchLabels": {"name": "watch"}}}]
    values = {"monitoring": {"serviceMonitor": wanted, "ingressFrom": allowed}}
    objects = chart_objects(RELEASE, values)
    (monitor,) = of_kind(objects, "ServiceMonitor")
    service = one(objects, "Service", OPERATOR)
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    (rule,) = one(objects, "NetworkPolicy", OPERATOR)["spec"]["ingress"]
    assert rule["from"] == allowed


def test_own_content_rules_and_egress_rules_replace_and_extend() -> None:
    rules = {"keepExtension": "Always", "rules": []}
    egress = [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    values = {"gateway": {"contentRules": rules}, "operator": {"extraEgress": egress}}
    objects = chart_objects(RELEASE, values)
    found = one(objects, "ConfigMap", "my-network-converter-content-rules")["data"]["rules.yaml"]
    assert yaml.safe_load(found) == rules
    policy = one(objects, "NetworkPolicy", OPERATOR)["spec"]["egress"]
    assert policy[-1:] == egress
    assert policy[:-1] == one(render("storage-class"), "NetworkPolicy", OPERATOR)["spec"]["egress"]


def test_helm_test_runs_a_restricted_pod_with_few_rights() -> None:
    values = {
        "namespaces": [{"name": "a"}, {"name": "b"}],
        "operator": {
            "settings": {
                "CONVERTER_VOLUME_FOLDER": "tenants/{namespace}",
                "SHARED_VOLUME_CLAIM": "media",
                "CONVERTER_RUN_AS_USER": 1000,
            }
        },
    }
    hooks = chart_hooks("converter-b", values)
    assert {item["metadata"]["namespace"] for item in hooks} == {"a"}
    (role,) = of_kind(hooks, "Role")
    assert role["rules"] == [
        {
            "apiGroups": [names.GROUP],
            "resources": [names.PLURAL],
            "verbs": ["get", "create", "delete"],
        }
    ]
    (pod,) = of_kind(hooks, "Pod")
    (container,) = pod["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert (variables["NAMESPACE"], variables["FOLDER"]) == ("a", "output")
    assert variables["VOLUME_FOLDER"] == "tenants/{namespace}"
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "media"
    # The user of the converter, who is not the one of the operator here.
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000
    pod["spec"]["securityContext"]["runAsUser"] = 65532
    assert unrestricted(pod["spec"]) == []
    program = (CHART / "files/conversion_test.py").read_text(encoding="utf-8")
    assert container["args"][0].strip() == program.strip()
    assert set(re.findall(r'environ\["(\w+)"\]', program)) == set(variables)


def test_only_the_overlay_for_kind_uses_latest() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in (DEPLOY, ROOT / "charts", ROOT / "operator", ROOT / "gateway")
        for path in folder.rglob("*")
        if path.suffix in (".yaml", ".py", ".tpl", ".json")
        and re.search(r":latest\b|newTag: latest", path.read_text(encoding="utf-8"))
    ]
    assert found == ["deploy/overlays/kind/kustomization.yaml"]
    # An image without a tag would be the latest one, too.
    for overlay in ("kind", "storage-class"):
        assert all(":" in image.rpartition("/")[2] for image in images(render(overlay)))
    assert ":" in Settings.model_fields["converter_image"].default
