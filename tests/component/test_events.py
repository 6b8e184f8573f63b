"""Server-sent events over an API server in this process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from conversion_operator.cluster.conversions import ConversionClient
from converter_gateway.app import create_app
from converter_gateway.settings import GatewaySettings
from mynetwork_converter import AsyncClient, ConverterError
from tests.component.listening import EVENTS, listening, serving, until_in_progress
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.audit import Request
from tests.component.support.tools import configuration, conversion_job

CJ = "conversionjobs"


def set_status(api: FakeApi, name: str, phase: str, percent: int | None = None) -> str:
    """Writes a status; returns the version it is."""
    status: dict[str, Any] = {"phase": phase, "reason": phase, "message": "m", "conditions": []}
    if percent is not None:
        status |= {"progress": {"percent": percent}}
    changed = api.mutate(CJ, name, lambda obj: obj.update(status=status))
    return str(changed["metadata"]["resourceVersion"])


async def live(api: FakeApi) -> list[str]:
    """Two conversions go through their lives; returns the versions in which something is told."""
    ids = [api.create(conversion_job("a"))["metadata"]["resourceVersion"]]
    ids.append(set_status(api, "a", "Running"))
    ids.append(api.create(conversion_job("b"))["metadata"]["resourceVersion"])
    ids += [set_status(api, "a", "Running", percent) for percent in (10, 20)]
    api.patch(CJ, "a", {"metadata": {"labels": {"told": "nobody"}}})
    ids.append(set_status(api, "b", "Cancelled"))
    ids.append(set_status(api, "a", "Succeeded", 100))
    api.patch(CJ, "a", {"metadata": {"labels": {"told": "never"}}})
    return ids


TOLD = [
    ("progress", "a"),
    ("started", "a"),
    ("progress", "b"),
    ("progress", "a"),
    ("progress", "a"),
    ("cancelled", "b"),
    ("completed", "a"),
]


async def test_a_life_is_told_once_and_in_order(api: FakeApi) -> None:
    async with serving(api) as client, listening(client) as listener:
        (first, last) = await listener.begun()
        assert (first.retry.isdecimal(), last.id) == (True, str(api.storage.rv))
        ids = await live(api)
        blocks = [await listener.event() for _ in TOLD]
        assert [block.told for block in blocks] == TOLD
        assert [block.id for block in blocks] == ids
        status = (await client.get("/api/v1/converter/status/a")).json()
        assert blocks[-1].data == status
        assert listener.response.headers["content-type"].startswith("text/event-stream")


async def test_every_id_is_good_at_every_replica(api: FakeApi) -> None:
    """Also at one that has just started, and never heard of it."""
    begin = str(api.storage.rv)
    ids = await live(api)
    for known, last in enumerate([begin, *ids]):
        async with serving(api) as client, listening(client, last) as listener:
            blocks = [await listener.event() for _ in TOLD[known:]]
            assert [block.id for block in blocks] == ids[known:], f"after {last}"
            assert [block.told for block in blocks] == TOLD[known:]


async def test_listeners_share_a_watch_which_reaches_back_for_who_comes_late(api: FakeApi) -> None:
    begin = str(api.storage.rv)
    ids = await live(api)
    settings: dict[str, Any] = {"gateway_max_streams_per_address": 100}
    async with serving(api, **settings) as client, AsyncExitStack() as stack:
        head = [await stack.enter_async_context(listening(client)) for _ in range(20)]
        for listener in head:
            await listener.begun()
        await api.until(lambda: api.watches(resource=CJ))
        assert api.audit.count(verb="watch", resource=CJ) == 1
        late = await stack.enter_async_context(listening(client, begin))
        assert [(await late.event()).id for _ in ids] == ids
        api.create(conversion_job("c"))
        for listener in (*head, late):
            assert (await listener.event()).told == ("progress", "c")
        await api.until(lambda: len(api.watches(resource=CJ)) == 1, what="one watch again")
        lists = api.audit.count(verb="list", resource=CJ)
        again = await stack.enter_async_context(listening(client, ids[0]))
        assert [(await again.event()).id for _ in ids[1:]] == ids[1:]
        assert api.audit.count(verb="list", resource=CJ) == lists, "the log reached back"


@pytest.mark.parametrize("last", ["expired", "99999999", "0", "nonsense", "-1", "1 2"])
async def test_an_id_that_is_no_good_resets_and_no_end_is_missed(api: FakeApi, last: str) -> None:
    api.create(conversion_job("x"))
    begin = str(api.storage.rv)
    await live(api)
    if last == "expired":
        api.compact(CJ)
        last = begin
    async with serving(api) as client, listening(client, last) as listener:
        blocks = [block for block in await listener.begun() if block.event]
        assert [block.told for block in blocks] == [
            ("reset", ""),
            ("progress", "x"),
            ("cancelled", "b"),
            ("completed", "a"),
        ]
        assert not any(block.id for block in blocks)
        set_status(api, "x", "Running")
        assert (await listener.event()).told == ("started", "x")


async def test_a_server_that_lists_another_version_than_asked_for(api: FakeApi) -> None:
    """As servers do that do not know resourceVersionMatch."""
    begin = str(api.storage.rv)
    await live(api)

    def forget(request: Request) -> None:
        request.query.pop("resourceVersionMatch", None)

    with api.faults.tap(forget, verb="list", resource=CJ):
        async with serving(api) as client, listening(client, begin) as listener:
            told = [block.told for block in await listener.begun() if block.event]
    assert told == [("reset", ""), ("cancelled", "b"), ("completed", "a")]


async def test_who_is_new_is_told_what_has_not_ended(api: FakeApi) -> None:
    await live(api)
    api.create(conversion_job("x"))
    async with serving(api) as client, listening(client) as listener:
        told = [block.told for block in await listener.begun() if block.event]
        assert told == [("progress", "x")]


async def test_nothing_is_lost_between_list_and_watch(api: FakeApi) -> None:
    api.create(conversion_job("a"))

    def meanwhile(_: object) -> None:
        set_status(api, "a", "Running")

    with api.faults.tap(meanwhile, verb="watch", resource=CJ, times=1):
        async with serving(api) as client, listening(client) as listener:
            told = [(await listener.event()).told for _ in range(2)]
            assert told == [("progress", "a"), ("started", "a")]


async def test_a_watch_that_breaks_or_lies_repeats_and_loses_nothing(api: FakeApi) -> None:
    async with serving(api) as client, listening(client) as listener:
        await listener.begun()
        api.create(conversion_job("a"))
        told = [await listener.event()]
        for how in ("close", "abort"):
            watch = await api.until(lambda: api.watches(resource=CJ))
            getattr(watch[0], how)()
            set_status(api, "a", "Running", len(told))
            told.append(await listener.event())
        api.replay(CJ, "a")
        api.patch(CJ, "a", {"metadata": {"labels": {"told": "nobody"}}})
        set_status(api, "a", "Failed")
        told.append(await listener.event())
        kinds = [block.event for block in told]
        assert kinds == ["progress", "started", "progress", "failed"]
        assert len({block.id for block in told}) == 4


async def test_a_watch_that_expires_resets_the_stream(api: FakeApi) -> None:
    async with serving(api) as client, listening(client) as listener:
        await listener.begun()
        api.create(conversion_job("a"))
        await listener.event()
        with api.faults.hold_watches(resource=CJ):
            set_status(api, "a", "Failed")
            api.compact(CJ)
            api.watches(resource=CJ)[0].abort()
        told = [(await listener.event()).told for _ in range(2)]
        assert told == [("reset", ""), ("failed", "a")]


async def test_an_id_the_watch_no_longer_knows_though_the_list_does(api: FakeApi) -> None:
    """The API server's lists reach back further than its watches. Others are not disturbed."""
    begin = str(api.storage.rv)
    await live(api)
    async with serving(api) as client, listening(client) as other:
        await other.begun()
        await api.until(lambda: api.watches(resource=CJ))
        with api.faults.status(410, verb="watch", resource=CJ, times=1):
            async with listening(client, begin) as listener:
                told = [(await listener.event()).told for _ in range(3)]
        assert told == [("reset", ""), ("cancelled", "b"), ("completed", "a")]
        api.create(conversion_job("c"))
        assert (await other.event()).told == ("progress", "c")


