"""Requests are answered from one list and one watch, and never from what is not known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from prometheus_client import generate_latest

from converter_gateway import store_watch
from converter_gateway.records import Record
from converter_gateway.store import Store
from tests.component.listening import app_of, listening, serving, until_in_progress
from tests.component.support import FakeApi
from tests.component.support.tools import conversion_job
from tests.support.gateway_process import gateway_process

BASE = "/api/v1/converter"
CJ: dict[str, Any] = {"resource": "conversionjobs"}
BODY = {"input_file": "in/a.mov", "output_file": "a.mp4", "conversion_type": "video_to_mp4"}


async def status(client: httpx.AsyncClient, name: str, **query: float) -> dict[str, Any]:
    answer = await client.get(f"{BASE}/status/{name}", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def fail(obj: dict[str, Any]) -> None:
    obj["status"] = {"phase": "Failed", "reason": "Corrupt", "message": "x", "conditions": []}


async def test_all_requests_share_one_list_and_one_watch(api: FakeApi) -> None:
    for number in range(20):
        api.create(conversion_job(f"job-{number:02}"))
    async with serving(api) as client:
        for number in range(20):
            told = await status(client, f"job-{number:02}")
            assert told["queue_position"] == number + 1
        for path in ("active", "stats", "queue"):
            assert (await client.get(f"{BASE}/{path}")).status_code == 200
        await client.get("/api/v1/content/7")
        polls = [asyncio.create_task(status(client, "job-00", wait=60)) for _ in range(20)]
        await until_in_progress(client, "long polls", 20)
        async with listening(client) as listener:
            await listener.begun()
            api.mutate("conversionjobs", "job-00", fail)
            assert (await listener.event()).told == ("failed", "job-00")
        assert {(await poll)["status"] for poll in polls} == {"failed"}
        assert (await status(client, "job-19"))["queue_position"] == 19
    assert [request.verb for request in api.audit.requests] == ["list", "watch"]


async def test_a_namespace_that_was_not_listed_is_unknown_and_not_empty(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with serving(api) as client:
        with api.faults.status(503, verb="list", **CJ):
            told = await status(client, "a")
            assert (told["phase"], "queue_position" in told) == ("Queued", False)
            for path in (f"{BASE}/active", f"{BASE}/queue", f"{BASE}/stats", "/api/v1/content/7"):
                answer = await client.get(path)
                assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert (await status(client, "a"))["queue_position"] == 1
        assert (await client.get(f"{BASE}/active")).json()["total_active"] == 1


async def test_what_the_watch_has_not_told_yet_is_read_by_name(api: FakeApi) -> None:
    async with serving(api) as client:
        assert (await client.get(f"{BASE}/queue")).json() == {"queue": [], "total_waiting": 0}
        await api.until(lambda: api.watches(**CJ))
        with api.faults.hold_watches(**CJ):
            client.event_hooks = {"request": []}  # the store cannot catch up
            api.create(conversion_job("a"))
            assert (await status(client, "a"))["queue_position"] == 1
            job = (await client.post(f"{BASE}/convert", json=BODY)).json()["job_id"]
            waiting = (await client.get(f"{BASE}/queue")).json()
            assert [one["job_id"] for one in waiting["queue"]] == ["a", job]
            assert (await status(client, job))["queue_position"] == 2
            assert (await client.post(f"{BASE}/cancel/{job}")).status_code == 200
            assert (await client.get(f"{BASE}/queue")).json()["total_waiting"] == 1
    assert api.audit.count(verb="list", **CJ) == 1


async def test_a_long_poll_outlives_a_broken_watch(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with serving(api) as client:
        await status(client, "a")
        poll = asyncio.create_task(status(client, "a", wait=60))
        await until_in_progress(client, "long polls", 1)
        async with api.down():
            api.mutate("conversionjobs", "a", fail)
        assert (await asyncio.wait_for(poll, 30))["status"] == "failed"


async def test_an_event_that_the_watch_lost_is_repaired(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "AUDIT_SECONDS", 0.2)
    monkeypatch.setattr(store_watch, "_AUDIT_GRACE_SECONDS", 0.2)
    api.create(conversion_job("a"))
    async with serving(api) as client:
        assert (await status(client, "a"))["phase"] == "Queued"
        await api.until(lambda: api.watches(**CJ))
        with api.faults.hold_watches(**CJ):
            client.event_hooks = {"request": []}
            api.mutate("conversionjobs", "a", fail)
            async with asyncio.timeout(20):
                while (await status(client, "a"))["phase"] != "Failed":
                    pass


async def test_a_namesake_that_the_watch_has_not_told_can_be_cancelled(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    api.mutate("conversionjobs", "a", fail)
    async with serving(api) as client:
        assert (await status(client, "a"))["phase"] == "Failed"
        await api.until(lambda: api.watches(**CJ))
        assert (await client.post(f"{BASE}/cancel/a")).status_code == 404
        with api.faults.hold_watches(**CJ):
            client.event_hooks = {"request": []}
            api.delete("conversionjobs", "a")
            api.create(conversion_job("a"))
            assert (await client.post(f"{BASE}/cancel/a")).status_code == 200
        assert api.get("conversionjobs", "a")["spec"]["cancel"] is True


async def test_an_answer_about_an_ended_job_has_no_position_of_a_namesake(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create(conversion_job("a"))
    api.mutate("conversionjobs", "a", fail)
    async with serving(api) as client:
        await status(client, "a")
        watched = app_of(client).state.stores
        ended: Record = watched.watch("my-network").store.get("a")
        api.delete("conversionjobs", "a")
        api.create(conversion_job("a"))
        assert (await status(client, "a"))["queue_position"] == 1

        async def find(namespace: str, name: str) -> Record:
            return ended  # as at the end of a long poll

        monkeypatch.setattr(watched, "find", find)
        told = await status(client, "a")
        assert (told["phase"], "queue_position" in told) == ("Failed", False)


async def test_a_long_poll_knows_an_object_that_the_watch_lost(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with serving(api) as client:
        await status(client, "a")
        app_of(client).state.stores.watch("my-network").store._remove("a")
        assert (await status(client, "a", wait=0.2))["phase"] == "Queued"


async def test_a_replica_is_ready_when_it_has_asked_for_the_conversions(api: FakeApi) -> None:
    """Otherwise a rollout sends requests to replicas that know nothing yet."""
    async with serving(api) as client:
        assert (await client.get("/readyz")).status_code == 200
        listed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        app_of(client).state.stores._first_tries.append(listed)
        answer = await client.get("/readyz")
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        listed.set_result(None)
        assert (await client.get("/readyz")).status_code == 200


async def test_callers_that_wait_for_a_long_response_share_it(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        api.create(conversion_job(f"job-{number}"))
    async with serving(api) as client:
        first = (await client.get(f"{BASE}/active")).json()
        built, visit = 0, Store.unfinished

        def count(store: Store) -> tuple[Record, ...]:
            nonlocal built
            built += 1
            return visit(store)

        monkeypatch.setattr(Store, "unfinished", count)
        service = app_of(client).state.service
        bodies = await asyncio.gather(*(service.active("my-network") for _ in range(50)))
        assert {json.loads(body)["total_active"] for body in bodies} == {5}
        assert built == 1
        assert [job["queue_position"] for job in first["active_jobs"]] == [1, 2, 3, 4, 5]


async def test_the_metrics_have_no_names_of_callers(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with serving(api) as client:
        await status(client, "a")
        await status(client, "no-such-job")
        await client.get("/x-unknown-path")
        poll = asyncio.create_task(status(client, "a", wait=60))
        await until_in_progress(client, "long polls", 1)
        page = generate_latest(app_of(client).state.metrics.registry).decode()
        api.mutate("conversionjobs", "a", fail)
        await poll
    route = f"{BASE}/status/{{job_id}}"
    assert f'converter_api_requests_total{{code="200",route="{route}"}} 2.0' in page
    assert 'converter_api_requests_total{code="404",route="none"} 1.0' in page
    assert f'converter_api_request_seconds_count{{route="{route}"}} 2.0' in page
    assert 'converter_api_in_progress{kind="long polls"} 1.0' in page
    assert 'converter_api_store_current{namespace="my-network"} 1.0' in page
    assert 'converter_api_store_age_seconds{namespace="my-network"} ' in page
    assert not [line for line in page.splitlines() if "no-such" in line or "x-unknown" in line]


async def test_the_metrics_are_on_a_port_of_their_own(api: FakeApi, tmp_path: Path) -> None:
    async with gateway_process(api.url, tmp_path) as (gateway, client):
        assert (await client.get("/metrics")).status_code == 404
        assert await gateway.in_progress("streams") == 0
