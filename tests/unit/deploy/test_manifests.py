"""The manifests of the operator agree with its code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.api.names import CONFIG_MAP
from conversion_operator.controller import health
from conversion_operator.controller.settings import CALLBACK_SECRET, Settings
from conversion_operator.core.manifest import build_job
from conversion_operator.core.model import Policy
from tests.unit.deploy.rendering import GATEWAY, OPERATOR, OVERLAYS, ROOT, find, of_kind, render
from tests.unit.deploy.test_file_server import FILES
from tests.unit.operator.builders import conversion

# The pod's own identity, and the port that three other places in the manifests name.
NOT_IN_THE_CONFIG_MAP = {"POD_NAME", "POD_NAMESPACE", "PROBE_PORT"}


def operator_pod(overlay: str) -> Any:
    return find(overlay, "Deployment", OPERATOR)["spec"]["template"]["spec"]


def gateway_pod(overlay: str) -> Any:
    return find(overlay, "Deployment", GATEWAY)["spec"]["template"]["spec"]


def converter_template() -> Any:
    return build_job(conversion(), 1, Policy(), memory_doubled=False, mark="m")["spec"]["template"]


def unrestricted(pod: Any) -> list[str]:
    """The violations of Pod Security `restricted` and of a read-only root by a pod."""
    security = pod.get("securityContext", {})
    violations = []
    if not security.get("runAsNonRoot") or security.get("runAsUser") != 65532:
        violations.append("may run as root")
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        violations.append("has no seccomp profile")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        violations.append("shares a namespace of the host")
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    volumes = pod.get("volumes", [])
    projected = [source for v in volumes for source in v.get("projected", {}).get("sources", [])]
    if any(set(volume) - {"name"} - allowed for volume in volumes) or any(
        set(source) != {"configMap"} for source in projected
    ):
        violations.append("mounts more than it may")
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            violations.append("may gain privileges")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            violations.append("keeps capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            violations.append("may write to its root")
        if not {"requests", "limits"} <= set(container.get("resources", {})):
            violations.append("has no requests or no limits")
    return violations


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    assert unrestricted(operator_pod(overlay)) == []
    assert unrestricted(gateway_pod(overlay)) == []
    assert unrestricted(converter_template()["spec"]) == []
    with_pods = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"}
    names = [o["metadata"]["name"] for o in render(overlay) if o["kind"] in with_pods]
    files = [FILES] if overlay == "kind" else []
    for name in files:
        pod = find(overlay, "Deployment", name)["spec"]["template"]["spec"]
        assert unrestricted(pod) == []
    assert sorted(names) == [*files, GATEWAY, OPERATOR]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_namespace_enforces_the_restricted_standard(overlay: str) -> None:
    namespaces = of_kind(render(overlay), "Namespace")
    assert {n["metadata"]["name"] for n in namespaces} == {"my-network", "my-network-converter"}
    for namespace in namespaces:
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_update_stops_the_operator_before_it_starts_the_new_one(overlay: str) -> None:
    spec = find(overlay, "Deployment", OPERATOR)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_hanging_operator_is_restarted_within_three_minutes_and_a_busy_one_is_not() -> None:
    probe = operator_pod("kind")["containers"][0]["livenessProbe"]
    patience = probe["failureThreshold"] * probe["periodSeconds"]
    noticed = max(health.LOOP_LIMIT_SECONDS, health.LIST_LIMIT_SECONDS)
    assert noticed + patience <= 180
    # Half a minute of a busy loop, or one unanswered probe, must not restart the operator.
    assert health.LOOP_LIMIT_SECONDS >= 60
    assert probe["failureThreshold"] >= 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_config_map_has_every_setting_with_its_default(overlay: str) -> None:
    data = find(overlay, "ConfigMap", OPERATOR)["data"]
    names = {name.upper() for name in Settings.model_fields}
    assert set(data) == names - NOT_IN_THE_CONFIG_MAP
    # An overlay says where the image is.
    data = data | {"CONVERTER_IMAGE": Settings.model_fields["converter_image"].default}
    given = Settings.model_validate({name.lower(): value for name, value in data.items()})
    defaults = Settings.model_validate(
        {name: field.default for name, field in Settings.model_fields.items()}
    )
    assert given.model_dump() == defaults.model_dump()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_mounted_secret_can_change_while_the_operator_runs(overlay: str) -> None:
    """The operator watches its settings, so no pod waits for the ConfigMap."""
    pod = operator_pod(overlay)
    (container,) = pod["containers"]
    (secret,) = container["volumeMounts"]
    assert secret["mountPath"] == str(CALLBACK_SECRET.parent)
    assert secret["readOnly"]
    assert "subPath" not in secret
    source = {"secretName": "my-network-converter-callbacks", "optional": True}
    assert pod["volumes"] == [{"name": secret["name"], "secret": source}]
    assert [variable["name"] for variable in container["env"]] == ["POD_NAME", "POD_NAMESPACE"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_port_is_served_probed_scraped_and_allowed_by_the_network_policy(overlay: str) -> None:
    (container,) = operator_pod(overlay)["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["probe_port"].default
    probed = {container[f"{name}Probe"]["httpGet"]["port"] for name in ("liveness", "readiness")}
    service = find(overlay, "Service", OPERATOR)["spec"]["ports"]
    policy = find(overlay, "NetworkPolicy", OPERATOR)["spec"]["ingress"]
    assert probed == {p["targetPort"] for p in service} == {port["name"]}
    assert [p["port"] for rule in policy for p in rule["ports"]] == [port["name"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_labelled_namespaces_reach_the_metrics(overlay: str) -> None:
    (rule,) = find(overlay, "NetworkPolicy", OPERATOR)["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"metrics": "enabled"}}}]
    assert not [
        n for n in of_kind(render(overlay), "Namespace") if "metrics" in n["metadata"]["labels"]
    ]


def test_on_kind_callbacks_may_go_to_one_namespace_and_port() -> None:
    policy = find("kind", "NetworkPolicy", "my-network-converter-callbacks")
    (rule,) = policy["spec"]["egress"]
    pod = find("kind", "Deployment", OPERATOR)["spec"]["template"]["metadata"]["labels"]
    assert policy["metadata"]["namespace"] == "my-network-converter"
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod.items()
    assert policy["spec"]["policyTypes"] == ["Egress"]
    chosen = {"matchLabels": {"kubernetes.io/metadata.name": "my-network"}}
    assert rule == {
        "to": [{"namespaceSelector": chosen}],
        "ports": [{"port": 8080, "protocol": "TCP"}],
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_converter_pods_have_no_network_and_no_token(overlay: str) -> None:
    (policy,) = [
        item
        for item in of_kind(render(overlay), "NetworkPolicy")
        if item["metadata"]["name"] == "my-converter-no-network"
    ]
    assert policy["metadata"]["namespace"] == "my-network"
    template = converter_template()
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert chosen.items() <= template["metadata"]["labels"].items()
    assert sorted(policy["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    assert not set(policy["spec"]) & {"ingress", "egress"}
    assert template["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_claim_is_the_one_that_the_operator_mounts(overlay: str) -> None:
    (claim,) = of_kind(render(overlay), "PersistentVolumeClaim")
    assert claim["metadata"]["name"] == Settings.model_fields["shared_volume_claim"].default
    assert claim["metadata"]["namespace"] == "my-network"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_on_kind_the_volume_is_the_folder_mounted_into_every_node() -> None:
    (volume,) = of_kind(render("kind"), "PersistentVolume")
    (claim,) = of_kind(render("kind"), "PersistentVolumeClaim")
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text(encoding="utf-8"))
    for node in config["nodes"]:
        mounts = {mount["containerPath"] for mount in node["extraMounts"]}
        assert volume["spec"]["hostPath"]["path"] in mounts
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert claim["spec"]["storageClassName"] == volume["spec"]["storageClassName"] == ""
    assert volume["spec"]["claimRef"] == {
        key: claim["metadata"][key] for key in ("namespace", "name")
    }


def test_the_storage_class_overlay_names_class_and_images_in_one_file() -> None:
    page = (ROOT / "deploy/overlays/storage-class/kustomization.yaml").read_text(encoding="utf-8")
    (claim,) = of_kind(render("storage-class"), "PersistentVolumeClaim")
    settings = find("storage-class", "ConfigMap", OPERATOR)["data"]
    pods = (operator_pod("storage-class"), gateway_pod("storage-class"))
    images = [pod["containers"][0]["image"] for pod in pods]
    assert f"storageClassName: {claim['spec']['storageClassName']}" in page
    assert f"CONVERTER_IMAGE: {settings['CONVERTER_IMAGE']}" in page
    for image in images:
        assert f"newName: {image.rpartition(':')[0]}" in page
        assert image.startswith("registry.example.com/")
    assert len(set(images)) == 2
    assert not of_kind(render("storage-class"), "PersistentVolume")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_removing_the_operator_keeps_all_conversions(overlay: str) -> None:
    assert not of_kind(render(overlay), "CustomResourceDefinition")


@pytest.mark.parametrize("behavior", ["merge", "replace"])
def test_a_generator_of_settings_does_not_change_the_name_that_the_operator_watches(
    tmp_path: Path, behavior: str
) -> None:
    deploy = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", deploy, ignore=shutil.ignore_patterns("samples"))
    page = deploy / "overlays/kind/kustomization.yaml"
    page.write_text(
        page.read_text(encoding="utf-8")
        + f"""
configMapGenerator:
  - name: {CONFIG_MAP}
    namespace: my-network-converter
    behavior: {behavior}
    literals: [CONVERTER_MAX_RETRIES=7]
""",
        encoding="utf-8",
    )
    maps = [
        item
        for item in of_kind(render(str(page.parent)), "ConfigMap")
        if "CONVERTER_MAX_RETRIES" in item["data"]
    ]
    assert [(item["metadata"]["name"], item["data"]["CONVERTER_MAX_RETRIES"]) for item in maps] == [
        (CONFIG_MAP, "7")
    ]