async def test_a_deletion_before_the_end_is_an_end(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with serving(api) as client, listening(client) as listener:
        await listener.begun()
        api.delete(CJ, "a")
        gone = await listener.event()
        assert (gone.told, gone.data["status"]) == (("cancelled", "a"), "cancelled")
        api.create(conversion_job("a"))
        assert (await listener.event()).told == ("progress", "a"), "a namesake lives its own life"


async def test_one_job_only(api: FakeApi) -> None:
    await live(api)
    api.create(conversion_job("x"))
    async with serving(api) as client:
        unknown = await client.get(EVENTS, params={"job_id": "nobody"})
        assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
        async with listening(client, job_id="a") as listener:
            told = [block.told for block in await listener.begun() if block.event]
            assert told == [("completed", "a")], "who comes after the end is told it"
        async with listening(client, job_id="x") as listener:
            await listener.begun()
            api.create(conversion_job("y"))
            set_status(api, "x", "Failed")
            assert (await listener.event()).told == ("failed", "x")


async def test_a_heartbeat_keeps_the_id_fresh(api: FakeApi) -> None:
    api.server.bookmark_seconds = 0.1
    settings: dict[str, Any] = {"gateway_heartbeat_seconds": 0.2}
    async with serving(api, **settings) as client, listening(client) as listener:
        await listener.begun()
        api.add_namespace("elsewhere")  # the version grows, and nothing happens here
        block = await listener.block()
        while block.id != str(api.storage.rv):
            block = await listener.block()
        assert block.comment == "heartbeat"


async def test_a_life_of_a_stream_has_an_end(api: FakeApi) -> None:
    async with serving(api, gateway_stream_seconds=0.5) as client, listening(client) as listener:
        await listener.begun()
        blocks = await listener.rest()
        assert (blocks[-1].comment, blocks[-1].id) == ("reconnect", str(api.storage.rv))


async def test_streams_are_bounded_and_leave_room_for_others(api: FakeApi) -> None:
    settings: dict[str, Any] = {"gateway_max_streams_per_address": 2, "gateway_max_concurrent": 1}
    async with serving(api, **settings) as client, AsyncExitStack() as stack:
        for _ in range(2):
            await (await stack.enter_async_context(listening(client))).begun()
        rejected = await asyncio.wait_for(client.get(EVENTS), 20)
        assert (rejected.status_code, list(rejected.json())) == (429, ["error"])
        assert int(rejected.headers["retry-after"]) > 0
        assert (await client.get("/api/v1/converter/stats")).status_code == 200
        await stack.aclose()
        await until_in_progress(client, "streams", 0)
        async with listening(client) as listener:
            await listener.begun()
    async with serving(api, gateway_max_streams=1) as client, listening(client):
        rejected = await asyncio.wait_for(client.get(EVENTS), 20)
        assert (rejected.status_code, int(rejected.headers["retry-after"]) > 0) == (503, True)


async def test_a_listener_that_does_not_read_is_cut_off(api: FakeApi) -> None:
    cluster = ConversionClient(configuration(api.url), "gateway")
    settings = GatewaySettings(gateway_auth="network", gateway_stall_seconds=0.2)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 2:
            await asyncio.Event().wait()

    async def receive() -> Any:
        if sent:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": EVENTS,
        "query_string": b"",
        "headers": [],
        "client": ("10.0.0.1", 1),
    }
    try:
        async with asyncio.timeout(20):
            await create_app(cluster, settings)(scope, receive, send)
    finally:
        await cluster.close()


