"""``kubectl conversion doctor`` names each fault, and the command that mends it.

The API server is a real one, so its reviews, its rights and its schemas are too. Each test breaks
one thing and mends it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.component.kubectl_plugin import ROOT, Done, Plugin, build, kubeconfig
from tests.component.plugin_cluster import OPERATOR, Installation

pytestmark = [
    pytest.mark.judged,
    pytest.mark.real_only(reason="rights, reviews and schemas are those of a real API server"),
]

CONFIG_MAP = ("-n", OPERATOR, "configmap", "my-network-converter-operator")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("installation"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def plugin(installation: Installation, built: Path) -> Plugin:
    return Plugin(built, installation.config)


async def findings(plugin: Plugin, *arguments: str) -> list[dict[str, Any]]:
    """What doctor finds, without what is well."""
    done = await plugin.run("doctor", "-o", "json", *arguments)
    assert done.out, done.err
    found = json.loads(done.out)["findings"]
    return [each for each in found if each["level"] != "ok"]


class Fault(NamedTuple):
    """A fault: the kubectl commands that make it and mend it, and what doctor says.

    A command may be followed by a body, as its last word.
    """

    name: str
    broken: tuple[tuple[str, ...], ...]
    mended: tuple[tuple[str, ...], ...]
    level: str
    subject: str
    text: str
    cure: str
    alone: bool = False
    causes_others: bool = False


def patch(target: tuple[str, ...], **values: Any) -> tuple[str, ...]:
    return ("patch", *target, "--type=merge", "-p", json.dumps(values))


def apply(*objects: dict[str, Any]) -> tuple[str, ...]:
    return ("apply", "-f", "-", json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def delete(*words: str) -> tuple[str, ...]:
    return ("delete", "--ignore-not-found", *words)


def file(name: str, namespace: str) -> tuple[str, ...]:
    return ("-n", namespace, "apply", "-f", str(ROOT / "deploy" / name))


def scaled(name: str, replicas: int) -> tuple[str, ...]:
    return patch(("-n", OPERATOR, f"deployment/{name}"), spec={"replicas": replicas})


def status(target: str, namespace: str, **values: Any) -> tuple[str, ...]:
    words = ("-n", namespace, "patch", target, "--subresource=status", "--type=merge", "-p")
    return (*words, json.dumps({"status": values}))


OTHER = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "second"}},
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "my-network-converter-operator", "namespace": "second"},
        "data": {"WATCH_NAMESPACES": "team-a,my-network"},
    },
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "my-network-converter-operator",
            "namespace": "second",
            "labels": {"app.kubernetes.io/name": "my-network-converter-operator"},
        },
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "operator", "image": "x"}]},
            },
        },
    },
)
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "small", "namespace": "my-network"},
    "spec": {"hard": {"requests.memory": "1Gi"}},
}
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "setting", "namespace": OPERATOR},
    "involvedObject": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "my-network-converter-operator",
        "namespace": OPERATOR,
    },
    "type": "Warning",
    "reason": "SettingInvalid",
    "message": "CONVERTER_MAX_PARALLEL must be a whole number, not 'four'",
    "firstTimestamp": "2999-01-01T00:00:00Z",
    "lastTimestamp": "2999-01-01T00:00:00Z",
}
UNKNOWN_SETTING = EVENT | {
    "message": "CONVERTER_MAX_PARALEL is not a setting of this release. Remove it"
}
CLAIM = "pvc/my-network-shared"
CLAIM_FILE = file("namespace/claim.yaml", "my-network")
BOUND = status(CLAIM, "my-network", phase="Bound", accessModes=["ReadWriteMany"])
JOB = {
    "apiVersion": "converter.mynetwork.io/v1alpha1",
    "kind": "ConversionJob",
    "metadata": {"name": "film", "namespace": "my-network"},
    "spec": {"conversionType": "video_to_mp4", "inputFile": "a.mov", "outputFile": "a.mp4"},
}
WAITS = status(
    "convjob/film",
    "my-network",
    **{
        "phase": "Queued",
        "reason": "ImagePullFailed",
        "message": "no such image",
        "conditions": [],
    },
)
CRDS = ("apply", "-f", str(ROOT / "crds"))

FAULTS = [
    Fault(
        "no replicas",
        (scaled("my-network-converter-operator", 0),),
        (scaled("my-network-converter-operator", 1),),
        "FAULT",
        "operator",
        "has 0 replicas",
        "kubectl -n my-network-converter scale deployment/my-network-converter-operator",
    ),
    Fault(
        "gateway down",
        (status("deployment/my-network-converter-gateway", OPERATOR, availableReplicas=0),),
        (status("deployment/my-network-converter-gateway", OPERATOR, availableReplicas=2),),
        "FAULT",
        "HTTP API",
        "no pod of deployment/my-network-converter-gateway",
        "kubectl -n my-network-converter describe deployment/my-network-converter-gateway",
    ),
    Fault(
        "leader gone",
        (
            patch(
                ("-n", OPERATOR, "lease/my-network-converter-operator"),
                spec={"renewTime": "2026-01-01T00:00:00.000000Z"},
            ),
        ),
        (
            patch(
                ("-n", OPERATOR, "lease/my-network-converter-operator"),
                spec={"renewTime": "2999-01-01T00:00:00.000000Z"},
            ),
        ),
        "FAULT",
        "Lease",
        "has not renewed the Lease",
        "kubectl -n my-network-converter logs deployment/my-network-converter-operator",
    ),
    Fault(
        "two installations",
        (apply(*OTHER),),
        (delete("-n", "second", "deployment/my-network-converter-operator"),),
        "FAULT",
        "installation",
        "several installations serve my-network: those in my-network-converter, second",
        "kubectl -n second patch configmap my-network-converter-operator --type=merge -p "
        """'{"data":{"WATCH_NAMESPACES":"team-a"}}'""",
    ),
    Fault(
        "not served",
        (patch(CONFIG_MAP, data={"WATCH_NAMESPACES": "team-a"}),),
        (patch(CONFIG_MAP, data={"WATCH_NAMESPACES": "my-network"}),),
        "FAULT",
        "installation",
        "no operator serves namespace my-network",
        """'{"data":{"WATCH_NAMESPACES":"team-a,my-network"}}'""",
    ),
    Fault(
        "unknown setting",
        (patch(CONFIG_MAP, data={"CONVERTER_MAX_PARALEL": "4"}), apply(UNKNOWN_SETTING)),
        (
            patch(CONFIG_MAP, data={"CONVERTER_MAX_PARALEL": None}),
            delete("-n", OPERATOR, "event/setting"),
        ),
        "FAULT",
        "settings",
        "does not know the setting CONVERTER_MAX_PARALEL; did you mean CONVERTER_MAX_PARALLEL?",
        """--type=json -p '[{"op":"remove","path":"/data/CONVERTER_MAX_PARALEL"}]'""",
    ),
    Fault(
        "invalid setting",
        (apply(EVENT),),
        (delete("-n", OPERATOR, "event/setting"),),
        "FAULT",
        "settings",
        "CONVERTER_MAX_PARALLEL must be a whole number",
        "kubectl -n my-network-converter edit configmap my-network-converter-operator",
    ),
    Fault(
        "paused",
        (patch(CONFIG_MAP, data={"CONVERTER_ENABLED": "false"}),),
        (patch(CONFIG_MAP, data={"CONVERTER_ENABLED": "true"}),),
        "warning",
        "settings",
        "conversions are paused",
        """'{"data":{"CONVERTER_ENABLED":"true"}}'""",
    ),
    Fault(
        "image",
        (patch(CONFIG_MAP, data={"CONVERTER_IMAGE": "my-converter:9"}),),
        (patch(CONFIG_MAP, data={"CONVERTER_IMAGE": "my-converter:latest"}),),
        "FAULT",
        "image",
        "no node has my-converter:9",
        "Push the image",
    ),
    Fault(
        "claim missing",
        (delete("-n", "my-network", "pvc/my-network-shared"),),
        (CLAIM_FILE, BOUND),
        "FAULT",
        "claim my-network-shared",
        "no such claim in my-network",
        "kubectl -n my-network apply -f deploy/namespace/claim.yaml",
    ),
    Fault(
        "access mode",
        (status(CLAIM, "my-network", accessModes=["ReadWriteOnce"]),),
        (BOUND,),
        "FAULT",
        "claim my-network-shared",
        "its access mode is ReadWriteOnce",
        "kubectl get storageclass",
    ),
    Fault(
        "claim not bound",
        (status(CLAIM, "my-network", phase="Pending"),),
        (BOUND,),
        "FAULT",
        "claim my-network-shared",
        "it is not bound: Pending",
        "kubectl -n my-network describe pvc my-network-shared",
    ),
    Fault(
        "operator without rights",
        (delete("-n", "my-network", "rolebinding/my-network-converter-operator"),),
        (file("namespace/operator-role.yaml", "my-network"),),
        "FAULT",
        "rights of the operator",
        "missing in my-network: get conversionjobs",
        "kubectl -n my-network apply -f deploy/namespace/operator-role.yaml",
    ),
    Fault(
        "Pod Security",
        (
            patch(
                ("namespace/my-network",),
                metadata={"labels": {"pod-security.kubernetes.io/enforce": None}},
            ),
        ),
        (
            patch(
                ("namespace/my-network",),
                metadata={"labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            ),
        ),
        "warning",
        "Pod Security",
        "namespace my-network enforces nothing",
        "kubectl label --overwrite namespace my-network "
        "pod-security.kubernetes.io/enforce=restricted",
    ),
    Fault(
        "label of the installation",
        (
            patch(
                ("namespace/my-network",),
                metadata={"labels": {"converter.mynetwork.io/operator-namespace": None}},
            ),
        ),
        (
            patch(
                ("namespace/my-network",),
                metadata={"labels": {"converter.mynetwork.io/operator-namespace": OPERATOR}},
            ),
        ),
        "warning",
        "namespace my-network",
        "does not have the label of an installation",
        "kubectl label namespace my-network converter.mynetwork.io/operator-namespace=",
        alone=True,  # with a second installation, it is not known which one is meant
    ),
    Fault(
        "quota",
        (
            apply(QUOTA),
            status(
                "quota/small",
                "my-network",
                hard={"requests.memory": "1Gi"},
                used={"requests.memory": "900Mi"},
            ),
        ),
        (delete("-n", "my-network", "quota/small"),),
        "FAULT",
        "quota small",
        "requests.memory is used up: 900Mi of 1Gi",
        "kubectl -n my-network edit resourcequota small",
    ),
    Fault(
        "quota not counted",
        (apply(QUOTA),),
        (delete("-n", "my-network", "quota/small"),),
        "unknown",
        "quota small",
        "has not counted",
        "",
    ),
    Fault(
        "NetworkPolicy",
        (delete("-n", "my-network", "networkpolicy/my-converter-no-network"),),
        (file("namespace/network-policy.yaml", "my-network"),),
        "warning",
        "NetworkPolicy",
        "converters may use the network",
        "kubectl -n my-network apply -f deploy/namespace/network-policy.yaml",
    ),
    Fault(
        "NetworkPolicy of the operator",
        (
            (
                "-n",
                OPERATOR,
                "patch",
                "networkpolicy/my-network-converter-operator",
                "--type=json",
                "-p",
                '[{"op":"remove","path":"/spec/egress"}]',
            ),
        ),
        (file("base/network-policy.yaml", OPERATOR),),
        "FAULT",
        "NetworkPolicy of the operator",
        "keeps the operator from the API server",
        "kubectl -n my-network-converter apply -f deploy/base/network-policy.yaml",
    ),
    Fault(
        "CRD missing",
        (delete("crd/conversionqueues.converter.mynetwork.io"),),
        (CRDS,),
        "FAULT",
        "CRD",
        "there is no CRD of ConversionQueue",
        "kubectl apply -f crds/",
    ),
    Fault(
        "a conversion waits",
        (apply(JOB), WAITS),
        (delete("-n", "my-network", "convjob/film"),),
        "warning",
        "conversions",
        "1 conversion wait with the reason ImagePullFailed (film)",
        "CONVERTER_IMAGE",
    ),
    Fault(
        "no operator",
        (delete("-n", OPERATOR, "deployment/my-network-converter-operator"),),
        (),
        "FAULT",
        "installation",
        "no operator in this cluster",
        "Install the operator",
        alone=True,
        causes_others=True,
    ),
]


def run_all(installation: Installation, commands: tuple[tuple[str, ...], ...]) -> None:
    for command in commands:
        *words, last = command
        if last.startswith("{") and words[-1] == "-":
            installation.kubectl(*words, body=last)
        else:
            installation.kubectl(*command)


async def test_a_good_installation_has_no_findings(plugin: Plugin) -> None:
    done = await plugin.run("doctor")
    assert done == Done(0, "0 faults, 0 warnings, 0 not checked, 18 OK.\n")


def in_batches() -> list[list[Fault]]:
    """Faults with different subjects are tried together, because each run takes seconds."""
    batches: list[list[Fault]] = []
    for fault in FAULTS:
        fitting = [
            b
            for b in batches
            if not b[0].alone and fault.subject not in {each.subject for each in b}
        ]
        if fitting and not fault.alone:
            fitting[0].append(fault)
        else:
            batches.append([fault])
    return batches


@pytest.mark.parametrize("batch", in_batches(), ids=lambda batch: batch[0].name)
async def test_faults_are_named(
    installation: Installation, plugin: Plugin, batch: list[Fault]
) -> None:
    try:
        for fault in batch:
            run_all(installation, fault.broken)
        found = await findings(plugin)
    finally:
        for fault in batch:
            run_all(installation, fault.mended)
    for fault in batch:
        mine = [each for each in found if each["subject"] == fault.subject]
        said = [(each["level"], fault.text in each["text"]) for each in mine]
        assert said == [(fault.level, True)], (fault.name, mine)
        assert fault.cure in mine[0]["cure"], (fault.name, mine)
    if not batch[0].causes_others:
        assert {each["subject"] for each in found} == {fault.subject for fault in batch}


async def connection(plugin: Plugin, config: Path) -> dict[str, Any]:
    """The single finding of somebody who cannot ask the API server."""
    (found,) = await findings(Plugin(plugin.folder, config))
    return found


async def test_who_cannot_ask_learns_why(
    installation: Installation, plugin: Plugin, tmp_path: Path
) -> None:
    url = installation.plane.url
    expired = await connection(plugin, kubeconfig(tmp_path / "expired", url, "old-token"))
    assert (expired["level"], expired["subject"]) == ("FAULT", "API server")
    assert "expired or not valid" in expired["text"]
    assert "Log in to the cluster again" in expired["cure"]

    no_context = await connection(plugin, kubeconfig(tmp_path / "none", url, "x", context=""))
    assert (no_context["level"], no_context["subject"]) == ("FAULT", "kubeconfig")
    assert "kubectl config use-context NAME" in no_context["cure"]

    wrong = await connection(plugin, kubeconfig(tmp_path / "wrong", url, "x", context="nowhere"))
    assert (wrong["level"], wrong["subject"]) == ("FAULT", "kubeconfig")
    assert "kubectl config get-contexts" in wrong["cure"]

    closed = kubeconfig(tmp_path / "closed", "https://127.0.0.1:1", "x")
    unreachable = await connection(plugin, closed)
    assert (unreachable["level"], unreachable["subject"]) == ("FAULT", "API server")
    assert "does not answer" in unreachable["text"]


async def test_what_a_tenant_may_not_look_at_is_not_called_missing(
    installation: Installation, plugin: Plugin, tmp_path: Path
) -> None:
    installation.kubectl("-n", "my-network", "create", "serviceaccount", "tenant")
    installation.kubectl(
        *("-n", "my-network", "create", "rolebinding", "tenant"),
        *("--clusterrole=my-network-converter-edit", "--serviceaccount=my-network:tenant"),
    )
    token = installation.kubectl("-n", "my-network", "create", "token", "tenant").strip()
    tenant = Plugin(plugin.folder, kubeconfig(tmp_path / "tenant", installation.plane.url, token))
    found = {each["subject"]: each for each in await findings(tenant)}
    assert {name for name, each in found.items() if each["level"] == "FAULT"} == set()
    assert found["claim my-network-shared"]["text"].startswith("could not look: ")
    assert found["rights of the operator"]["level"] == "unknown"
    assert found["Lease"]["level"] == "unknown"
    # The role has no rights on pods: this is known, and no fault.
    assert found["your rights"]["level"] == "warning"
    assert "get pods/log" in found["your rights"]["text"]
