"""Tokens, permissions and review APIs of the in-process API server."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from kubernetes.aio.client import (
    ApiException,
    AuthenticationV1Api,
    AuthorizationV1Api,
    BatchV1Api,
    CoreV1Api,
)

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.access import PolicyRule
from tests.component.support.tools import client

RULES = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "create"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["mine"]},
]
OPERATOR = "system:serviceaccount:ops:operator"


@pytest.fixture(autouse=True)
def _granted(api: FakeApi) -> None:
    api.access.grant("good", OPERATOR, RULES, namespace=NAMESPACE)


async def code(call: Any) -> int:
    try:
        await call
    except ApiException as error:
        return int(error.status or 0)
    return 200


async def test_only_health_checks_need_no_token(api: FakeApi) -> None:
    async with aiohttp.ClientSession() as session:
        codes = []
        for path in ("/readyz", "/version", "/api/v1/pods"):
            async with session.get(api.url + path) as response:
                codes.append(response.status)
    assert codes == [200, 401, 401]


async def test_rbac_rules_are_enforced(api: FakeApi) -> None:
    async with client(api.url, "good") as http:
        batch, core = BatchV1Api(http), CoreV1Api(http)
        assert await code(batch.list_namespaced_job(NAMESPACE)) == 200
        assert await code(batch.list_job_for_all_namespaces()) == 403
        assert await code(batch.list_namespaced_job("default")) == 403
        assert await code(batch.delete_namespaced_job("a", NAMESPACE)) == 403
        assert await code(core.list_namespaced_pod(NAMESPACE)) == 403
        assert await code(core.read_namespaced_pod_log("none", NAMESPACE)) == 404
        assert await code(core.read_namespaced_config_map("mine", NAMESPACE)) == 404
        assert await code(core.read_namespaced_config_map("other", NAMESPACE)) == 403
        with pytest.raises(ApiException) as caught:
            await batch.list_namespaced_job("default")
    assert (
        f'jobs.batch is forbidden: User \\"{OPERATOR}\\" cannot list resource \\"jobs\\" in API '
        'group \\"batch\\" in the namespace \\"default\\"'
    ) in str(caught.value.body)
    assert api.access.unused("good") == [PolicyRule(NAMESPACE, "batch", "jobs", "create")]


async def test_a_rotated_token_replaces_the_old_one(api: FakeApi) -> None:
    async with client(api.url, "good") as old, client(api.url, "new") as new:
        assert await code(BatchV1Api(new).list_namespaced_job(NAMESPACE)) == 401
        api.access.replace("good", "new")
        assert await code(BatchV1Api(new).list_namespaced_job(NAMESPACE)) == 200
        assert await code(BatchV1Api(old).list_namespaced_job(NAMESPACE)) == 401
        api.access.grant("other", "someone else")
        api.access.revoke("new")
        assert await code(BatchV1Api(new).list_namespaced_job(NAMESPACE)) == 401


async def test_review_apis_answer_for_tokens_and_users(api: FakeApi) -> None:
    api.access.grant("gateway", "system:serviceaccount:ops:gateway")
    api.access.grant("caller", "system:serviceaccount:web:caller", audiences=("converter",))
    async with client(api.url, "gateway") as http:
        tokens, rights = AuthenticationV1Api(http), AuthorizationV1Api(http)

        async def who(token: str, audience: str) -> Any:
            body: Any = {"spec": {"token": token, "audiences": [audience]}}
            return (await tokens.create_token_review(body)).status

        assert (await who("caller", "converter")).user.username.endswith("web:caller")
        assert not (await who("caller", "another")).authenticated
        assert not (await who("nobody", "converter")).authenticated

        async def may(user: str, verb: str, namespace: str = NAMESPACE) -> bool:
            asked = {"group": "batch", "resource": "jobs", "verb": verb, "namespace": namespace}
            spec = {"user": user, "groups": ["system:authenticated"], "resourceAttributes": asked}
            body: Any = {"spec": spec}
            status = (await rights.create_subject_access_review(body)).status
            assert status is not None
            return bool(status.allowed)

        assert await may(OPERATOR, "create")
        assert not await may(OPERATOR, "delete")
        assert not await may(OPERATOR, "create", "default")
        assert not await may("system:serviceaccount:web:caller", "create")
    async with client(api.url, "caller") as http:
        assert await code(BatchV1Api(http).list_namespaced_job(NAMESPACE)) == 401
