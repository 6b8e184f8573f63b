"""The limits of converter pods, tried from inside one, and the permissions of the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from conversion_operator.api import names
from media_converter.contract import ExitReason, Report
from media_converter.report_json import dump_report
from tests.e2e.support import operator as op
from tests.e2e.support.commands import Kubectl, until
from tests.e2e.support.conversions import (
    LONG_INPUT,
    NAMESPACE,
    Conversion,
    Conversions,
    manifest,
)
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.watches import Watches
from tests.unit.deploy.test_rights import IN_CONVERSIONS

PYTHON: Final = ("/usr/bin/python3", "-I", "-S", "-c")

# Prints the privileges of the process as the kernel reports them.
INSPECT: Final = """
import json, os
def refused(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError as error:
        return error.strerror
    os.unlink(path)
    return ""
status = open("/proc/self/status").read().splitlines()
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "root": refused("/here"), "program": refused("/opt/converter/here"),
    "tmp": refused("/tmp/here"), "volume": refused("/workspace/output/here"),
    "kernel": dict(line.split(":\\t") for line in status
                   if line.startswith(("CapEff", "CapBnd", "NoNewPrivs", "Seccomp:"))),
    "services": [name for name in os.environ if name.endswith("_SERVICE_HOST")],
}))
"""

# Tries to connect to each given address.
CONNECT: Final = """
import json, socket, sys
def reach(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"
print(json.dumps({target: reach(target) for target in sys.argv[1:]}))
"""
SERVE: Final = ("python3", "-m", "http.server", "8000", "--directory", "/var/empty")


@pytest.fixture
def running(conversions: Conversions) -> Conversion:
    """A running conversion."""
    conversion = conversions.long("looked-into")
    conversion.until_phase("Running")
    return conversion


def test_a_converter_has_no_privileges_and_can_write_only_to_its_volumes(
    running: Conversion, kubectl: Kubectl
) -> None:
    pod = running.pods()[0]["metadata"]["name"]
    found = json.loads(kubectl("-n", NAMESPACE, "exec", pod, "--", *PYTHON, INSPECT))
    assert (found["uid"], found["gid"]) == (65532, 65532)
    assert found["token"] is False
    assert found["root"] == found["program"] == "Read-only file system"
    assert found["tmp"] == found["volume"] == ""
    assert found["kernel"] == {
        "CapEff": "0" * 16,
        "CapBnd": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    # Every pod's environment has the API server; it has no other service.
    assert found["services"] == ["KUBERNETES_SERVICE_HOST"]


def test_a_converter_pod_requests_only_what_it_needs(running: Conversion) -> None:
    spec = running.pods()[0]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert {tuple(set(volume) - {"name"}) for volume in spec["volumes"]} == {
        ("persistentVolumeClaim",),
        ("emptyDir",),
    }
    (container,) = spec["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }


def test_pod_security_admits_our_jobs_and_refuses_unrestricted_pods(
    running: Conversion, kubectl: Kubectl
) -> None:
    job = kubectl.get("-n", NAMESPACE, "job", running.jobs_made()[-1])
    template = job["spec"]["template"]
    # The policies refuse our labels and our mark in the Jobs of others.
    del template["metadata"]["labels"], template["metadata"]["annotations"]
    again = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "again", "namespace": NAMESPACE},
        "spec": {"template": template},
    }
    done = kubectl.attempt("create", "--dry-run=server", "-f", "-", text=json.dumps(again))
    assert (done.code, done.err) == (0, "")
    careless = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "careless", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "c", "image": "my-converter:latest"}]},
    }
    done = kubectl.attempt("create", "--dry-run=server", "-f", "-", text=json.dumps(careless))
    assert 'violates PodSecurity "restricted' in done.err


def serving_pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A pod that serves a port, with the operator's image: the converter's has no sockets."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "server",
                    "image": "my-converter-operator:latest",
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(SERVE),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                }
            ],
        },
    }


@pytest.fixture
def addresses(kubectl: Kubectl) -> Iterator[dict[str, str]]:
    """The addresses of two pods, one with a converter's label and one without."""
    bodies = {
        "converter-like": serving_pod("converter-like", {names.NAME_LABEL: names.CONVERTER_NAME}),
        "ordinary": serving_pod("ordinary", {}),
    }
    for body in bodies.values():
        kubectl.create(body)
    try:
        yield {
            name: kubectl.get("-n", NAMESPACE, "pod", name)["status"]["podIP"]
            for name in bodies
            if _is_up(kubectl, name)
        }
    finally:
        kubectl("-n", NAMESPACE, "delete", "pod", *bodies, "--grace-period=0", "--force")


def _is_up(kubectl: Kubectl, name: str) -> bool:
    kubectl.wait("condition=Ready", "-n", NAMESPACE, f"pod/{name}", seconds=60)
    return True


def test_converter_pods_have_no_network_in_either_direction(
    kubectl: Kubectl, operator: OperatorInCluster, addresses: dict[str, str]
) -> None:
    def reached(pod: str, *targets: str) -> dict[str, str]:
        answer = kubectl("-n", NAMESPACE, "exec", pod, "--", "python3", "-c", CONNECT, *targets)
        found: dict[str, str] = json.loads(answer)
        return found

    api = f"{kubectl.get('-n', 'default', 'service', 'kubernetes')['spec']['clusterIP']}:443"
    dns = f"{kubectl.get('-n', 'kube-system', 'service', 'kube-dns')['spec']['clusterIP']}:53"
    metrics = f"{operator.pod()['status']['podIP']}:8080"
    converter, other = (f"{addresses[name]}:8000" for name in ("converter-like", "ordinary"))

    outward = (api, dns, metrics, other)
    assert reached("ordinary", metrics)[metrics] != "connected"
    kubectl("label", "namespace", NAMESPACE, "metrics=enabled")
    try:
        # The policy takes effect within seconds. A rejected connection takes 2 s to fail.
        tries = (set(reached("ordinary", api, dns, metrics).values()) for _ in range(20))
        assert {"connected"} in tries
        assert "connected" not in reached("converter-like", *outward).values()
    finally:
        kubectl("label", "namespace", NAMESPACE, "metrics-")
    assert reached("ordinary", converter)[converter] != "connected"


def test_only_the_http_api_says_who_the_caller_is(
    kubectl: Kubectl, conversions: Conversions
) -> None:
    body = conversions.manifest("forged-caller")
    body["metadata"]["annotations"] = {names.CALLER_ANNOTATION: "somebody"}
    rejected = kubectl.attempt("create", "-f", "-", text=json.dumps(body))
    assert "Only the HTTP API sets" in rejected.err
    assert "forged-caller" not in kubectl("-n", NAMESPACE, "get", "convjob", "-o", "name")


def test_the_operator_has_exactly_the_permissions_of_its_roles(kubectl: Kubectl) -> None:
    def may(verb: str, group: str, resource: str, namespace: str) -> bool:
        resource, _, subresource = resource.partition("/")
        done = kubectl.attempt(
            *("auth", "can-i", verb, f"{resource}.{group}" if group else resource),
            *(f"--as={op.ACCOUNT}", "-n", namespace),
            *([f"--subresource={subresource}"] if subresource else []),
        )
        return done.out.strip() == "yes"

    for (group, resource), verbs in IN_CONVERSIONS.items():
        for verb in verbs:
            assert may(verb, group, resource, NAMESPACE), (verb, resource)
    refused = [
        ("create", "", "pods", NAMESPACE),
        ("create", "", "pods/exec", NAMESPACE),
        ("get", "", "secrets", NAMESPACE),
        ("list", "", "secrets", op.NAMESPACE),
        ("update", names.GROUP, "conversionjobs", NAMESPACE),
        ("patch", names.GROUP, "conversionjobs", NAMESPACE),
        ("patch", "batch", "jobs", NAMESPACE),
        ("list", "", "pods", "default"),
        ("list", "", "namespaces", "default"),
        ("create", "", "serviceaccounts/token", op.NAMESPACE),
        ("get", "", "configmaps", op.NAMESPACE),
    ]
    assert [case for case in refused if may(*case)] == []


def test_the_operator_sends_no_forbidden_requests(
    conversions: Conversions, operator: OperatorInCluster
) -> None:
    conversions.make("audited").succeeded()
    requests = operator.requests()
    # The audit log includes reads, so refused reads would be noticed.
    assert {"list", "watch", "create", "patch"} <= {request["verb"] for request in requests}
    decision = "authorization.k8s.io/decision"
    assert any(request.get("annotations", {}).get(decision) == "allow" for request in requests)
    refused = [
        (request["verb"], request["requestURI"])
        for request in requests
        # A quota also answers 403, although the request is authorized.
        if request["responseStatus"]["code"] == 401
        or request.get("annotations", {}).get(decision) == "forbid"
        # Deleting a namespace also deletes the operator's permissions there.
        if request.get("objectRef", {}).get("namespace") in (NAMESPACE, op.NAMESPACE, None)
    ]
    assert refused == []
    lines = (json.dumps(record) for record in operator.records())
    # Another test deletes the second namespace with the operator's permissions there.
    # The message of a quota has the word too.
    others = ("my-network-second", "exceeded quota")
    assert not [
        line for line in lines if "forbidden" in line and not any(other in line for other in others)
    ]


def test_the_operator_runs_restricted(operator: OperatorInCluster, kubectl: Kubectl) -> None:
    pod = operator.pod()
    look = INSPECT.replace("/opt/converter/here", "/app/here").replace("/workspace/output", "/app")
    answer = kubectl(
        "-n", op.NAMESPACE, "exec", pod["metadata"]["name"], "--", "python3", "-c", look
    )
    found = json.loads(answer)
    assert (found["uid"], found["gid"]) == (65532, 65532)
    assert found["token"] is True
    assert found["root"] == found["program"] == found["tmp"] == "Read-only file system"
    assert found["kernel"]["CapEff"] == "0" * 16
    assert found["kernel"]["NoNewPrivs"] == "1"


@pytest.mark.parametrize(
    ("deployment", "own", "others"),
    [
        ("my-network-converter-operator", "kopf", ("fastapi", "uvicorn", "converter_gateway")),
        (
            "my-network-converter-gateway",
            "fastapi",
            ("kopf", "conversion_operator.controller"),
        ),
    ],
)
def test_an_image_has_its_own_program_and_packages_only(
    kubectl: Kubectl, deployment: str, own: str, others: tuple[str, ...]
) -> None:
    run = ("-n", op.NAMESPACE, "exec", f"deployment/{deployment}", "--", "python3", "-c")
    kubectl(*run, f"import {own}")
    for other in others:
        assert f"No module named '{other}'" in kubectl.attempt(*run, f"import {other}").err


EVE: Final = "eve"
"""A user with the ClusterRole edit in the namespace of conversions."""

POLICIES: Final = ("my-network-converter-jobs", "my-network-converter-pods")
FORGED_SIZE: Final = 666

# Writes a report as the converter does, and ends with code 0.
FORGE: Final = "import sys; open('/dev/termination-log', 'w').write(sys.argv[1])"


@pytest.fixture
def eve(kubectl: Kubectl) -> Iterator[str]:
    """The option of kubectl with which EVE acts."""
    binding = ("-n", NAMESPACE, "rolebinding", EVE)
    kubectl("create", *binding, "--clusterrole=edit", f"--user={EVE}")
    yield f"--as={EVE}"
    kubectl("delete", *binding)


def forged_job(name: str, labels: dict[str, str], template: dict[str, str]) -> dict[str, Any]:
    """A suspended Job with these labels, and these in its pod template."""
    pod = serving_pod(name, template)
    pod["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "suspend": True,
            "template": {"metadata": {"labels": template}, "spec": pod["spec"]},
        },
    }


