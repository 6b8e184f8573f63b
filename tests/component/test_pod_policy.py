"""The admission policy of pods, in a real API server, which compiles its expressions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conversion_operator.api import names
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.errors import StatusError
from tests.component.support.real.api import RealApi
from tests.unit.deploy.rendering import find

pytestmark = pytest.mark.judged

NAME = "my-network-converter-pods"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
KINDS = {"ValidatingAdmissionPolicy": "ies", "ValidatingAdmissionPolicyBinding": "ybindings"}
OURS = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.UID_LABEL: "u"}


def pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    spec = {
        "nodeName": "nowhere",
        "containers": [{"name": "converter", "image": "a"}],
        "initContainers": [{"name": "proxy", "image": "b"}],
    }
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def image(containers: str, name: str, wanted: str) -> dict[str, Any]:
    return {"spec": {containers: [{"name": name, "image": wanted}]}}


@contextmanager
def policy(api: RealApi) -> Iterator[None]:
    """The policy is there. Some time later, it is in force."""
    labels = {names.OPERATOR_NAMESPACE_LABEL: "my-network-converter"}
    api.patch("namespaces", NAMESPACE, {"metadata": {"labels": labels}}, "")
    for kind, plural in KINDS.items():
        api.real.request("POST", POLICIES + plural, find("kind", kind, NAME))
    try:
        yield
    finally:
        for plural in reversed(KINDS.values()):
            api.real.request("DELETE", f"{POLICIES}{plural}/{NAME}")
        without = {"metadata": {"labels": dict.fromkeys(labels)}}
        api.patch("namespaces", NAMESPACE, without, "")


@pytest.mark.real_only("the fake API server has no admission policies")
async def test_nobody_changes_the_image_of_our_pods(api: FakeApi) -> None:
    assert isinstance(api, RealApi)
    api.create(pod("ours", OURS))
    api.create(pod("other", {"a": "b"}))

    def said(target: str, change: dict[str, Any]) -> str:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{target}"
        try:
            api.real.request("PATCH", path, change, "application/strategic-merge-patch+json")
        except StatusError as error:
            return str(error)
        return ""

    with policy(api):
        async with asyncio.timeout(60):
            tries = 0
            while not (refusal := said("ours", image("containers", "converter", f"x{tries}"))):
                tries += 1
                await asyncio.sleep(0.2)
        assert "Only Kubernetes itself changes the images" in refusal
        refusal = said("ours", image("initContainers", "proxy", "evil"))
        assert "Only Kubernetes itself changes the images" in refusal
        assert said("ours", {"metadata": {"annotations": {"a": "b"}}}) == ""
        assert said("ours", {"spec": {"activeDeadlineSeconds": 1000}}) == ""
        assert said("other", image("containers", "converter", "evil")) == ""
