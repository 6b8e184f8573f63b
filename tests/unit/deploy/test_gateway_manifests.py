"""The manifests of the HTTP API agree with its code."""

from __future__ import annotations

from typing import Any

import pytest

from conversion_operator.cluster.settings import CONFIG_DIR
from converter_gateway.settings import GatewaySettings
from tests.unit.deploy.rendering import GATEWAY, OPERATOR, OVERLAYS, ROOT, find, of_kind, render

WITHOUT_TOKENS = str(ROOT / "tests/e2e/overlay-network")
LABELS = {"app.kubernetes.io/name": GATEWAY}
# The port is named in three other places of the manifests; the others are the operator's.
NOT_IN_THE_CONFIG_MAP = {
    "GATEWAY_PORT",
    "GATEWAY_METRICS_PORT",
    "CONVERTER_MAX_PARALLEL",
    "CONVERTER_IMAGE",
    "CONVERTER_CALLBACK_HOSTS",
    "CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE",
    "CONVERTER_RESTORE_LABELS",
    "CONVERTER_VOLUME_FOLDER",
    "WATCH_NAMESPACES",
    "POD_NAMESPACE",
}


def deployment(overlay: str) -> Any:
    return find(overlay, "Deployment", GATEWAY)["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_of_two_replicas_always_serves(overlay: str) -> None:
    spec = deployment(overlay)
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)
    budget = find(overlay, "PodDisruptionBudget", GATEWAY)["spec"]
    assert budget["minAvailable"] == 1
    assert spec["template"]["metadata"]["labels"] == LABELS
    assert budget["selector"]["matchLabels"] == spec["selector"]["matchLabels"] == LABELS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_config_map_has_every_setting_with_its_default(overlay: str) -> None:
    data = find(overlay, "ConfigMap", GATEWAY)["data"]
    names = {name.upper() for name in GatewaySettings.model_fields}
    assert set(data) == names - NOT_IN_THE_CONFIG_MAP
    given = GatewaySettings.model_validate({name.lower(): value for name, value in data.items()})
    assert given == GatewaySettings()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_reads_the_operators_own_settings(overlay: str) -> None:
    pod = deployment(overlay)["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    sources = volumes[mounts[str(CONFIG_DIR)]]["projected"]["sources"]
    maps = {source["configMap"]["name"]: source["configMap"] for source in sources}
    assert set(maps) == {GATEWAY, OPERATOR}
    keys = {item["key"] for item in maps[OPERATOR]["items"]}
    own = {"GATEWAY_PORT", "GATEWAY_METRICS_PORT", "POD_NAMESPACE"}
    assert keys == NOT_IN_THE_CONFIG_MAP - own
    (variable,) = container["env"]
    assert variable["name"] == "POD_NAMESPACE"
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert all(item["key"] == item["path"] for item in maps[OPERATOR]["items"])
    assert keys <= set(find(overlay, "ConfigMap", OPERATOR)["data"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_content_rules_are_mounted_where_the_api_reads_them(overlay: str) -> None:
    pod = deployment(overlay)["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    file = GatewaySettings.model_fields["gateway_content_rules"].default
    name = volumes[mounts[str(file.parent)]]["configMap"]["name"]
    assert file.name in find(overlay, "ConfigMap", name)["data"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_port_is_served_probed_and_allowed_by_the_network_policy(overlay: str) -> None:
    (container,) = deployment(overlay)["template"]["spec"]["containers"]
    port, _ = container["ports"]
    assert port["containerPort"] == GatewaySettings.model_fields["gateway_port"].default
    probes = ("liveness", "readiness", "startup")
    probed = {container[f"{name}Probe"]["httpGet"]["port"] for name in probes}
    service = find(overlay, "Service", GATEWAY)["spec"]
    assert service["selector"] == LABELS
    policy = find(overlay, "NetworkPolicy", GATEWAY)["spec"]
    assert policy["podSelector"]["matchLabels"] == LABELS
    let_in = {p["port"] for rule in policy["ingress"] for p in rule["ports"]}
    assert probed == {p["targetPort"] for p in service["ports"]} == let_in == {port["name"]}


@pytest.mark.parametrize("overlay", [*OVERLAYS, WITHOUT_TOKENS])
def test_only_labelled_namespaces_reach_the_metrics(overlay: str) -> None:
    (container,) = deployment(overlay)["template"]["spec"]["containers"]
    _, port = container["ports"]
    default = GatewaySettings.model_fields["gateway_metrics_port"].default
    assert port == {"name": "metrics", "containerPort": default}
    policies = [find(overlay, "NetworkPolicy", name) for name in (GATEWAY, f"{GATEWAY}-metrics")]
    selected = [policy["spec"]["podSelector"]["matchLabels"] for policy in policies]
    assert selected == [LABELS, LABELS]
    rules = [rule for policy in policies for rule in policy["spec"]["ingress"]]
    (rule,) = [rule for rule in rules if {"port": "metrics", "protocol": "TCP"} in rule["ports"]]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"metrics": "enabled"}}}]
    assert len(rule["ports"]) == 1
    service = find(overlay, "Service", GATEWAY)["spec"]
    assert [p["name"] for p in service["ports"]] == ["http"]


def test_without_tokens_only_one_namespace_may_connect() -> None:
    settings = find(WITHOUT_TOKENS, "ConfigMap", GATEWAY)["data"]
    assert settings["GATEWAY_AUTH"] == "network"
    (rule,) = find(WITHOUT_TOKENS, "NetworkPolicy", GATEWAY)["spec"]["ingress"]
    labels = {"kubernetes.io/metadata.name": settings["GATEWAY_NAMESPACE"]}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": labels}}]
    assert not of_kind(render(WITHOUT_TOKENS), "ClusterRoleBinding")


def test_with_tokens_every_namespace_may_connect() -> None:
    (rule,) = find("kind", "NetworkPolicy", GATEWAY)["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {}}]
