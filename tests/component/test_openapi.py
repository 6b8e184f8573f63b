"""The API against its own OpenAPI document: generated requests, and every kind of answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
import hypothesis
import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conversion_operator.cluster.conversions import ConversionClient
from converter_gateway.app import create_app
from converter_gateway.openapi import CONVERT_EXAMPLES
from converter_gateway.settings import GatewaySettings
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.tools import configuration, conversion_job

BASE = "/api/v1/converter"
DOCUMENT: Any = json.loads(
    (Path(__file__).parents[2] / "docs/openapi.json").read_text(encoding="utf-8")
)
OPERATIONS = [
    (path, method) for path, operations in DOCUMENT["paths"].items() for method in operations
]
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


@asynccontextmanager
async def gateway(api: FakeApi, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API as it ships, with tokens, and a client that has one."""
    caller = f"system:serviceaccount:{NAMESPACE}:web"
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    api.access.grant("caller", caller, EVERYTHING, NAMESPACE, ("my-network-converter",))
    cluster = ConversionClient(configuration(api.url, "gateway"), "gateway")
    # Streams end at once, and nobody is held to a rate.
    given = {"gateway_stream_seconds": 0.01, "gateway_rate_burst": 100_000} | settings
    transport = httpx.ASGITransport(create_app(cluster, GatewaySettings(**given)))
    headers = {"Authorization": "Bearer caller"}
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=60
        ) as client:
            yield client
    finally:
        await cluster.close()


Exchange = Callable[[requests.PreparedRequest], httpx.Response]


