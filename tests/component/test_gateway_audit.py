"""The HTTP API records who asks it to write, in an annotation and in its log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from pythonjsonlogger.json import JsonFormatter

from conversion_operator.api import names
from tests.component.support import FakeApi
from tests.component.test_gateway import AUDIENCE, BASE, BODY, CONTENT, EVERYTHING, gateway
from tests.component.test_page_api import OPERATOR, add, queue

WEB = "system:serviceaccount:my-network:web"
HEADERS = {"Authorization": "Bearer good"}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "converter_gateway.audit")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    """Action, outcome, user, namespace and name of each line of the audit log."""
    fields = ("action", "outcome", "user", "namespace", "job_id")
    return [
        tuple(getattr(record, field) for field in fields)
        for record in log.records
        if record.name == "converter_gateway.audit"
    ]


def grant(api: FakeApi, caller: str = WEB, verbs: tuple[str, ...] = ("*",)) -> None:
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    rule = EVERYTHING[0] | {"verbs": list(verbs)}
    user = api.access.grant("good", caller, [rule], "my-network", (AUDIENCE,))
    user.uid, user.extra = "u-1", {"authentication.kubernetes.io/pod-name": ["web-0"]}


async def test_each_write_has_one_line(api: FakeApi, log: pytest.LogCaptureFixture) -> None:
    grant(api)
    keyed = HEADERS | {"Idempotency-Key": "k"}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        job = (await client.post(f"{BASE}/convert", json=BODY, headers=keyed)).json()["job_id"]
        await client.post(f"{BASE}/convert", json=BODY, headers=keyed)
        await client.post(f"{BASE}/cancel/{job}", headers=HEADERS)
        content = (await client.post("/api/v1/content", json=CONTENT, headers=HEADERS)).json()
        for path in (f"{BASE}/status/{job}", f"{BASE}/active", f"{BASE}/stats"):
            await client.get(path, headers=HEADERS)
        (one,) = {conversion["job_id"] for conversion in content["conversions"]}

        def fail(obj: dict[str, Any]) -> None:
            why = {"phase": "Failed", "reason": "Corrupt", "message": "no frame"}
            obj["status"] = why | {"conditions": []}

        api.mutate("conversionjobs", one, fail)
        await client.post("/api/v1/content?retry=failed", json=CONTENT, headers=HEADERS)
    who = (WEB, "my-network")
    assert lines(log) == [
        ("create", "created", *who, job),
        ("create", "existing", *who, job),
        ("cancel", "cancelled", *who, job),
        ("content", "created", *who, one),
        ("retry", "created", *who, one.removesuffix("-1") + "-2"),
    ]
    assert {record.user_uid for record in log.records if hasattr(record, "user_uid")} == {"u-1"}
    for created in (job, one):
        annotations = api.get("conversionjobs", created)["metadata"]["annotations"]
        assert annotations[names.CALLER_ANNOTATION] == WEB


@pytest.mark.parametrize(
    ("call", "headers", "expected"),
    [
        ("convert", {}, ("", "", 401)),
        ("convert", {"Authorization": "Bearer bad"}, ("", "", 401)),
        ("convert", HEADERS | {"X-Namespace": "a/../b"}, (WEB, "", 400)),
        ("convert", HEADERS | {"X-Namespace": "elsewhere"}, (WEB, "elsewhere", 403)),
        ("convert", HEADERS | {"Idempotency-Key": ""}, (WEB, "my-network", 400)),
        ("cancel", HEADERS | {"X-Namespace": "elsewhere"}, (WEB, "elsewhere", 403)),
        ("cancel", HEADERS, (WEB, "my-network", 404)),
        ("content", HEADERS | {"X-Namespace": "elsewhere"}, (WEB, "elsewhere", 403)),
    ],
)
async def test_a_refused_write_has_a_line_too(
    api: FakeApi,
    log: pytest.LogCaptureFixture,
    call: str,
    headers: dict[str, str],
    expected: tuple[str, str, int],
) -> None:
    user, namespace, code = expected
    grant(api)
    path = {"cancel": f"{BASE}/cancel/nobody", "content": "/api/v1/content"}
    body = CONTENT if call == "content" else BODY
    async with gateway(api, "gateway", gateway_auth="token") as client:
        answer = await client.post(path.get(call, f"{BASE}/convert"), json=body, headers=headers)
    assert answer.status_code == code
    action, name = {"convert": "create"}.get(call, call), "nobody" if call == "cancel" else ""
    assert lines(log) == [(action, "refused", user, namespace, name)]
    (record,) = (record for record in log.records if hasattr(record, "code"))
    assert record.code == code


async def test_the_outcome_of_a_lost_answer_is_unknown(
    api: FakeApi, log: pytest.LogCaptureFixture
) -> None:
    grant(api)
    async with gateway(api, "gateway", gateway_auth="token") as client:
        with api.faults.drop_answer(times=1, verb="create", resource="conversionjobs"):
            await client.post(f"{BASE}/convert", json=BODY, headers=HEADERS)
        with api.faults.quota(verb="create", resource="conversionjobs"):
            await client.post(f"{BASE}/convert", json=BODY, headers=HEADERS)
    (created,) = (job["metadata"]["name"] for job in api.objects("conversionjobs"))
    (lost, full) = lines(log)
    assert lost == ("create", "unknown", WEB, "my-network", created)
    assert full[:2] == ("create", "refused")


async def test_what_a_caller_sends_is_bounded_and_cannot_forge_a_line(
    api: FakeApi, log: pytest.LogCaptureFixture
) -> None:
    grant(api, 'eve\n{"event": "audit"}\u202e' + "e" * 10000)
    headers = HEADERS | {"X-Namespace": "my-network"}
    async with gateway(api, "gateway", gateway_auth="token") as client:
        job = (await client.post(f"{BASE}/convert", json=BODY, headers=headers)).json()["job_id"]
        await client.post(f"{BASE}/cancel/x%0A{'y' * 1000}", headers=headers)
    for record in (record for record in log.records if hasattr(record, "job_id")):
        values = [value for value in vars(record).values() if isinstance(value, str)]
        assert all(value.isprintable() and len(value) <= 512 for value in values)
        line = JsonFormatter("%(message)s").format(record)
        assert line.isascii()
        assert "\n" not in line
        assert json.loads(line)["job_id"] == record.job_id
    annotation = api.get("conversionjobs", job)["metadata"]["annotations"][names.CALLER_ANNOTATION]
    assert (len(annotation), annotation.isprintable()) == (256, True)
    assert annotation.startswith("eve?")
    assert annotation.endswith("e…")


async def test_without_tokens_nobody_is_named(api: FakeApi, log: pytest.LogCaptureFixture) -> None:
    async with gateway(api) as client:
        job = (await client.post(f"{BASE}/convert", json=BODY)).json()["job_id"]
    assert lines(log) == [("create", "created", "", "my-network", job)]
    assert names.CALLER_ANNOTATION not in api.get("conversionjobs", job)["metadata"]["annotations"]


async def test_a_parameter_that_is_not_valid_has_a_line(
    api: FakeApi, log: pytest.LogCaptureFixture
) -> None:
    grant(api)
    async with gateway(api, "gateway", gateway_auth="token") as client:
        url = "/api/v1/content?retry=failed&retry=x"
        answer = await client.post(url, json=CONTENT, headers=HEADERS)
    assert answer.status_code == 400
    assert answer.json() == {"error": "retry: Input should be 'failed' or 'cancelled'"}
    assert lines(log) == [("retry", "refused", WEB, "my-network", "")]


async def test_the_writes_of_the_page_have_a_line(
    api: FakeApi, log: pytest.LogCaptureFixture
) -> None:
    """Retries of one and of all that have failed, and queues that are held and resumed."""
    grant(api)
    api.access.grant("good", WEB, EVERYTHING, OPERATOR, (AUDIENCE,))
    api.add_namespace(OPERATOR)
    api.create(queue("bulk"))
    for name in ("a", "b"):
        add(api, name, "Failed")
    async with gateway(api, "gateway", gateway_auth="token") as client:
        for path in ("retry/a", "retry", "queues/bulk/hold", "queues/bulk/resume"):
            answer = await client.post(f"{BASE}/{path}", headers=HEADERS)
            assert answer.status_code == 200, answer.text
        refused = {
            "retry/nobody": ("retry", 404, "my-network"),
            "queues/none/hold": ("hold", 404, OPERATOR),
        }
        for path, (_, code, _) in refused.items():
            answer = await client.post(f"{BASE}/{path}", headers=HEADERS)
            assert answer.status_code == code, answer.text
    found = lines(log)
    retried = [(action, outcome, user, where) for action, outcome, user, where, _ in found[:2]]
    assert retried == [("retry", "created", WEB, "my-network")] * 2
    assert [name.partition("-")[0] for *_, name in found[:2]] == ["a", "b"]
    assert found[2:4] == [
        ("hold", "changed", WEB, OPERATOR, "bulk"),
        ("resume", "changed", WEB, OPERATOR, "bulk"),
    ]
    assert [line[:4] for line in found[4:]] == [
        (action, "refused", WEB, where) for action, _, where in refused.values()
    ]


@pytest.mark.parametrize("path", ["retry/a", "retry", "queues/bulk/hold", "queues/bulk/resume"])
async def test_a_write_of_the_page_without_a_right_has_a_line(
    api: FakeApi, log: pytest.LogCaptureFixture, path: str
) -> None:
    grant(api, verbs=("get", "list"))
    add(api, "a", "Failed")
    async with gateway(api, "gateway", gateway_auth="token") as client:
        assert (await client.post(f"{BASE}/{path}", headers=HEADERS)).status_code == 403
    ((action, outcome, user, _, _),) = lines(log)
    assert (outcome, user) == ("refused", WEB)
    assert action in path