def forged_pod(labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    """A pod with the labels and the mark of a converter pod, and a report of its own."""
    pod = serving_pod("forged", labels)
    pod["metadata"]["annotations"] = annotations
    pod["spec"]["restartPolicy"] = "Never"
    report = Report(final=True, reason=ExitReason.COMPLETED, output_size=FORGED_SIZE)
    (container,) = pod["spec"]["containers"]
    container["command"] = ["python3", "-c", FORGE, dump_report(report).decode()]
    del container["readinessProbe"]
    return pod


def test_only_the_operator_creates_jobs_and_pods_with_our_labels(
    running: Conversion, kubectl: Kubectl, eve: str
) -> None:
    job = kubectl.get("-n", NAMESPACE, "job", running.jobs_made()[-1])
    pod = running.pods()[0]
    labels, annotations = job["metadata"]["labels"], job["metadata"]["annotations"]
    ours = {names.MANAGED_BY_LABEL: names.MANAGED_BY}

    def attempt(*command: str, body: dict[str, Any] | None = None) -> str:
        text = None if body is None else json.dumps(body)
        return kubectl.attempt(*command, eve, "--dry-run=server", "-n", NAMESPACE, text=text).err

    create = ("create", "-f", "-")
    for body in (forged_job("forged", labels, {}), forged_job("forged", {}, labels)):
        assert f"ValidatingAdmissionPolicy '{POLICIES[0]}'" in attempt(*create, body=body)
    assert f"ValidatingAdmissionPolicy '{POLICIES[1]}'" in attempt(
        *create, body=forged_pod(labels, annotations)
    )
    for change in (f"{names.ATTEMPT_LABEL}-", f"{names.MANAGED_BY_LABEL}-"):
        for kind, target, policy in zip(("job", "pod"), (job, pod), POLICIES, strict=True):
            said = attempt("label", kind, target["metadata"]["name"], change)
            assert f"ValidatingAdmissionPolicy '{policy}'" in said
    said = attempt("set", "image", f"pod/{pod['metadata']['name']}", "converter=evil")
    assert f"ValidatingAdmissionPolicy '{POLICIES[1]}'" in said
    # What has nothing to do with us is not affected.
    assert attempt(*create, body=forged_job("other", {}, {})) == ""
    assert attempt("annotate", "job", job["metadata"]["name"], "a=b") == ""
    assert ours.items() <= pod["metadata"]["labels"].items()


MALLORY: Final = "mallory"
"""A user who may write the status of Jobs and pods in the namespace of conversions."""


@pytest.fixture
def mallory(kubectl: Kubectl) -> Iterator[str]:
    """The option of kubectl with which MALLORY acts."""
    role, binding = ("-n", NAMESPACE, "role", MALLORY), ("-n", NAMESPACE, "rolebinding", MALLORY)
    resources = "pods,pods/status,jobs.batch,jobs.batch/status"
    kubectl("create", *role, "--verb=get,patch,update", f"--resource={resources}")
    kubectl("create", *binding, f"--role={MALLORY}", f"--user={MALLORY}")
    yield f"--as={MALLORY}"
    kubectl("delete", *binding)
    kubectl("delete", *role)


def test_only_kubernetes_says_how_our_jobs_and_pods_end(
    running: Conversion, kubectl: Kubectl, mallory: str
) -> None:
    # The pod runs, so the policy has let the kubelet write its status.
    targets = {"job": running.jobs_made()[-1], "pod": running.pods()[0]["metadata"]["name"]}
    condition = {"type": "Forged", "status": "True"}
    ends = {"job": {"conditions": [condition]}, "pod": {"phase": "Succeeded"}}

    def patch(kind: str, body: dict[str, Any]) -> str:
        options = ("--subresource=status", "--type=merge", "--dry-run=server", "-n", NAMESPACE)
        text = json.dumps(body)
        return kubectl.attempt("patch", kind, targets[kind], mallory, *options, "-p", text).err

    for kind, policy in zip(targets, POLICIES, strict=True):
        label = {"metadata": {"labels": {names.ATTEMPT_LABEL: "9"}}}
        for body in ({"status": ends[kind]}, label):
            assert f"ValidatingAdmissionPolicy '{policy}'" in patch(kind, body)
        # Network plug-ins write annotations in this way.
        assert patch(kind, {"metadata": {"annotations": {"a": "b"}}}) == ""


@pytest.fixture
def no_policies(kubectl: Kubectl) -> Iterator[None]:
    """The policies of Jobs and pods are not in force."""
    kind = "validatingadmissionpolicybinding"
    bindings = [kubectl.get(kind, name) for name in POLICIES]
    kubectl("delete", kind, *POLICIES)
    yield
    for binding in bindings:
        metadata = {"name": binding["metadata"]["name"]}
        kubectl.create({**binding, "metadata": metadata})


@pytest.mark.usefixtures("no_policies")
def test_forged_jobs_and_pods_change_nothing(
    kubectl: Kubectl,
    operator: OperatorInCluster,
    watches: Watches,
    volume: Path,
    run_folder: str,
    eve: str,
) -> None:
    """Labels, attempt 99 and a copied mark. Without the policies, the operator ignores them."""
    options = {"resolution": "480p", "quality": "high"}
    body = manifest(
        "victim", "video_to_mp4", folder=run_folder, inputFile=LONG_INPUT, options=options
    )
    # Not with the fixture `conversions`: it takes the forged pod for a second pod of ours.
    victim = Conversion(kubectl.create(body), kubectl, watches, volume)
    victim.until_phase("Running")
    (name,) = victim.jobs_made()
    job = kubectl.get("-n", NAMESPACE, "job", name)
    labels, annotations = job["metadata"]["labels"], job["metadata"]["annotations"]
    later = labels | {names.ATTEMPT_LABEL: "99"}
    create = ("create", eve, "-f", "-")
    forged = [forged_job("forged", later, later), forged_pod(labels, annotations)]

    def created(body: dict[str, Any]) -> bool:
        return kubectl.attempt(*create, text=json.dumps(body)).code == 0

    def counted() -> bool:
        return operator.metrics()["converter_foreign_children"] == {(): 2.0}

    try:
        for body in forged:
            until(partial(created, body), "the API server has noticed that the policy is unbound")
        kubectl.wait(
            "jsonpath={.status.phase}=Succeeded", "-n", NAMESPACE, "pod/forged", seconds=60
        )
        until(counted, "two foreign objects are counted")
        victim.cancel()
        status = victim.until_phase("Cancelled")
        assert status.get("outputSize") != FORGED_SIZE
        assert [attempt["jobUID"] for attempt in status["attempts"]] == [job["metadata"]["uid"]]
        for kind in ("job", "pod"):
            assert (
                "deletionTimestamp" not in kubectl.get("-n", NAMESPACE, kind, "forged")["metadata"]
            )
        about = f"--field-selector=involvedObject.uid={victim.uid}"
        events = kubectl.get("-n", NAMESPACE, "events", about)["items"]
        assert {"ForeignJob", "ForeignPod"} <= {event["reason"] for event in events}
    finally:
        kubectl("-n", NAMESPACE, "delete", "convjob", "victim")
        kubectl("-n", NAMESPACE, "delete", "job,pod", "forged", "--ignore-not-found")
