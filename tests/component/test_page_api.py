"""The calls that the live page makes, over an API server in this process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, cast

import httpx2 as httpx
import orjson
import pytest

from conversion_operator.cluster.conversions import Caller
from conversion_operator.cluster.errors import Unavailable
from converter_gateway.auth import Authenticator
from converter_gateway.rights import Rights
from converter_gateway.settings import GatewaySettings
from converter_gateway.stores import Stores
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.tools import conversion_job
from tests.component.test_gateway import AUDIENCE, BASE, BODY, EVERYTHING, gateway

LIST = f"{BASE}/conversions"
GOOD = {"Authorization": "Bearer good"}
OPERATOR = "my-network-converter"
JOBS = {"apiGroups": ["converter.mynetwork.io"], "resources": ["conversionjobs"]}
QUEUES = {"apiGroups": ["converter.mynetwork.io"], "resources": ["conversionqueues"]}


def add(api: FakeApi, name: str, phase: str = "", **spec: Any) -> None:
    api.create(conversion_job(name, **spec))
    if phase:
        end(api, name, phase)


def end(api: FakeApi, name: str, phase: str = "Failed", **status: Any) -> None:
    full = {"phase": phase, "reason": "Corrupt", "message": "no frame", "conditions": []} | status
    api.mutate("conversionjobs", name, partial(dict.update, status=full))


async def names(client: httpx.AsyncClient, **asked: Any) -> list[str]:
    answer = await client.get(LIST, params=asked)
    assert answer.status_code == 200, answer.content
    return [one["job_id"] for one in answer.json()["conversions"]]


async def pages(client: httpx.AsyncClient, **asked: Any) -> list[list[str]]:
    """The names on all pages."""
    found = []
    while True:
        answer = (await client.get(LIST, params=asked)).json()
        found.append([one["job_id"] for one in answer["conversions"]])
        if "continue" not in answer:
            return found
        asked["continue"] = answer["continue"]


async def test_pages_with_counts_filters_and_a_search(api: FakeApi) -> None:
    async with gateway(api) as client:
        for number in range(5):
            api.clock.advance(2)
            add(api, f"film-{number}", ["", "Failed"][number % 2])
        api.clock.advance(2)
        add(api, "song", "Succeeded", conversionType="audio_to_mp3", outputFile="out/Song.mp3")
        add(api, "bulk-1", queue="bulk", inputFile="in/<b>x</b>.mov")
        every = await names(client)
        assert set(every[:2]) == {"song", "bulk-1"}
        assert every[2:] == ["film-4", "film-3", "film-2", "film-1", "film-0"]
        assert await pages(client, limit=3) == [every[:3], every[3:6], every[6:]]
        assert await names(client, phase="Failed") == ["film-3", "film-1"]
        assert await names(client, phase=["Failed", "Succeeded"]) == ["song", "film-3", "film-1"]
        waiting = await names(client, phase="Queued")
        assert waiting == ["bulk-1", "film-0", "film-2", "film-4"], "queue by queue, the next first"
        assert await pages(client, phase="Queued", limit=2) == [waiting[:2], waiting[2:]]
        assert await names(client, type="audio_to_mp3") == ["song"]
        assert await names(client, queue="bulk") == ["bulk-1"]
        assert await names(client, search="SONG.MP3") == ["song"]
        assert await names(client, search="<b>") == ["bulk-1"]
        assert await names(client, search="film", phase="Queued") == ["film-0", "film-2", "film-4"]
        found = [["film-0", "film-2"], ["film-4"]]
        assert await pages(client, search="film", phase="Queued", limit=2) == found
        found = [["film-4", "film-3"], ["film-2", "film-1"], ["film-0"]]
        assert await pages(client, search="film", limit=2) == found
        answer = (await client.get(LIST, params={"limit": 1})).json()
        none = {"Starting": 0, "Running": 0, "Cancelled": 0}
        assert answer["counts"] == none | {"Queued": 4, "Failed": 2, "Succeeded": 1}
        answer = (await client.get(LIST, params={"limit": 1, "search": "film"})).json()
        assert answer["counts"] == none | {"Queued": 3, "Failed": 2, "Succeeded": 0}
        api.delete("conversionjobs", "film-3")
        assert await names(client, phase="Failed") == ["film-1"]


@pytest.mark.parametrize("search", ["", "film"])
async def test_those_that_ended_last_come_first(api: FakeApi, search: str) -> None:
    async with gateway(api) as client:
        for number, ended in enumerate((7, 1, 9, 4)):
            api.clock.advance(2)
            add(api, f"film-{number}")
            at = {"completionTime": f"2126-01-02T03:04:0{ended}Z"}
            end(api, f"film-{number}", ["Failed", "Succeeded"][number % 2], **at)
        asked: dict[str, Any] = {"phase": ["Failed", "Succeeded"]}
        if search:
            asked["search"] = search
        assert await names(client, **asked) == ["film-2", "film-0", "film-3", "film-1"]
        first = (await client.get(LIST, params=asked | {"limit": 2})).json()
        add(api, "film-9")
        end(api, "film-9", "Failed", completionTime="2126-01-02T03:04:10Z")
        rest = await names(client, **asked, **{"continue": first["continue"]})
        assert rest == ["film-3", "film-1"], "what has ended since does not move them"
        assert (await names(client, **asked))[0] == "film-9"
        refused = await client.get(LIST, params={"continue": first["continue"]})
        assert refused.status_code == 400


async def test_a_pause_is_told_before_all_statuses_have_it(api: FakeApi) -> None:
    """The operator writes it to the first ones at once, and to 20 others in a second."""
    async with gateway(api) as client:
        for number in range(30):
            api.clock.advance(2)
            add(api, f"w{number:02}")
            end(api, f"w{number:02}", "Queued", reason="WaitingForSlot")
        last = f"{BASE}/status/w29"

        async def reason_of_last() -> object:
            return (await client.get(last)).json().get("reason")

        async def until(reason: str) -> None:
            async with asyncio.timeout(10):
                while await reason_of_last() != reason:  # noqa: ASYNC110  the watch tells it
                    await asyncio.sleep(0.01)

        await until("WaitingForSlot")
        end(api, "w00", "Queued", reason="Paused", message="it is paused")
        await until("Paused")
        listed = (await client.get(LIST, params={"phase": "Queued"})).json()["conversions"]
        active = (await client.get(f"{BASE}/active")).json()["active_jobs"]
        queue = (await client.get(f"{BASE}/queue")).json()["queue"]
        for jobs in (listed, active, queue):
            assert [job["reason"] for job in jobs] == ["Paused"] * 30
            assert [job["estimated_start_at"] for job in jobs] == [None] * 30
        detail = (await client.get(f"{LIST}/w29")).json()
        assert (detail["reason"], "CONVERTER_ENABLED" in detail["meaning"]) == ("Paused", True)
        assert "message" not in detail, "that of the status is about something else"


async def test_an_item_is_a_status_with_its_queue_and_without_its_log(api: FakeApi) -> None:
    async with gateway(api) as client:
        add(api, "a")
        add(api, "b")
        end(api, "b", logs="x" * 2000)
        found = (await client.get(LIST)).json()["conversions"]
        by_name = {one["job_id"]: one for one in found}
        assert by_name["a"]["queue_position"] == 1
        waiting = (await client.get(f"{BASE}/status/a")).json()
        assert by_name["a"].items() >= waiting.items(), "with the estimates of its status"
        details = (await client.get(f"{LIST}/a")).json()
        assert {name: details[name] for name in waiting} == waiting
        assert by_name["a"]["duration_seconds"] >= 0
        status = (await client.get(f"{BASE}/status/b")).json()
        assert status.pop("logs")
        assert by_name["b"] == status | {"queue": "default"}


async def test_the_estimates_are_the_same_everywhere(api: FakeApi) -> None:
    fields = ("estimated_start_at", "estimated_end_at")
    async with gateway(api) as client:
        await names(client)  # from now on, the watch tells it
        now = api.clock.now()

        def at(seconds: float) -> str:
            return (now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

        add(api, "old-0", "Succeeded")
        add(api, "runs")
        progress = {"percent": 5, "estimatedEndTime": at(3600)}
        end(
            api,
            "runs",
            "Running",
            reason="Running",
            startTime=at(-9),
            progress=progress,
            attempts=[{"number": 1, "startTime": at(-9)}],
        )
        add(api, "waits")
        end(api, "waits", "Queued", reason="WaitingForSlot")
        listed = {one["job_id"]: one for one in (await client.get(LIST)).json()["conversions"]}
        for name in ("runs", "waits", "old-0"):
            status = (await client.get(f"{BASE}/status/{name}")).json()
            detail = (await client.get(f"{LIST}/{name}")).json()
            for found in (listed[name], detail):
                told = [found.get(field, "absent") for field in fields]
                assert told == [status.get(field, "absent") for field in fields]
        assert listed["runs"]["estimated_end_at"] == at(3600)
        assert "estimated_end_at" not in listed["old-0"]
        store = client._transport.app.state.stores.watch(NAMESPACE).store  # type: ignore[attr-defined]
        events = {entry.job_id: entry.block.decode() for entry in store.log.events_after(0)}
        for name in ("runs", "waits"):
            for field in fields:
                assert f'"{field}":{orjson.dumps(listed[name][field]).decode()}' in events[name]


@pytest.mark.parametrize(
    "asked",
    ["limit=0", "limit=201", "phase=Done", "type=x", "continue=x", "queue=" + "q" * 64],
)
async def test_a_list_refuses_what_it_does_not_understand(api: FakeApi, asked: str) -> None:
    async with gateway(api) as client:
        answer = await client.get(f"{LIST}?{asked}")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(asked.partition("=")[0] + ": ")


async def test_everything_about_one(api: FakeApi) -> None:
    async with gateway(api) as client:
        add(api, "a", outputFile="out/a.mp4")
        at = {"startTime": "2026-01-02T03:04:05Z", "completionTime": "2026-01-02T03:04:09Z"}
        attempts = [{"number": 1, "reason": "Evicted", "message": "no disk"} | at]
        end(api, "a", reason="ReportMissing", jobName="a-1", attempts=attempts, logs="the end")
        found = (await client.get(f"{LIST}/a")).json()
        assert (found["message"], found["logs"], found["queue"]) == (
            "no frame",
            "the end",
            "default",
        )
        assert found["meaning"]
        assert "NAMESPACE" not in found["cure"]
        when = {"started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:09Z"}
        assert found["attempts"] == [
            {"number": 1, "reason": "Evicted", "message": "no disk"} | when
        ]
        (output,) = found["outputs"]
        assert (output["output_file"], output["state"]) == ("out/a.mp4", "Pending")
        facts = {"sha256": "a" * 64, "container": "mp4", "width": 2, "height": 3}
        end(api, "a", "Succeeded", output=facts, outputSize=7)
        (output,) = (await client.get(f"{LIST}/a")).json()["outputs"]
        told = {name: output[name] for name in ("state", "size", "width", "height", "sha256")}
        assert told == {
            "state": "Succeeded",
            "size": 7,
            "width": 2,
            "height": 3,
            "sha256": "a" * 64,
        }
        for name in ("nobody", "..%2f..", "A_B"):
            assert (await client.get(f"{LIST}/{name}")).status_code == 404


async def test_a_conversion_is_retried_once(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        made = (await one.post(f"{BASE}/convert", json=BODY)).json()["job_id"]
        refused = await one.post(f"{BASE}/retry/{made}")
        assert (refused.status_code, "has not ended" in refused.json()["error"]) == (409, True)
        end(api, made)
        asked = [client.post(f"{BASE}/retry/{made}") for client in (one, two, one, two)]
        answers = [answer.json() for answer in await asyncio.gather(*asked)]
        (name,) = {answer["job_id"] for answer in answers}
        told = sorted(answer["status"] for answer in answers)
        assert told == ["existing", "existing", "existing", "started"]
        assert len(api.objects("conversionjobs")) == 2
        status = (await two.get(f"{BASE}/status/{name}")).json()
        assert {field: status[field] for field in BODY} == BODY, "the words of the caller"
        (listed,) = (await one.get(LIST, params={"phase": "Failed"})).json()["conversions"]
        assert listed["retry"] == name
        end(api, name, "Succeeded")
        again = (await one.post(f"{BASE}/retry/{name}")).json()
        assert again["status"] == "started", "a retry can be retried"


async def test_somebody_elses_object_is_no_retry(api: FakeApi) -> None:
    async with gateway(api) as client:
        add(api, "a", "Failed")
        name = (await client.post(f"{BASE}/retry/a")).json()["job_id"]
        api.delete("conversionjobs", name)
        add(api, name)
        answer = await client.post(f"{BASE}/retry/a")
        assert (answer.status_code, name in answer.json()["error"]) == (409, True)


async def test_all_that_failed_are_retried_in_parts(api: FakeApi) -> None:
    async with gateway(api) as client:
        for number in range(5):
            add(api, f"a{number}", "Failed")
        add(api, "fine", "Succeeded")
        add(api, "stopped", "Cancelled")
        await client.post(f"{BASE}/retry/a1")
        first = (await client.post(f"{BASE}/retry", params={"limit": 3})).json()
        assert (len(first["retried"]), first["refused"], first["remaining"]) == (3, [], 1)
        second = (await client.post(f"{BASE}/retry", params={"limit": 3})).json()
        assert (len(second["retried"]), second["remaining"]) == (1, 0)
        done = {one["job_id"] for one in first["retried"] + second["retried"]}
        assert done == {"a0", "a2", "a3", "a4"}
        assert (await client.post(f"{BASE}/retry")).json()["retried"] == []


async def test_one_that_is_refused_does_not_keep_the_others_from_a_retry(api: FakeApi) -> None:
    async with gateway(api) as client:
        for name in ("a", "b"):
            add(api, name, "Failed")
        with api.faults.forbid(times=1, verb="create", resource="conversionjobs"):
            answer = (await client.post(f"{BASE}/retry")).json()
        assert (len(answer["retried"]), len(answer["refused"])) == (1, 1)


async def test_those_that_are_refused_are_tried_once_and_the_loop_ends(api: FakeApi) -> None:
    async with gateway(api) as client:
        for number in range(5):
            api.clock.advance(2)
            add(api, f"a{number}", "Failed")
        tried: list[str] = []
        asked: dict[str, Any] = {"limit": 2}
        with api.faults.forbid(times=3, verb="create", resource="conversionjobs"):
            while True:
                answer = (await client.post(f"{BASE}/retry", params=asked)).json()
                tried += [one["job_id"] for one in answer["retried"] + answer["refused"]]
                add(api, f"new-{len(tried)}", "Failed")  # is left out
                if "continue" not in answer:
                    break
                assert answer["remaining"] == 5 - len(tried)
                asked["continue"] = answer["continue"]
                assert len(tried) < 5
        assert sorted(tried) == [f"a{number}" for number in range(5)]
        retried = [
            name for name in await names(client) if name.startswith("a") and "-retry-" in name
        ]
        assert len(retried) == 2
        bad = await client.post(f"{BASE}/retry", params={"continue": "x"})
        assert (bad.status_code, bad.json()["error"][:9]) == (400, "continue:")


async def test_no_retry_where_no_operator_serves(api: FakeApi) -> None:
    async with gateway(api, watch_namespaces="other") as client:
        add(api, "a", "Failed")
        for path in ("retry", "retry/a"):
            assert (await client.post(f"{BASE}/{path}")).status_code == 403
        assert len(api.objects("conversionjobs")) == 1


def queue(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionQueue",
        "metadata": {"name": name, "namespace": OPERATOR},
        "spec": spec,
    }


def people(api: FakeApi) -> None:
    """A token of the API, and of people who may do everything, only look, and nothing."""
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    jobs = [JOBS | {"verbs": ["get", "list", "watch"]}]
    api.access.grant("viewer", "eve", jobs, NAMESPACE, (AUDIENCE,))
    api.access.grant("viewer", "eve", [QUEUES | {"verbs": ["list"]}], OPERATOR)
    api.access.grant("good", "adam", EVERYTHING, None, (AUDIENCE,))
    api.access.grant("nobody", "cain", [], NAMESPACE, (AUDIENCE,))


def bearer(token: str, namespace: str = "") -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} | ({"X-Namespace": namespace} if namespace else {})


async def test_queues_are_seen_held_and_resumed_by_right(api: FakeApi) -> None:
    people(api)
    api.add_namespace(OPERATOR)
    api.create(queue("bulk", maxParallel=2, namespaces=[{"name": "team", "weight": 3}]))
    async with gateway(api, "gateway", gateway_auth="token") as client:
        found = (await client.get(f"{BASE}/queues", headers=bearer("viewer"))).json()["queues"]
        assert found == [
            {
                "name": "bulk",
                "max_parallel": 2,
                "stop_policy": "None",
                "namespaces": [{"name": "team", "weight": 3}],
            }
        ]
        for path in ("bulk/hold", "bulk/resume", "nothing/hold"):
            for token, code in (("viewer", 403), ("nobody", 403), ("wrong", 401)):
                answer = await client.post(f"{BASE}/queues/{path}", headers=bearer(token))
                assert answer.status_code == code
        assert (await client.get(f"{BASE}/queues", headers=bearer("nobody"))).status_code == 403
        for path, policy in (
            ("hold", "Hold"),
            ("hold?drain=true", "HoldAndDrain"),
            ("resume", "None"),
        ):
            answer = await client.post(f"{BASE}/queues/bulk/{path}", headers=GOOD)
            assert (answer.status_code, answer.json()["stop_policy"]) == (200, policy)
            spec = api.get("conversionqueues", "bulk", namespace=OPERATOR)["spec"]
            assert spec["stopPolicy"] == policy
        assert (await client.post(f"{BASE}/queues/no/hold", headers=GOOD)).status_code == 404
        assert (await client.post(f"{BASE}/queues/a..b/hold", headers=GOOD)).status_code == 400


async def test_in_a_network_without_tokens_queues_are_only_seen(api: FakeApi) -> None:
    shares = [{"name": NAMESPACE, "weight": 2}, {"name": "secret", "weight": 3}]
    api.add_namespace(OPERATOR)
    api.create(queue("bulk", namespaces=shares))
    async with gateway(api) as client:
        (found,) = (await client.get(f"{BASE}/queues")).json()["queues"]
        assert found["namespaces"] == shares[:1]
        for path in ("hold", "resume"):
            assert (await client.post(f"{BASE}/queues/bulk/{path}")).status_code == 403
        rights = (await client.get(f"{BASE}/rights")).json()
        assert (rights["auth"], rights["namespaces"]) == ("network", [NAMESPACE])
        assert rights["conversionqueues"] == ["list"]
        assert "user" not in rights


async def test_the_rights_of_a_caller(api: FakeApi) -> None:
    people(api)
    watched = f"{NAMESPACE},team,other"
    settings = {"gateway_auth": "token", "watch_namespaces": watched}
    async with gateway(api, "gateway", **settings) as client:

        async def rights(token: str, namespace: str = "") -> dict[str, Any]:
            answer = await client.get(f"{BASE}/rights", headers=bearer(token, namespace))
            found: dict[str, Any] = answer.json()
            return found

        eve = await rights("viewer")
        assert (eve["user"], eve["namespaces"], eve["namespace"]) == ("eve", [NAMESPACE], NAMESPACE)
        assert eve["conversionjobs"] == ["get", "list", "watch"]
        assert eve["conversionqueues"] == ["list"]
        assert (await rights("viewer", "team"))["conversionjobs"] == []
        adam = await rights("good", "team")
        assert adam["namespaces"] == sorted(watched.split(","))
        assert adam["conversionjobs"] == ["get", "list", "watch", "create", "patch"]
        assert adam["conversionqueues"] == ["list", "patch"]
        cain = await rights("nobody")
        assert (cain["namespaces"], cain["conversionjobs"]) == ([], [])
        assert "namespace" not in cain
        wrong = await client.get(f"{BASE}/rights", headers=bearer("wrong"))
        assert wrong.status_code == 401
        bad = await client.get(f"{BASE}/rights", headers=bearer("good", "A_B"))
        assert bad.status_code == 400


def access_reviews(api: FakeApi) -> int:
    return sum(request.path.endswith("/subjectaccessreviews") for request in api.audit.requests)


async def test_many_requests_about_rights_ask_each_question_once(api: FakeApi) -> None:
    people(api)
    watched = ",".join([NAMESPACE, *(f"team-{number}" for number in range(20))])
    settings = {"gateway_auth": "token", "watch_namespaces": watched}
    async with gateway(api, "gateway", **settings) as client:
        ask = [client.get(f"{BASE}/rights", headers=bearer("nobody", NAMESPACE)) for _ in range(8)]
        answers = [answer.json() for answer in await asyncio.gather(*ask)]
        assert all(answer["namespaces"] == [] for answer in answers)
        # 21 lists, the four other verbs of one namespace, and two about queues.
        assert access_reviews(api) == 27
        await client.get(f"{BASE}/rights", headers=bearer("nobody", NAMESPACE))
        assert access_reviews(api) == 27
        await client.get(f"{BASE}/rights", headers=bearer("nobody", "team-7"))
        assert access_reviews(api) == 27 + 4


async def test_one_caller_takes_few_places_and_a_failure_is_not_kept() -> None:
    class Slow:
        """Stands for the Authenticator. Answers when the test says so."""

        def __init__(self) -> None:
            self.asked: list[str] = []
            self.go = asyncio.Event()
            self.fails = True

        async def may(self, caller: Caller, *_: str) -> bool:
            self.asked.append(caller.username)
            await self.go.wait()
            if self.fails:
                raise Unavailable("away")
            return True

    slow = Slow()
    rights = Rights(cast("Authenticator", slow), GatewaySettings(), cast("Stores", None))
    many = [asyncio.create_task(rights._may(Caller("a"), f"n{n}", "list")) for n in range(50)]
    await asyncio.sleep(0.01)
    other = asyncio.create_task(rights._may(Caller("b"), "n", "list"))
    await asyncio.sleep(0.01)
    assert (slow.asked.count("a"), slow.asked.count("b")) == (4, 1)
    many.pop(0).cancel()
    slow.go.set()
    done = await asyncio.gather(*many, other, return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in done)
    slow.fails = False
    assert await rights._may(Caller("a"), "n1", "list")
    assert not rights._asking


@pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1.evil.example"])
async def test_a_name_that_points_to_the_api_opens_it_to_no_page(api: FakeApi, host: str) -> None:
    rebound = {"Host": host}
    async with gateway(api, gateway_hosts="converter.lan") as client:
        add(api, "a")
        for method, path in (
            ("GET", LIST),
            ("POST", f"{BASE}/cancel/a"),
            ("POST", f"{BASE}/convert"),
        ):
            answer = await client.request(method, path, headers=rebound, json=BODY)
            assert (answer.status_code, "GATEWAY_HOSTS" in answer.json()["error"]) == (403, True)
        for name in ("converter.lan", "my-network-converter-gateway.my-network-converter:80"):
            assert (await client.get(LIST, headers={"Host": name})).status_code == 200
        for path in ("/healthz", "/ui/"):
            assert (await client.get(path, headers=rebound)).status_code == 200
    people(api)
    async with gateway(api, "gateway", gateway_auth="token") as client:
        called = await client.get(LIST, headers=bearer("viewer", NAMESPACE) | rebound)
        assert called.status_code == 200, "a token is what such a page does not have"


async def test_a_form_of_another_origin_is_refused_without_sec_fetch_site(api: FakeApi) -> None:
    async with gateway(api) as client:
        add(api, "a")
        for origin, code in (
            ("http://evil.example", 403),
            ("null", 403),
            ("http://127.0.0.1", 200),
        ):
            answer = await client.post(f"{BASE}/cancel/a", headers={"Origin": origin})
            assert answer.status_code == code
            assert code == 200 or set(answer.json()) == {"error"}