def fuzz(operation: Any, exchange: Exchange) -> int:
    """Requests that the document allows, and such as it does not. Returns how many."""
    sent = 0

    def check(case: Any) -> None:
        nonlocal sent
        sent += 1
        request = requests.Request(
            **case.as_transport_kwargs(base_url="http://127.0.0.1")
        ).prepare()
        case.validate_response(exchange(request), checks=CHECKS)

    modes = [GenerationMode.POSITIVE]
    if operation.body or any(True for _ in operation.iter_parameters()):
        modes.append(GenerationMode.NEGATIVE)  # with nothing to send nothing can be wrong
    for case in operation.schema.iter_coverage_cases(
        operation, generation_modes=modes, generation_config=GenerationConfig(modes=modes)
    ):
        if case.method == operation.method.upper():
            check(case)
    for mode in modes:
        strategy = operation.as_strategy(generation_mode=mode)
        settings = hypothesis.settings(
            max_examples=20,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        given: Any = hypothesis.given(strategy)
        settings(given(check))()
    return sent


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_what_is_sent_is_answered_as_documented(api: FakeApi, path: str, method: str) -> None:
    async with gateway(api) as client:
        loop = asyncio.get_running_loop()

        def exchange(made: requests.PreparedRequest) -> httpx.Response:
            headers = [(k.encode("latin-1"), _bytes(v)) for k, v in made.headers.items()]
            assert made.url is not None
            body = _bytes(cast("str | bytes", made.body or b""))
            ask = client.request(made.method or "", made.url, headers=headers, content=body)
            return asyncio.run_coroutine_threadsafe(ask, loop).result(60)

        # Who may do what is another table's: everything here is sent with a good token.
        document = {name: part for name, part in DOCUMENT.items() if name != "security"}
        # schemathesis takes `schema` for that of each event, before OpenAPI 3.2.
        document = json.loads(json.dumps(document))
        events = document["paths"][f"{BASE}/events"]["get"]["responses"]["200"]["content"]
        (stream,) = events.values()
        stream["schema"] = stream.pop("x-item-schema")
        operation = schemathesis.openapi.from_dict(document)[path][method]
        sent = await asyncio.to_thread(fuzz, operation, exchange)
        print(f"{method} {path}: {sent} requests")


def validator(name: str) -> jsonschema.Draft202012Validator:
    """Of a schema among the components."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(schema)


def fields_of(*names: str) -> set[str]:
    """What the schemas say that there is."""
    return {
        field for name in names for field in DOCUMENT["components"]["schemas"][name]["properties"]
    }


STATUSES: list[dict[str, Any]] = [
    {},
    {"phase": "Queued", "reason": "PathBusy"},
    {"phase": "Running", "progress": {"percent": 3, "etaSeconds": 9}},
    {"phase": "Running", "startTime": "2026-01-02T03:04:05Z", "progress": {"speed": "1.00x"}},
    {
        "phase": "Succeeded",
        "outputSize": 5,
        "completionTime": "2026-01-02T03:04:05Z",
        "durationMilliseconds": 1234,
    },
    {
        "phase": "Succeeded",
        "output": {"sha256": "a" * 64, "container": "mp4", "warnings": ["No audio."]},
    },
    {"phase": "Failed", "logs": "l", "completionTime": "2026-01-02T03:04:05Z"},
    {"phase": "Cancelled", "completionTime": "2026-01-02T03:04:05Z"},
]


_FACTS: dict[str, Any] = {
    "size": 5,
    "sha256": "a" * 64,
    "container": "mp4",
    "videoCodec": "h264",
    "audioCodec": "aac",
    "width": 2,
    "height": 2,
    "durationSeconds": "1.500",
    "warnings": ["No audio."],
}
_WHY = {"reason": "NoAudio", "message": "There is no audio."}
_TWO: dict[str, Any] = {
    "conversionType": None,
    "outputFile": None,
    "outputs": [
        {"conversionType": "video_to_mp4", "outputFile": "a.mp4"},
        {"conversionType": "audio_to_mp3", "outputFile": "a.mp3", "optional": True},
    ],
}
_ONE_PLAN: dict[str, Any] = {
    "action": "Encode",
    **{name: _FACTS[name] for name in ("videoCodec", "audioCodec", "width", "height")},
    "durationSeconds": "1.500",
    "memory": 5,
    "estimatedSeconds": "2.000",
    "estimatedSize": 5,
}
# The specs and statuses of conversions with several outputs.
SEVERAL: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (_TWO, {}),
    (
        _TWO,
        {
            "phase": "Succeeded",
            "outputs": [{"state": "Succeeded"} | _FACTS, {"state": "Skipped"} | _WHY],
        },
    ),
    (
        _TWO | {"dryRun": True},
        {"phase": "Succeeded", "plan": [_ONE_PLAN, {"action": "Skip"} | _WHY]},
    ),
    ({"conversionType": None, "outputFile": None, "profile": "web"}, {}),
]


async def test_every_answer_has_the_documented_fields_and_no_others(api: FakeApi) -> None:
    for number, status in enumerate(STATUSES):
        api.create(conversion_job(f"j{number}"))
        full = {"reason": "R", "message": "m", "conditions": []} | status
        if status:
            api.mutate("conversionjobs", f"j{number}", partial(dict.update, status=full))
    for number, (spec, status) in enumerate(SEVERAL, len(STATUSES)):
        body = conversion_job(f"j{number}", **spec)
        body["spec"] = {name: value for name, value in body["spec"].items() if value is not None}
        api.create(body)
        full = {"reason": "R", "message": "m", "conditions": []} | status
        if status:
            api.mutate("conversionjobs", f"j{number}", partial(dict.update, status=full))
    async with gateway(api) as client:
        seen: dict[str, set[str]] = {"outputs": set(), "plan": set(), "": set()}
        for number in range(len(STATUSES) + len(SEVERAL)):
            answer = (await client.get(f"{BASE}/status/j{number}")).json()
            validator("JobStatus").validate(answer)
            seen[""] |= answer.keys()
            for name in ("outputs", "plan"):
                seen[name].update(*answer.get(name, ()))
        assert seen[""] == fields_of("JobStatus"), "each field is documented, and was seen"
        assert seen["outputs"] == fields_of("OutputStatus")
        assert seen["plan"] == fields_of("PlannedOutput")
        active = (await client.get(f"{BASE}/active")).json()
        validator("ActiveJobs").validate(active)
        assert {name for job in active["active_jobs"] for name in job} <= fields_of("JobStatus")
        for path, name in (
            ("status/x", "JobNotFound"),
            ("active", "ActiveJobs"),
            ("stats", "Stats"),
        ):
            answer = (await client.get(f"{BASE}/{path}")).json()
            validator(name).validate(answer)
            assert answer.keys() == fields_of(name)


@pytest.mark.parametrize("name", CONVERT_EXAMPLES)
async def test_the_examples_of_requests_are_good(api: FakeApi, name: str) -> None:
    async with gateway(api) as client:
        answer = await client.post(f"{BASE}/convert", json=CONVERT_EXAMPLES[name])
        assert (answer.status_code, answer.json()["status"]) == (200, "started")
        validator("JobStarted").validate(answer.json())
        cancelled = await client.post(f"{BASE}/cancel/{answer.json()['job_id']}")
        validator("JobCancelled").validate(cancelled.json())


def test_the_examples_of_answers_are_good() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for example in schema.get("examples", []):
            validator(name).validate(example)


async def test_the_document_is_served_and_nothing_is_loaded_from_elsewhere(api: FakeApi) -> None:
    async with gateway(api) as client:
        assert (await client.get("/openapi.json")).json() == DOCUMENT
        for page in ("/docs", "/redoc"):
            assert (await client.get(page)).status_code == 404


async def test_the_document_is_encoded_once(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for it, also callers without a token."""
    async with gateway(api) as client:
        first = await client.get("/openapi.json")
        monkeypatch.setattr(json, "dumps", None)
        monkeypatch.setattr(json.JSONEncoder, "encode", None)
        assert (await client.get("/openapi.json")).content == first.content


def _bytes(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value
