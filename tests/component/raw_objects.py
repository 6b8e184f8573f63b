"""Objects and requests of the tests of the API servers."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
)

from tests.component.support import NAMESPACE

CJ = ("converter.mynetwork.io", "v1alpha1", NAMESPACE, "conversionjobs")
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
EMPTY: Any = {}


def job(name: str = "a", **spec: Any) -> Any:
    """A Job. Its type is Any, because the client accepts dictionaries but does not declare it."""
    container = {"name": "converter", "image": "my-converter:latest"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {"backoffLimit": 0, "template": template} | spec
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": body,
    }


def status(phase: str, **more: Any) -> dict[str, Any]:
    return {"phase": phase, "reason": "Test", "message": "", "conditions": []} | more


async def rejected(call: Any) -> ApiException:
    """The error that a call raises."""
    with pytest.raises(ApiException) as caught:
        await call
    return caught.value


async def raw(
    http: ApiClient,
    method: str,
    path: str,
    body: Any = None,
    content_type: str = "application/json",
) -> tuple[int, str]:
    """The status code and text of a raw request."""
    rest = http.rest_client
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    response = await rest.request(method, http.configuration.host + path, headers, body)
    return response.status, (await response.read()).decode()
