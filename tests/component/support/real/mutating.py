"""A policy of the real API server that changes what others create."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.component.support.errors import Obj
from tests.component.support.kinds import JOBS
from tests.component.support.real.api import RealApi
from tests.component.support.real.storage import path_of

_VERSION: Final = "admissionregistration.k8s.io/v1"
_POLICIES: Final = f"/apis/{_VERSION}/mutatingadmissionpolicies"
_BINDINGS: Final = f"/apis/{_VERSION}/mutatingadmissionpolicybindings"
_NAME: Final = "suspend-new-jobs"
_EXPRESSION: Final = "Object{spec: Object.spec{suspend: true}}"
_SECONDS: Final = 20.0


@asynccontextmanager
async def suspending_new_jobs(api: RealApi, namespace: str) -> AsyncIterator[None]:
    """Each Job that is created in the namespace meanwhile is suspended, as by Kueue's webhook."""
    for path, body in ((_POLICIES, _policy(namespace)), (_BINDINGS, _binding())):
        api.real.request("POST", path, body)
    try:
        await _until(api, namespace, suspended=True)
        yield
    finally:
        for path in (_BINDINGS, _POLICIES):
            api.real.request("DELETE", f"{path}/{_NAME}")
        await _until(api, namespace, suspended=False)


async def _until(api: RealApi, namespace: str, suspended: bool) -> None:
    """Wait until the API server has learned of the policy, or of its deletion."""
    path = f"{path_of(JOBS, namespace)}?dryRun=All"
    async with asyncio.timeout(_SECONDS):
        while bool(api.real.request("POST", path, _job())["spec"].get("suspend")) != suspended:
            await api.real.changed.wait(0.1)


def _policy(namespace: str) -> Obj:
    rule = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["jobs"],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    mutation = {
        "patchType": "ApplyConfiguration",
        "applyConfiguration": {"expression": _EXPRESSION},
    }
    return _object(
        "MutatingAdmissionPolicy",
        failurePolicy="Fail",
        reinvocationPolicy="Never",
        matchConstraints={"namespaceSelector": selector, "resourceRules": [rule]},
        mutations=[mutation],
    )


def _binding() -> Obj:
    return _object("MutatingAdmissionPolicyBinding", policyName=_NAME)


def _object(kind: str, **spec: Any) -> Obj:
    return {"apiVersion": _VERSION, "kind": kind, "metadata": {"name": _NAME}, "spec": spec}


def _job() -> Obj:
    container = {"name": "a", "image": "a"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "probe"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
