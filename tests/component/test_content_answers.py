"""What the content pipeline tells, and whom, over an API server in this process."""

from __future__ import annotations

import httpx2 as httpx
import pytest

from conversion_operator.api.names import CONTENT_LABEL
from conversion_operator.cluster.conversions import ConversionClient
from converter_gateway.app import create_app
from converter_gateway.naming import digest
from converter_gateway.settings import GatewaySettings
from mynetwork_converter import AsyncClient
from tests.component.support import FakeApi
from tests.component.support.tools import configuration, conversion_job
from tests.component.test_content import BASE, MOV, PNG, end, get, names, post, statuses
from tests.component.test_gateway import AUDIENCE, gateway


async def test_a_content_is_told_with_the_state_of_each_conversion(api: FakeApi) -> None:
    async with gateway(api) as client:
        job, _ = names(await post(client))
        await post(client, PNG)
        made = {"state": "Succeeded", "size": 7, "width": 64, "warnings": ["No audio."]}
        end(api, job, "Running", outputs=[{"state": "Pending"}, made])
        told = await get(client)
        assert statuses(told) == ("running", ["running", "completed"])
        assert [one["phase"] for one in told["conversions"]] == ["Running", "Succeeded"]
        picture = told["conversions"][1]
        assert (picture["output_size"], picture["warnings"]) == (7, ["No audio."])
        assert picture["output"] == made
        end(api, job, "Failed", outputs=[{"state": "Pending"}, made], logs="tail")
        told = await get(client)
        assert statuses(told) == ("failed", ["failed", "completed"])
        preview, picture = told["conversions"]
        assert (preview["error"], preview["logs"], preview["reason"]) == ("why", "tail", "R")
        assert not {"error", "logs", "reason"} & picture.keys()
        assert names(await get(client, "9"))[0] not in names(told)


@pytest.mark.parametrize(
    ("content_id", "code"),
    [("nobody", 200), ("8/9", 200), ("%F0%9F%98%80", 200), ("..a", 200), ("7%00", 400), ("", 400)],
)
async def test_unknown_content(api: FakeApi, content_id: str, code: int) -> None:
    async with gateway(api) as client:
        await post(client)
        answer = await client.get(f"{BASE}/{content_id}")
        assert answer.status_code == code
        if code == 200:
            assert answer.json()["status"] == "not_found"
        assert "content" in answer.json()["error"].lower()


async def test_a_label_alone_makes_nobody_a_part_of_a_content(api: FakeApi) -> None:
    labels = {CONTENT_LABEL: digest("7")}
    api.create(conversion_job("forged", metadata={"labels": labels}))
    async with gateway(api) as client:
        (other,) = names(await post(client, PNG))
        api.patch("conversionjobs", other, {"metadata": {"labels": labels}})
        assert (await get(client))["status"] == "not_found"


async def test_only_the_conversions_in_question_are_read(api: FakeApi) -> None:
    async with gateway(api) as client:
        await post(client, PNG | {"file_path": "storage/7/b.png"})
        first = await post(client)
        before = len(api.audit.requests)
        assert sorted(names(await get(client))) == sorted(names(first))
        assert len(api.audit.requests) == before, "the store has the answer"
        assert await post(client) == first
        read = [(request.verb, request.name) for request in api.audit.requests[before:]]
        assert sorted(read) == sorted(("get", name) for name in {*names(first)})


@pytest.mark.parametrize("content_id", ["a/b", "ü 😀?#%", "x" * 256, "-1"])
async def test_any_id_is_found_again_by_the_python_client(api: FakeApi, content_id: str) -> None:
    cluster = ConversionClient(configuration(api.url), "gateway")
    transport = httpx.ASGITransport(create_app(cluster, GatewaySettings(gateway_auth="network")))
    try:
        async with AsyncClient("http://127.0.0.1", transport=transport) as converter:
            made = await converter.submit_content(content_id, "image", "a.png")
            assert (made["content_id"], made["status"]) == (content_id, "running")
            assert await converter.get_content(content_id) == made
            end(api, made["conversions"][0]["job_id"], "Failed")
            again = await converter.submit_content(content_id, "image", "a.png", retry_failed=True)
            assert again["status"] == "running"
    finally:
        await cluster.close()


async def test_bad_calls_name_what_is_wrong(api: FakeApi) -> None:
    async with gateway(api) as client:
        for query, body, message in [
            ("", MOV | {"content_id": ""}, "Missing required field: content_id"),
            ("", MOV | {"file_path": "/etc/passwd"}, "file_path: "),
            ("?retry=all", MOV, "retry: "),
        ]:
            answer = await client.post(BASE + query, json=body)
            assert (answer.status_code, answer.json()["error"][: len(message)]) == (400, message)
        assert (await client.post(BASE, content=b" " * 70000)).status_code == 413
        assert not api.objects("conversionjobs")


async def test_an_api_server_that_is_away_is_503(api: FakeApi) -> None:
    async with gateway(api) as client, api.down():
        for answer in (await client.post(BASE, json=MOV), await client.get(f"{BASE}/7")):
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
            assert int(answer.headers["retry-after"]) > 0


# Who may


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("token", "namespace", "verbs", "codes"),
    [
        (None, "", "*", (401, 401)),
        ("bad", "", "*", (401, 401)),
        ("wrong-audience", "", "*", (401, 401)),
        ("good", "elsewhere", "*", (403, 403)),
        ("good", "", "create", (403, 403)),
        ("good", "", "list", (403, 200)),
        ("good", "", "create list", (200, 200)),
        ("good", "", "*", (200, 200)),
    ],
)
async def test_access(
    api: FakeApi,
    method: str,
    token: str | None,
    namespace: str,
    verbs: str,
    codes: tuple[int, int],
) -> None:
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    some = [{"apiGroups": ["*"], "resources": ["conversionjobs"], "verbs": verbs.split()}]
    caller = "system:serviceaccount:my-network:web"
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", everything)
    api.access.grant("good", caller, some, namespace="my-network", audiences=(AUDIENCE,))
    api.access.grant("wrong-audience", caller, some, namespace="my-network", audiences=("x",))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"X-Namespace": namespace} if namespace else {}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        path = BASE if method == "POST" else f"{BASE}/7"
        body = MOV if method == "POST" else None
        answer = await client.request(method, path, headers=headers, json=body)
    code = codes[method == "GET"]
    assert answer.status_code == code
    assert code == 200 or list(answer.json()) == ["error"]
    assert bool(api.objects("conversionjobs")) == (method == "POST" and code == 200)
