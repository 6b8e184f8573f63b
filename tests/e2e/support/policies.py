"""Admission policies of other people, which change the Jobs and pods of the operator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.e2e.support.commands import Kubectl, until
from tests.e2e.support.conversions import NAMESPACE

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
