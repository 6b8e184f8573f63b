"""WATCH_NAMESPACES "*": one list and one watch feed the stores of all namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest

from converter_gateway import store_watch
from tests.component.listening import listening, serving
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.audit import Request
from tests.component.support.fault_types import Fault
from tests.component.support.tools import conversion_job

BASE = "/api/v1/converter"
CJ: dict[str, Any] = {"resource": "conversionjobs"}
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
AUDIENCE = "my-network-converter"


@asynccontextmanager
async def for_all(api: FakeApi, watched: str = "*") -> AsyncIterator[httpx.AsyncClient]:
    """A replica, and a client whose token may do everything in two namespaces."""
    api.add_namespace("other")
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    for name in (NAMESPACE, "other"):
        account = f"system:serviceaccount:{NAMESPACE}:web"
        api.access.grant("caller", account, EVERYTHING, name, (AUDIENCE,))
    async with serving(api, "gateway", gateway_auth="token", watch_namespaces=watched) as client:
        client.headers["Authorization"] = "Bearer caller"
        yield client


def no_cluster_role(api: FakeApi) -> AbstractContextManager[Fault]:
    def is_everywhere(request: Request) -> bool:
        return request.plural == "conversionjobs" and request.namespace is None

    return api.faults.forbid(verb=("list", "watch"), where=is_everywhere)


async def waiting(client: httpx.AsyncClient, namespace: str) -> list[str]:
    answer = await client.get(f"{BASE}/queue", headers={"X-Namespace": namespace})
    assert answer.status_code == 200, answer.text
    return [each["job_id"] for each in answer.json()["queue"]]


def fail(obj: dict[str, Any]) -> None:
    obj["status"] = {"phase": "Failed", "reason": "Corrupt", "message": "x", "conditions": []}


def asked(api: FakeApi, verb: str) -> list[str | None]:
    """The namespaces of the requests of the API for ConversionJobs."""
    return [
        r.namespace for r in api.audit.requests if r.verb == verb and r.plural == CJ["resource"]
    ]


async def test_one_list_and_one_watch_serve_all_namespaces(api: FakeApi) -> None:
    async with for_all(api) as client:
        api.create(conversion_job("a"))
        api.create(conversion_job("a", "other"))
        api.create(conversion_job("b", "other"))
        assert await waiting(client, NAMESPACE) == ["a"]
        assert await waiting(client, "other") == ["a", "b"]
        async with listening(client) as listener:
            await listener.begun()
            api.mutate("conversionjobs", "a", fail, "other")
            api.mutate("conversionjobs", "a", fail)
            assert (await listener.event()).told == ("failed", "a")
        assert await waiting(client, "other") == ["b"]
        assert await waiting(client, NAMESPACE) == []
    assert asked(api, "list") == [None]
    assert set(asked(api, "watch")) == {None}


async def test_without_the_cluster_role_single_namespaces_are_watched(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.create(conversion_job("a"))
    with no_cluster_role(api) as refused:
        async with for_all(api) as client:
            assert await waiting(client, NAMESPACE) == ["a"]
            assert asked(api, "list")[-1] == NAMESPACE
            assert any("Apply deploy/cluster-wide" in line for line in caplog.messages)
            refused.times = 0
            await api.until(lambda: any(w.request.namespace is None for w in api.watches(**CJ)), 30)
            api.create(conversion_job("b", "other"))
            assert await waiting(client, "other") == ["b"]
            assert "other" not in asked(api, "list")


async def test_a_caller_sees_no_other_namespace(api: FakeApi) -> None:
    async with for_all(api) as client:
        api.add_namespace("secret")
        api.create(conversion_job("a", "secret"))
        assert await waiting(client, NAMESPACE) == []
        answer = await client.get(f"{BASE}/queue", headers={"X-Namespace": "secret"})
        assert answer.status_code == 403


async def test_what_the_watch_of_all_lost_is_repaired(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "AUDIT_SECONDS", 0.2)
    monkeypatch.setattr(store_watch, "_AUDIT_GRACE_SECONDS", 0.2)
    async with for_all(api) as client:
        api.create(conversion_job("a", "other"))
        assert await waiting(client, "other") == ["a"]
        await api.until(lambda: api.watches(**CJ))
        with api.faults.hold_watches(**CJ):
            client.event_hooks = {"request": []}
            api.mutate("conversionjobs", "a", fail, "other")
            api.create(conversion_job("b"))
            lists = len(asked(api, "list"))
            await api.until(lambda: len(asked(api, "list")) > lists + 2)
            assert await waiting(client, "other") == []
            assert await waiting(client, NAMESPACE) == ["b"]
