"""Others refuse pods, as a real API server lets them: a webhook, a policy and a quota.

The Jobs are created. Only the Job controller learns that their pods are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from conversion_operator.core import refusals
from tests.component.running import attempts_of, running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.real.api import RealApi
from tests.component.support.real.processes import AUTHORIZATION
from tests.component.support.real.webhook import CONFIGURATIONS, NAME, PodWebhook
from tests.component.support.tools import conversion_job

pytestmark = pytest.mark.judged
Cure = Callable[[], Awaitable[None]]
ONLY_HERE: Final = {"kubernetes.io/metadata.name": NAMESPACE}
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
POLICY: Final = f"{ADMISSION}/validatingadmissionpolicies"
BINDING: Final = f"{ADMISSION}/validatingadmissionpolicybindings"
QUOTAS: Final = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"


@pytest.fixture
def real(api: FakeApi) -> RealApi:
    if not isinstance(api, RealApi):
        pytest.skip("the fake API server has no admission")
    return api


@pytest.fixture
async def webhook(real: RealApi, tmp_path: Path) -> AsyncIterator[PodWebhook]:
    """A webhook that the API server calls for each new pod."""
    hook = PodWebhook(tmp_path)
    await hook.start()
    real.real.request("POST", CONFIGURATIONS, hook.configuration(ONLY_HERE))
    try:
        yield hook
    finally:
        real.real.request("DELETE", f"{CONFIGURATIONS}/{NAME}")
        await hook.stop()


async def until_refused(api: RealApi, words: str) -> None:
    """Wait until the API server refuses a pod with these words. It learns of policies late."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    url = f"{api.real.url}/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All"
    async with asyncio.timeout(20):
        while True:
            # Not api.real.request: it blocks the event loop, which runs the webhook.
            async with api.real.session.post(url, json=pod, headers=AUTHORIZATION) as response:
                if words in (await response.json()).get("message", ""):
                    return
            await api.real.changed.wait(0.2)


async def check_refusal(api: RealApi, path: Path, reason: str, words: str, cure: Cure) -> None:
    """The status has the server's words, the slot is free, and the cure helps soon."""
    await until_refused(api, words)
    api.add_namespace("team-b")
    served = f"{NAMESPACE},team-b"
    async with running(api, path, converter_max_parallel=1, watch_namespaces=served):
        api.create(conversion_job("c"))
        api.create(conversion_job("later"))
        await api.until(lambda: status_of(api, "c").get("reason") == reason, 30)
        assert words in status_of(api, "c")["message"]
        api.create(conversion_job("d", metadata={"namespace": "team-b"}))
        await api.until(lambda: phase(api, "d", "team-b") == "Succeeded", 30)
        await cure()
        await until_phase(api, "c", "Succeeded", 30)
        await until_phase(api, "later", "Succeeded", 30)
        *refused, last = attempts_of(api, "c")
        assert (set(refused), last) == ({reason}, "Completed")
    check_all(api, limit=1)


def phase(api: FakeApi, name: str, namespace: str) -> str:
    found: str = (api.find("conversionjobs", name, namespace) or {})["status"]["phase"]
    return found


@pytest.fixture(autouse=True)
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "RETRY_INTERVAL", timedelta(seconds=3))  # 15 s


async def test_a_webhook_refuses_pods(
    real: RealApi, cluster: FakeCluster, webhook: PodWebhook, tmp_path: Path
) -> None:
    webhook.refusal = "no pods without a cost centre"

    async def cure() -> None:
        webhook.refusal = ""

    words = f'admission webhook "{NAME}" denied the request: {webhook.refusal}'
    await check_refusal(real, tmp_path, "PodRejected", words, cure)


async def test_a_webhook_does_not_answer(
    real: RealApi, cluster: FakeCluster, webhook: PodWebhook, tmp_path: Path
) -> None:
    await webhook.stop()
    words = f'failed calling webhook "{NAME}"'
    await check_refusal(real, tmp_path, "PodRejected", words, webhook.start)


async def test_a_policy_refuses_pods(real: RealApi, cluster: FakeCluster, tmp_path: Path) -> None:
    name, path = "pods.example.com", f"{POLICY}/pods.example.com"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule | {"resources": ["pods"]}]},
            "validations": [{"expression": "false", "message": "pods need a cost centre"}],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": ONLY_HERE}},
        },
    }
    real.real.request("POST", POLICY, policy)
    real.real.request("POST", BINDING, binding)

    async def cure() -> None:
        real.real.request("DELETE", f"{BINDING}/{name}")

    try:
        await check_refusal(real, tmp_path, "PodRejected", "pods need a cost centre", cure)
    finally:
        real.real.request("DELETE", path)


async def test_a_quota_refuses_pods(real: RealApi, cluster: FakeCluster, tmp_path: Path) -> None:
    """No controller counts here, so the test writes the quota's status."""
    hard = {"hard": {"pods": "0"}}
    made = real.real.request("POST", QUOTAS, {"metadata": {"name": "pods"}, "spec": hard})
    counted = made | {"status": hard | {"used": {"pods": "0"}}}
    real.real.request("PUT", f"{QUOTAS}/pods/status", counted)

    async def cure() -> None:
        real.real.request("DELETE", f"{QUOTAS}/pods")

    await check_refusal(real, tmp_path, "QuotaExceeded", "exceeded quota: pods", cure)
