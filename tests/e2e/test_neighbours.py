"""Admission policies of other people change the Jobs and pods of the operator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.e2e.support.commands import Kubectl, until
from tests.e2e.support.conversions import NAMESPACE, Conversion, Conversions
from tests.e2e.support.watches import runs

MIRROR = "docker.io/library/"
REWRITE_IMAGE = f"""[JSONPatch{{
  op: "replace", path: "/spec/template/spec/containers/0/image",
  value: "{MIRROR}" + object.spec.template.spec.containers[0].image
}}]"""
# It sorts before the converter, in the pod and in its status.
ADD_SIDECAR = """[JSONPatch{
  op: "add", path: "/spec/containers/0",
  value: Object.spec.containers{
    name: "aa-proxy", image: "my-converter-operator:latest", imagePullPolicy: "IfNotPresent",
    command: ["python3", "-c", "import time; time.sleep(%s)"],
    securityContext: Object.spec.containers.securityContext{
      allowPrivilegeEscalation: false, readOnlyRootFilesystem: true,
      capabilities: Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}
    }
  }
}]"""
RESTRICTED_POD = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
ADMISSION = "admissionregistration.k8s.io/v1"


@contextmanager
def mutating(kubectl: Kubectl, group: str, resource: str, expression: str) -> Iterator[None]:
    """An admission policy that changes the new Jobs or pods of the namespace."""
    name = f"mynetwork-test-{resource}"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    rule = {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": [resource],
    }
    policy: dict[str, Any] = {
        "apiVersion": ADMISSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    }
    binding = {
        "apiVersion": ADMISSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    kubectl("apply", "-f", "-", text=json.dumps(policy))
    kubectl("apply", "-f", "-", text=json.dumps(binding))
    try:
        until(partial(_is_in_force, kubectl, resource), f"the policy of {resource} is in force")
        yield
    finally:
        kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", name)


def _is_in_force(kubectl: Kubectl, resource: str) -> bool:
    """Whether the API server changes a new object: it learns of a policy within a second or so."""
    container = {"name": "c", "image": "x", "securityContext": RESTRICTED_CONTAINER}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "securityContext": RESTRICTED_POD,
        "containers": [container],
    }
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "spec": pod}
    if resource == "jobs":
        body = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
    body["metadata"] = {"name": "probe", "namespace": NAMESPACE}
    flags = ("--dry-run=server", "-o", "json", "-f", "-")
    made = kubectl.attempt("create", *flags, text=json.dumps(body))
    return bool(re.search(rf'"{MIRROR}x"|"aa-proxy"', made.out))


def test_a_rewritten_image_runs(conversions: Conversions, kubectl: Kubectl) -> None:
    with mutating(kubectl, "batch", "jobs", REWRITE_IMAGE):
        rewritten = conversions.make("rewritten-image")
        rewritten.succeeded()
    (name,) = rewritten.jobs_made()
    (container,) = kubectl.get("-n", NAMESPACE, "job", name)["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == f"{MIRROR}my-converter:latest"


@pytest.mark.parametrize("seconds", [0, 600], ids=["ends at once", "runs on"])
def test_a_sidecar_changes_no_result(
    conversions: Conversions, kubectl: Kubectl, seconds: int
) -> None:
    with mutating(kubectl, "", "pods", ADD_SIDECAR % seconds):
        first = conversions.make("with-sidecar", maxRetries=0)
        status = first.succeeded(seconds=60)
        assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert len(first.jobs_made()) == 1
    if seconds:
        _frees_its_slot_and_ends(first, conversions)


def _frees_its_slot_and_ends(first: Conversion, conversions: Conversions) -> None:
    (pod,) = first.pods()
    names = [container["name"] for container in pod["spec"]["containers"]]
    assert sorted(names) == names == ["aa-proxy", "converter"]
    first.watches.until(lambda: not first.pods(), "the pod with the sidecar is deleted", 60)
    second = conversions.make("after-a-sidecar")
    second.succeeded()
    assert not any(runs(pod) for pod in first.pods())