async def test_a_right_that_is_taken_away_ends_the_stream(api: FakeApi) -> None:
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    caller = f"system:serviceaccount:{NAMESPACE}:web"
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", everything)
    api.access.grant("caller", caller, everything, NAMESPACE, ("my-network-converter",))
    settings: dict[str, Any] = {"gateway_auth": "token", "gateway_heartbeat_seconds": 0.2}
    async with serving(api, "gateway", **settings) as client:
        client.headers["Authorization"] = "Bearer caller"
        async with listening(client) as listener:
            await listener.begun()
            assert (await listener.block()).comment == "heartbeat"
            api.access.revoke("caller")
            blocks = await listener.rest()
            assert blocks[-1].comment == "reconnect"
        assert (await client.get(EVENTS)).status_code == 401


async def test_an_api_server_that_is_away(api: FakeApi) -> None:
    """Who comes is answered 503; who listens is kept, and misses nothing."""
    async with serving(api) as client, listening(client) as listener:
        await listener.begun()
        async with api.down():
            rejected = await client.get(EVENTS, headers={"Last-Event-ID": "1"})
            assert (rejected.status_code, list(rejected.json())) == (503, ["error"])
            api.create(conversion_job("a"))
        assert (await listener.event()).told == ("progress", "a")


async def test_the_python_client_listens(api: FakeApi) -> None:
    """Over streams that end at every moment, with nothing lost or told twice."""
    async with (
        serving(api, gateway_stream_seconds=0.3) as client,
        AsyncClient(str(client.base_url)) as converter,
    ):
        events = converter.events()
        listener = asyncio.ensure_future(anext(events))
        await api.until(lambda: api.watches(resource=CJ))
        ids = await live(api)
        told = [await listener] + [await anext(events) for _ in TOLD[1:]]
        assert [event.id for event in told] == ids
        assert [(event.kind, event.job["job_id"]) for event in told] == TOLD
        await events.aclose()
        assert [event.kind async for event in converter.events("a")] == ["completed"]
        with pytest.raises(ConverterError, match="Job not found"):
            await anext(converter.events("nobody"))
