"""The manifests of the file server: restricted, without a token, and reached by the API only."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from conversion_operator.controller.settings import Settings
from converter_gateway.file_client import SECRET_FOLDER
from converter_gateway.file_signature import mounted_folder
from converter_gateway.settings import GatewaySettings
from tests.unit.deploy.charts import chart_objects
from tests.unit.deploy.rendering import GATEWAY, find

FILES = "my-network-converter-files"
VOLUME = {"CONVERTER_VOLUME_FOLDER": "/tenants/{namespace}", "CONVERTER_RUN_AS_USER": 33}


def of_overlay(kind: str) -> Any:
    return find("kind", kind, FILES, "my-network")


def of_chart(kind: str, namespace: str, **operator: Any) -> list[Any]:
    values = {
        "namespaces": [{"name": "a", "fileServer": True}, {"name": "b"}],
        "operator": {"settings": operator},
    }
    found = chart_objects("release", values)
    return [
        item
        for item in found
        if (item["kind"], item["metadata"]["name"]) == (kind, FILES)
        and item["metadata"]["namespace"] == namespace
    ]


def test_the_pod_is_restricted_and_can_only_read() -> None:
    pod = of_overlay("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert container["command"] == ["python3", "-m", "converter_gateway.file_server"]
    (gateway,) = find("kind", "Deployment", GATEWAY)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == gateway["image"]
    user = Settings.model_fields["converter_run_as_user"].default
    assert pod["securityContext"]["runAsUser"] == user


def test_only_the_api_reaches_it_and_it_reaches_nothing() -> None:
    spec = of_overlay("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in spec
    (rule,) = spec["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "my-network-converter"
    }
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": GATEWAY}
    labels = of_overlay("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_api_finds_it() -> None:
    (port,) = of_overlay("Service")["spec"]["ports"]
    address = GatewaySettings.model_fields["gateway_file_server"].default
    assert address == f"http://{FILES}.{{namespace}}.svc:{port['port']}"
    policy = find("kind", "NetworkPolicy", f"{GATEWAY}-files")["spec"]
    to = policy["egress"][0]
    assert to["to"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": FILES}
    (container,) = of_overlay("Deployment")["spec"]["template"]["spec"]["containers"]
    assert to["ports"][0]["port"] == container["ports"][0]["containerPort"]


@pytest.mark.parametrize("name", [GATEWAY, FILES])
def test_both_have_the_secret(name: str) -> None:
    pod = find("kind", "Deployment", name)["spec"]["template"]["spec"]
    (volume,) = (v for v in pod["volumes"] if v.get("secret", {}).get("secretName") == FILES)
    assert volume["secret"]["optional"] is True
    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == volume["name"])
    assert mount["mountPath"] == str(SECRET_FOLDER)


def test_the_chart_has_it_for_the_namespaces_that_want_it() -> None:
    (deployment,) = of_chart("Deployment", "a", **VOLUME)
    assert of_chart("Deployment", "b") == []
    pod = deployment["spec"]["template"]["spec"]
    assert served(pod) == "tenants/a"
    assert pod["securityContext"]["runAsUser"] == 33
    (policy,) = of_chart("NetworkPolicy", "a")
    labels = policy["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "release"}


def served(pod: Any) -> str:
    """The folder that a file server says it serves. It sees no other."""
    (container,) = pod["containers"]
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "shared")
    assert mount["subPathExpr"] == "$(FILES_FOLDER)"
    assert "subPath" not in mount
    # A variable can refer to those before it.
    assert [each["name"] for each in container["env"]] == ["POD_NAMESPACE", "FILES_FOLDER"]
    return str(container["env"][1]["value"])


def test_it_sees_no_other_folder_than_it_says() -> None:
    pod = of_overlay("Deployment")["spec"]["template"]["spec"]
    assert mounted_folder(served(pod)) == ""
    (deployment,) = of_chart("Deployment", "a")
    assert mounted_folder(served(deployment["spec"]["template"]["spec"])) == ""


def test_without_a_value_the_chart_has_what_the_component_has() -> None:
    for kind in ("Deployment", "Service", "NetworkPolicy"):
        (item,) = of_chart(kind, "a")
        # What is rendered is kept for other tests.
        spec = deepcopy(of_overlay(kind)["spec"])
        if kind == "Deployment":
            for one in (item["spec"], spec):
                one["template"]["spec"]["containers"][0].pop("image")
        if kind == "NetworkPolicy":
            for one in (item["spec"], spec):
                one["ingress"][0]["from"][0].pop("namespaceSelector")
        assert item["spec"] == spec
