"""The HTTP API refuses at once what would never be done, and says which component is missing."""

from __future__ import annotations

from typing import Any

import pytest

from converter_gateway.errors import explain_forbidden
from tests.component.support import FakeApi
from tests.component.support.tools import conversion_job
from tests.component.test_gateway import (
    AUDIENCE,
    BASE,
    BODY,
    CONTENT,
    EVERYTHING,
    ROUTES,
    body_for,
    gateway,
)

POSTS = [(f"{BASE}/convert", BODY), ("/api/v1/content", CONTENT)]


async def test_a_content_name_that_somebody_else_took_is_409_with_the_name(api: FakeApi) -> None:
    async with gateway(api) as client:
        made = (await client.post("/api/v1/content", json=CONTENT)).json()["conversions"]
        name = made[0]["job_id"]
        api.delete("conversionjobs", name)
        api.create(conversion_job(name))
        answer = await client.post("/api/v1/content", json=CONTENT)
    assert (answer.status_code, name in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_namespace_without_the_rights_of_the_api(
    api: FakeApi, method: str, path: str
) -> None:
    reviews = [
        {"apiGroups": ["*"], "resources": [resource], "verbs": ["create"]}
        for resource in ("tokenreviews", "subjectaccessreviews")
    ]
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", reviews)
    api.access.grant("good", "system:serviceaccount:team:web", EVERYTHING, "team", (AUDIENCE,))
    headers = {"Authorization": "Bearer good"}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        answer = await client.request(method, path, headers=headers, json=body_for(path))
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error.startswith("namespace team is not set up for this API, which may not ")
    assert "deploy/namespace" in error
    assert "ops:gateway" not in error


def test_other_refusals_of_the_api_server_keep_its_words() -> None:
    quota = 'conversionjobs "a" is forbidden: exceeded quota: q'
    assert explain_forbidden(quota) == quota
    label = (
        "conversionjobs \"a\" is forbidden: ValidatingAdmissionPolicy 'x-caller' with binding "
        "'x-caller' denied request: Only the HTTP API sets or changes the annotation "
        "converter.mynetwork.io/caller."
    )
    assert "label converter.mynetwork.io/operator-namespace" in explain_forbidden(label)


async def test_an_api_that_may_not_check_its_callers_says_so(api: FakeApi) -> None:
    async with gateway(api, gateway_auth="token") as client:
        with api.faults.forbid(verb="create", path="/apis/authentication.k8s.io/v1/tokenreviews"):
            headers = {"Authorization": "Bearer good"}
            answer = await client.post(f"{BASE}/convert", json=BODY, headers=headers)
    assert (answer.status_code, "deploy/gateway/reviews" in answer.json()["error"]) == (503, True)


@pytest.mark.parametrize(
    ("watched", "code"),
    [
        (None, 200),
        ("my-network", 200),
        ("other, my-network", 200),
        ("*", 200),
        ("other", 403),
        ("my-network-second", 403),
    ],
)
@pytest.mark.parametrize(("path", "body"), POSTS)
async def test_a_namespace_that_no_operator_serves(
    api: FakeApi, path: str, body: dict[str, str], watched: str | None, code: int
) -> None:
    async with gateway(api, watch_namespaces=watched) as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == code
        # What is there can still be seen and cancelled.
        assert (await client.get(f"{BASE}/active")).status_code == 200
    if code == 403:
        assert "no operator serves namespace my-network" in answer.json()["error"]
        assert not api.objects("conversionjobs")


HOST = "http://hooks.example:8080/hook?token=abc"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, 200),
        ({"converter_callback_hosts": "a,Hooks.Example."}, 200),
        ({"converter_callback_hosts": "*not valid*"}, 503),
        ({"converter_callback_hosts_by_namespace": "my-network:hooks.example"}, 503),
        (
            {
                "converter_callback_hosts": "hooks.example",
                "converter_callback_hosts_by_namespace": "my-network:hooks.example",
            },
            503,
        ),
        ({"converter_callback_hosts": ""}, 400),
        ({"converter_callback_hosts": "example,hooks.example.evil.test"}, 400),
        (
            {
                "converter_callback_hosts": "hooks.example",
                "converter_callback_hosts_by_namespace": "my-network=other",
            },
            400,
        ),
        (
            {
                "converter_callback_hosts": "",
                "converter_callback_hosts_by_namespace": "my-network=hooks.example",
            },
            200,
        ),
    ],
)
async def test_a_callback_to_a_host_that_is_not_allowed(
    api: FakeApi, settings: dict[str, Any], code: int
) -> None:
    async with gateway(api, **settings) as client:
        answer = await client.post(f"{BASE}/convert", json=BODY | {"callback_url": HOST})
        assert answer.status_code == code
        assert (await client.post(f"{BASE}/convert", json=BODY)).status_code == 200
    error = answer.json().get("error", "")
    assert "abc" not in error
    if code == 400:
        assert error.startswith("callback_url: The host hooks.example is not in ")
    if code == 503:
        assert error.startswith("callback_url: cannot be checked")


@pytest.mark.parametrize("url", ["http://[a", "http://a:99999/", "http://[::1", "http://:80/"])
@pytest.mark.parametrize("hosts", [None, "a"])
async def test_a_callback_url_that_is_no_url(api: FakeApi, url: str, hosts: str | None) -> None:
    async with gateway(api, converter_callback_hosts=hosts) as client:
        answer = await client.post(f"{BASE}/convert", json=BODY | {"callback_url": url})
    assert (answer.status_code, answer.json()["error"][:19]) == (400, "callback_url: The U")
