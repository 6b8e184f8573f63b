"""The HTTP API over an API server in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from conversion_operator.api import names
from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.settings import LiveSettings, read_folder
from converter_gateway.app import create_app
from converter_gateway.settings import GatewaySettings
from mynetwork_converter import AsyncClient, ConverterError
from tests.component.listening import caught_up
from tests.component.support import FakeApi
from tests.component.support.tools import configuration

BASE = "/api/v1/converter"
AUDIENCE = "my-network-converter"
BODY = {
    "input_file": "/opt/my-network/shared/in/a.mov",
    "output_file": "/opt/my-network/storage/a.mp4",
    "conversion_type": "video_to_mp4",
}
ROUTES = [
    ("POST", f"{BASE}/convert"),
    ("GET", f"{BASE}/status/x"),
    ("POST", f"{BASE}/cancel/x"),
    ("GET", f"{BASE}/active"),
    ("GET", f"{BASE}/queue"),
    ("GET", f"{BASE}/stats"),
    ("GET", f"{BASE}/events"),
    ("GET", f"{BASE}/conversions"),
    ("GET", f"{BASE}/conversions/x"),
    ("POST", f"{BASE}/retry"),
    ("POST", f"{BASE}/retry/x"),
    ("GET", f"{BASE}/logs/x"),
    ("GET", f"{BASE}/outputs/x/0"),
    ("POST", "/api/v1/content"),
    ("GET", "/api/v1/content/x"),
]
UNKNOWN_IS_404 = tuple(
    f"{BASE}/{path}" for path in ("cancel/x", "conversions/x", "retry/x", "logs/x", "outputs/x/0")
)
# A stream that is read as a whole has to end.
DEFAULTS: dict[str, Any] = {"gateway_auth": "network", "gateway_stream_seconds": 0.05}
CONTENT = {"content_id": "x", "content_type": "video/mp4", "file_path": "in/a.mp4"}


def body_for(path: str) -> Any:
    """What a POST of that path needs."""
    return {f"{BASE}/convert": BODY, "/api/v1/content": CONTENT}.get(path)


@asynccontextmanager
async def gateway(
    api: FakeApi, token: str | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    cluster = ConversionClient(configuration(api.url, token), "gateway")
    # A copy takes invalid texts, too, as the settings do if no valid text is known.
    app = create_app(cluster, GatewaySettings().model_copy(update=DEFAULTS | settings))
    transport = httpx.ASGITransport(app)
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", event_hooks=caught_up(api, app)
        ) as client:
            yield client
    finally:
        await cluster.close()


async def test_a_job_is_started_seen_and_cancelled(api: FakeApi) -> None:
    async with gateway(api) as client:
        started = (await client.post(f"{BASE}/convert", json=BODY)).json()
        assert (started["status"], started["message"]) == (
            "started",
            "Conversion job started successfully",
        )
        job = started["job_id"]
        status = (await client.get(f"{BASE}/status/{job}")).json()
        assert (status["status"], status["phase"], status["queue_position"]) == (
            "running",
            "Queued",
            1,
        )
        assert {name: status[name] for name in BODY} == BODY
        assert api.get("conversionjobs", job)["spec"]["outputFile"] == "/storage/a.mp4"
        active = (await client.get(f"{BASE}/active")).json()
        assert active["total_active"] == 1
        assert active["active_jobs"][0]["duration_seconds"] >= 0
        assert (await client.get(f"{BASE}/stats")).json()["queued_jobs_count"] == 1
        assert (await client.post(f"{BASE}/cancel/{job}")).status_code == 200
        assert api.get("conversionjobs", job)["spec"]["cancel"] is True


def _ended(obj: dict[str, Any]) -> None:
    why = {"phase": "Failed", "reason": "Corrupt", "message": "no frame"}
    obj["status"] = why | {"conditions": []}


async def test_a_wait_ends_with_the_conversion(api: FakeApi) -> None:
    async with gateway(api) as client:
        job = (await client.post(f"{BASE}/convert", json=BODY)).json()["job_id"]
        ask = asyncio.ensure_future(client.get(f"{BASE}/status/{job}?wait=30"))
        await api.until(lambda: api.watches(resource="conversionjobs"))
        api.compact("conversionjobs")  # the watch ends with 410, and is made anew
        await api.until(lambda: api.watches(resource="conversionjobs"))
        api.mutate("conversionjobs", job, _ended)
        answer = (await asyncio.wait_for(ask, 10)).json()
        assert (answer["status"], answer["error"]) == ("failed", "no frame")
        begun = time.monotonic()
        assert (await client.get(f"{BASE}/status/{job}?wait=30")).json() == answer
        assert time.monotonic() - begun < 5


async def test_a_wait_is_bounded_and_survives_a_deletion(api: FakeApi) -> None:
    async with gateway(api) as client:
        job = (await client.post(f"{BASE}/convert", json=BODY)).json()["job_id"]
        still = (await client.get(f"{BASE}/status/{job}?wait=0.2")).json()
        assert (still["status"], still["phase"]) == ("running", "Queued")
        ask = asyncio.ensure_future(client.get(f"{BASE}/status/{job}?wait=30"))
        await api.until(lambda: api.watches(resource="conversionjobs"))
        api.delete("conversionjobs", job)
        assert (await asyncio.wait_for(ask, 10)).json()["status"] == "not_found"
        for wait in ("61", "-1", "nan", "x", ""):
            bad = await client.get(f"{BASE}/status/{job}?wait={wait}")
            assert (bad.status_code, bad.json()["error"].startswith("wait: ")) == (400, True)


async def test_the_python_client_speaks_its_language(api: FakeApi) -> None:
    cluster = ConversionClient(configuration(api.url), "gateway")
    transport = httpx.ASGITransport(create_app(cluster, GatewaySettings(gateway_auth="network")))
    try:
        async with AsyncClient("http://127.0.0.1", transport=transport) as converter:
            kind, files = BODY["conversion_type"], (BODY["input_file"], BODY["output_file"])
            job = await converter.convert_file(*files, kind, idempotency_key="k")
            assert job == await converter.convert_file(*files, kind, idempotency_key="k")
            assert [active["job_id"] for active in await converter.get_active_jobs()] == [job]
            assert [(one["job_id"], one["position"]) for one in await converter.get_queue()] == [
                (job, 1)
            ]
            assert (await converter.get_job_status(job))["status"] == "running"
            assert (await converter.get_stats())["queued_jobs_count"] == 1
            assert await converter.cancel_job(job)
            assert not await converter.cancel_job("nobody")
            with pytest.raises(ConverterError, match="conversion_type"):
                await converter.convert_file("a", "b", "video_to_gif")
    finally:
        await cluster.close()


async def test_one_caller_is_held_to_a_rate_and_health_is_not(api: FakeApi) -> None:
    async with gateway(api, gateway_rate_per_second=0.01, gateway_rate_burst=3) as client:
        codes = [(await client.get(f"{BASE}/stats")).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        rejected = await client.get(f"{BASE}/stats")
        assert (list(rejected.json()), 90 <= int(rejected.headers["retry-after"]) <= 100) == (
            ["error"],
            True,
        )
        assert (await client.get("/healthz")).status_code == 200


async def test_unknown_jobs(api: FakeApi) -> None:
    async with gateway(api) as client:
        for name in ("nobody", "A?b", "..", "a%3Fwatch"):
            answer = await client.get(f"{BASE}/status/{name}")
            if name != "..":
                assert answer.json() == {"status": "not_found", "error": "Job not found"}
        assert (await client.post(f"{BASE}/cancel/nobody")).status_code == 404


async def test_bad_and_large_bodies(api: FakeApi) -> None:
    async with gateway(api) as client:
        bad = await client.post(f"{BASE}/convert", json=BODY | {"output_file": "a.avi"})
        assert (bad.status_code, list(bad.json())) == (400, ["error"])
        large = await client.post(f"{BASE}/convert", content=b" " * 70000)
        assert (large.status_code, list(large.json())) == (413, ["error"])
        for path in ("/nothing", f"{BASE}/nothing"):
            assert (await client.get(path)).json() == {"error": "Not Found"}
        assert (await client.get(f"{BASE}/convert")).status_code == 405
        assert not api.objects("conversionjobs")


async def test_rights_and_quotas_that_are_missing_are_told_as_such(api: FakeApi) -> None:
    async with gateway(api) as client:
        job = (await client.post(f"{BASE}/convert", json=BODY)).json()["job_id"]
        with api.faults.quota(verb="create", resource="conversionjobs"):
            full = await client.post(f"{BASE}/convert", json=BODY)
        assert (full.status_code, "exceeded quota" in full.json()["error"]) == (403, True)
        with api.faults.forbid(verb="patch", resource="conversionjobs"):
            rejected = await client.post(f"{BASE}/cancel/{job}")
        assert (rejected.status_code, list(rejected.json())) == (403, ["error"])


async def test_a_key_gives_one_job_from_any_replica_after_a_lost_answer(api: FakeApi) -> None:
    headers = {"Idempotency-Key": "k"}
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.drop_answer(times=1, verb="create", resource="conversionjobs"):
            lost = await one.post(f"{BASE}/convert", json=BODY, headers=headers)
        assert (lost.status_code, "retry-after" in lost.headers) == (503, True)
        again = await two.post(f"{BASE}/convert", json=BODY, headers=headers)
        same = await one.post(f"{BASE}/convert", json=BODY, headers=headers)
        assert again.json()["job_id"] == same.json()["job_id"]
        assert len(api.objects("conversionjobs")) == 1
        other = BODY | {"input_file": "in/b.mov"}
        assert (await two.post(f"{BASE}/convert", json=other, headers=headers)).status_code == 409


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("token", "namespace", "code"),
    [
        (None, "", 401),
        ("bad", "", 401),
        ("wrong-audience", "", 401),
        ("good", "elsewhere", 403),
        ("good", "", None),
    ],
)
async def test_access(
    api: FakeApi, method: str, path: str, token: str | None, namespace: str, code: int | None
) -> None:
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    caller = "system:serviceaccount:my-network:web"
    rights: dict[str, Any] = {"rules": everything, "namespace": "my-network"}
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", everything)
    api.access.grant("good", caller, audiences=(AUDIENCE,), **rights)
    api.access.grant("wrong-audience", caller, audiences=("other",), **rights)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"X-Namespace": namespace} if namespace else {}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        answer = await client.request(method, path, headers=headers, json=body_for(path))
    if code is None:
        assert answer.status_code == (404 if path in UNKNOWN_IS_404 else 200)
    else:
        assert (answer.status_code, list(answer.json())) == (code, ["error"])


EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


def grant(api: FakeApi, name: str = "system:serviceaccount:my-network:web") -> None:
    """Tokens of the API itself and of a caller with every right in its namespace."""
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    api.access.grant("good", name, EVERYTHING, "my-network", (AUDIENCE,))


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer  "}, 401),
        ({"Authorization": "good"}, 401),
        ({"Authorization": "Basic good"}, 401),
        ({"Authorization": "Bearer good good"}, 401),
        ({"X-Namespace": "my-network"}, 401),
        ({"Authorization": "Bearer good", "X-Namespace": "My_Network"}, 400),
        ({"Authorization": "Bearer good", "X-Namespace": "a/../b"}, 400),
        ({"Authorization": "Bearer good", "X-Namespace": "a" * 64}, 400),
        ({"Authorization": "Bearer bad", "X-Namespace": "my-network"}, 401),
        ({"Authorization": "bearer good", "X-Namespace": "my-network"}, None),
        ({"Authorization": "Bearer   good", "X-Namespace": ""}, None),
    ],
)
async def test_headers(
    api: FakeApi, method: str, path: str, headers: dict[str, str], code: int | None
) -> None:
    grant(api)
    async with gateway(api, "gateway", gateway_auth="token") as client:
        answer = await client.request(method, path, headers=headers, json=body_for(path))
        assert answer.status_code == (code or (404 if path in UNKNOWN_IS_404 else 200))
        assert ("www-authenticate" in answer.headers) == (code == 401)
        if code:
            assert list(answer.json()) == ["error"]
            assert not api.objects("conversionjobs")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_person_has_to_name_the_namespace(api: FakeApi, method: str, path: str) -> None:
    grant(api, "alice@example.com")
    headers = {"Authorization": "Bearer good"}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        answer = await client.request(method, path, headers=headers, json=body_for(path))
        assert (answer.status_code, "X-Namespace" in answer.json()["error"]) == (400, True)
        headers["X-Namespace"] = "my-network"
        answer = await client.request(method, path, headers=headers, json=body_for(path))
        assert answer.status_code == (404 if path in UNKNOWN_IS_404 else 200)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"{BASE}/status/x?wait=x"), ("POST", "/api/v1/content?retry=x")],
)
async def test_a_stranger_gets_401_before_parameters_are_validated(
    api: FakeApi, method: str, path: str
) -> None:
    grant(api)
    headers = {"Authorization": "Bearer good"}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        assert (await client.request(method, path)).status_code == 401
        assert (await client.request(method, path, headers=headers)).status_code == 400


def reviews(api: FakeApi) -> int:
    return sum(request.path.endswith("/tokenreviews") for request in api.audit.requests)


async def test_a_token_that_is_not_valid_is_reviewed_once(api: FakeApi) -> None:
    grant(api)
    async with gateway(api, "gateway", gateway_auth="token") as client:
        ask = [client.get(f"{BASE}/stats", headers={"Authorization": "Bearer x"}) for _ in range(9)]
        assert {answer.status_code for answer in await asyncio.gather(*ask)} == {401}
        headers = {"Authorization": "Bearer x"}
        assert (await client.get(f"{BASE}/stats", headers=headers)).status_code == 401
        assert reviews(api) == 1


async def test_random_tokens_cause_few_reviews_and_push_no_valid_token_out(api: FakeApi) -> None:
    grant(api)
    good = {"Authorization": "Bearer good"}
    async with gateway(api, "gateway", gateway_auth="token", gateway_rate_burst=5000) as client:
        assert (await client.get(f"{BASE}/stats", headers=good)).status_code == 200
        codes = []
        for number in range(60):
            headers = {"Authorization": f"Bearer random-{number}"}
            codes.append((await client.get(f"{BASE}/stats", headers=headers)).status_code)
        assert set(codes) == {401, 429}
        assert reviews(api) < 40
        before = reviews(api)
        assert (await client.get(f"{BASE}/stats", headers=good)).status_code == 200
        assert reviews(api) == before


RIGHTS = {
    f"{BASE}/convert": ["create"],
    f"{BASE}/status/x": ["get"],
    f"{BASE}/cancel/x": ["patch"],
    f"{BASE}/active": ["list"],
    f"{BASE}/queue": ["list"],
    f"{BASE}/stats": ["list"],
    f"{BASE}/events": ["watch"],
    f"{BASE}/conversions": ["list"],
    f"{BASE}/conversions/x": ["get"],
    f"{BASE}/retry": ["list", "create"],
    f"{BASE}/retry/x": ["get", "create"],
    f"{BASE}/logs/x": ["get"],
    f"{BASE}/outputs/x/0": ["get"],
    "/api/v1/content": ["create", "list"],
    "/api/v1/content/x": ["list"],
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_right_that_a_route_needs(api: FakeApi, method: str, path: str) -> None:
    """With it the caller is let in, and without it not, whatever else it may do."""
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    verbs = ["create", "get", "patch", "list", "watch", "delete", "update"]
    for number, without in enumerate(["", *RIGHTS[path]]):
        given = RIGHTS[path] if not without else [verb for verb in verbs if verb != without]
        rule = {
            "apiGroups": ["converter.mynetwork.io"],
            "resources": ["conversionjobs"],
            "verbs": given,
        }
        caller = f"system:serviceaccount:my-network:web{number}"
        api.access.grant(f"token{number}", caller, [rule], "my-network", (AUDIENCE,))
    async with gateway(api, "gateway", gateway_auth="token") as client:
        for number, without in enumerate(["", *RIGHTS[path]]):
            headers = {"Authorization": f"Bearer token{number}"}
            answer = await client.request(method, path, headers=headers, json=body_for(path))
            allowed = 404 if path in UNKNOWN_IS_404 else 200
            assert answer.status_code == (403 if without else allowed), without


@pytest.mark.parametrize(("key", "code"), [("", 400), ("k" * 256, 400), ("k" * 255, 200)])
async def test_idempotency_keys(api: FakeApi, key: str, code: int) -> None:
    async with gateway(api) as client:
        headers = {"Idempotency-Key": key}
        answer = await client.post(f"{BASE}/convert", json=BODY, headers=headers)
        assert answer.status_code == code
        if code == 400:
            assert answer.json()["error"].startswith("Idempotency-Key: ")


async def test_the_trace_of_the_caller_is_kept_and_is_not_part_of_the_request(
    api: FakeApi,
) -> None:
    def parent(trace: str) -> str:
        return f"00-{trace * 32}-b7ad6b7169203331-01"

    def stored(job: str) -> str | None:
        annotations: dict[str, str] = api.get("conversionjobs", job)["metadata"]["annotations"]
        return annotations.get(names.TRACEPARENT_ANNOTATION)

    async with gateway(api) as client:

        async def convert(traceparent: str, key: str) -> str:
            headers = {"Idempotency-Key": key, "traceparent": traceparent}
            answer = await client.post(f"{BASE}/convert", json=BODY, headers=headers)
            assert answer.status_code == 200
            job: str = answer.json()["job_id"]
            return job

        first = await convert(parent("1"), "a")
        assert stored(first) == parent("1")
        # The caller tries again, in another trace.
        assert await convert(parent("2"), "a") == first
        assert stored(first) == parent("1")
        for number, wrong in enumerate(("", "nonsense", parent("0"), parent("1") * 100)):
            assert stored(await convert(wrong, f"wrong-{number}")) is None


async def test_stats_follow_the_operators_settings(api: FakeApi, tmp_path: Path) -> None:
    cluster = ConversionClient(configuration(api.url), "gateway")
    live = LiveSettings(GatewaySettings, {})
    settings = GatewaySettings(gateway_auth="network")
    transport = httpx.ASGITransport(create_app(cluster, settings, live=lambda: live.current))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for value, told in (("3", 3), ("7", 7), ("many", 7), ("0", 0)):
                (tmp_path / "CONVERTER_MAX_PARALLEL").write_text(value)
                live.take(read_folder(tmp_path))
                stats = (await client.get(f"{BASE}/stats")).json()
                assert stats["max_parallel_jobs"] == told
    finally:
        await cluster.close()


async def test_health_does_not_wait_for_a_slow_api_server(api: FakeApi) -> None:
    """The health checks are answered while 90 requests wait for the API server.

    The client has 100 connections for requests, and the store lists with one of them.
    """
    async with gateway(api) as client:
        with api.faults.hold(verb="create", resource="conversionjobs") as held:
            calls = [client.post(f"{BASE}/convert", json=BODY) for _ in range(90)]
            submits = [asyncio.ensure_future(call) for call in calls]
            await held.wait_hit(90)
            for path in ("/healthz", "/readyz"):
                assert (await client.get(path)).status_code == 200
            assert not any(task.done() for task in submits)
        answers = await asyncio.gather(*submits)
    assert {answer.status_code for answer in answers} == {200}


async def test_an_api_server_that_is_away_is_503(api: FakeApi) -> None:
    async with gateway(api) as client, api.down():
        for method, path in ROUTES:
            answer = await client.request(method, path, json=body_for(path))
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
            assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/readyz")).status_code == 200
