"""Every fault has its effect on matching requests, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import aiohttp
import pytest

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.audit import Request
from tests.component.support.tools import conversion_job
from tests.component.test_support_watch import PATH, get, version, watching

QUIET = 0.2
"""Seconds to wait for silence. If they are too short, a test may wrongly pass, but not fail."""


async def create(url: str, name: str = "a") -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + PATH, json=conversion_job(name)) as response,
    ):
        return response.status, await response.json()


async def is_silent(call: Awaitable[Any]) -> bool:
    """Whether a call does not end within a short time."""
    try:
        async with asyncio.timeout(QUIET):
            await call
    except TimeoutError:
        return True
    return False


# Codes


@pytest.mark.parametrize("code", [403, 409, 422, 429, 500, 503])
async def test_status(api: FakeApi, code: int) -> None:
    with api.faults.status(code, "no", verb="create", times=2) as fault:
        for _ in range(2):
            answer, status = await create(api.url)
            assert (answer, status["code"], status["message"]) == (code, code, "no")
        assert (await create(api.url))[0] == 201
    assert fault.hits == 2
    assert [r.changed for r in api.audit.writes()] == [False, False, True]


async def test_retry_after(api: FakeApi) -> None:
    with api.faults.status(429, retry_after=3):
        async with aiohttp.ClientSession() as session, session.get(api.url + PATH) as response:
            assert response.headers["Retry-After"] == "3"
            status = await response.json()
    assert status["details"]["retryAfterSeconds"] == 3
    assert status["reason"] == "TooManyRequests"


async def test_an_error_after_the_request_was_carried_out(api: FakeApi) -> None:
    with api.faults.status(504, carried_out=True, verb="create", times=1):
        assert (await create(api.url))[0] == 504
        assert (await create(api.url))[0] == 409
    assert [(r.code, r.changed) for r in api.audit.writes()] == [(504, True), (409, False)]


async def test_skip_and_times(api: FakeApi) -> None:
    with api.faults.status(500, verb="list", skip=2, times=2):
        codes = [(await get(api.url))[0] for _ in range(6)]
    assert codes == [200, 200, 500, 500, 200, 200]


async def test_tap(api: FakeApi) -> None:
    seen: list[tuple[str, int]] = []

    def arrived(_: Request) -> None:
        seen.append(("arrived", len(api.objects("conversionjobs"))))

    async def answered(_: Request) -> None:
        seen.append(("answered", len(api.objects("conversionjobs"))))

    with api.faults.tap(arrived, answered, verb="create", skip=1):
        for name in "abc":
            await create(api.url, name)
    assert seen == [("arrived", 1), ("answered", 2), ("arrived", 2), ("answered", 3)]


async def test_share_hits_the_same_part_with_the_same_seed(api: FakeApi) -> None:
    async def codes() -> list[int]:
        with api.faults.status(500, share=0.3, seed=4, verb="list"):
            return [(await get(api.url))[0] for _ in range(40)]

    first = await codes()
    assert 4 <= first.count(500) <= 20
    assert await codes() == first


async def test_faults_use_the_messages_of_the_real_server(api: FakeApi) -> None:
    for fault, code, words in (
        (
            api.faults.quota(),
            403,
            'conversionjobs.converter.mynetwork.io "a" is forbidden: exceeded',
        ),
        (api.faults.admission_denied("no cats"), 400, "denied the request: no cats"),
        (api.faults.forbid(verb="create"), 403, 'cannot create resource "conversionjobs"'),
        (api.faults.conflict(verb="create"), 409, "the object has been modified"),
    ):
        with fault:
            answer, status = await create(api.url)
            assert answer == code
            assert words in status["message"]
    assert api.objects("conversionjobs") == []


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"resource": "conversionjobs"}, True),
        ({"resource": ("jobs", "pods")}, False),
        ({"verb": ("create", "list")}, True),
        ({"namespace": "elsewhere"}, False),
        ({"path": r"/conversionjobs$"}, True),
        ({"endpoint": "other"}, False),
        ({"user_agent": "Python"}, True),
        ({"user_agent": "kubectl"}, False),
        ({"where": lambda r: b'"a"' in r.body}, True),
        ({"subresource": "status"}, False),
    ],
)
async def test_a_fault_hits_only_matching_requests(
    api: FakeApi, match: dict[str, Any], hit: bool
) -> None:
    with api.faults.status(500, **match):
        assert (await create(api.url))[0] == (500 if hit else 201)


# Missing answers


async def test_black_hole(api: FakeApi) -> None:
    with api.faults.black_hole(verb="create") as fault:
        assert await is_silent(create(api.url))
        await fault.wait_hit()
        assert (await get(api.url))[0] == 200
    assert api.objects("conversionjobs") == []
    assert [r.outcome for r in api.audit.writes()] == ["hung"]
    assert (await create(api.url))[0] == 201


async def test_a_request_in_a_black_hole_is_never_answered(api: FakeApi) -> None:
    with api.faults.black_hole(verb="create") as fault:
        task = asyncio.create_task(create(api.url))
        await fault.wait_hit()
    assert await is_silent(asyncio.shield(task))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_drop_answer(api: FakeApi) -> None:
    with api.faults.drop_answer(verb="create"), pytest.raises(aiohttp.ClientConnectionError):
        await create(api.url)
    assert len(api.objects("conversionjobs")) == 1
    (request,) = api.audit.writes()
    assert (request.outcome, request.code, request.changed) == ("dropped", 201, True)
    assert (await create(api.url))[0] == 409


async def test_a_held_request_arrives_after_its_client_has_disconnected(api: FakeApi) -> None:
    with api.faults.hold(verb="create") as fault:
        assert await is_silent(create(api.url))
        assert api.objects("conversionjobs") == []
        await api.until(lambda: api.audit.requests[-1].outcome == "client disconnected")
        fault.release()
        await api.until(lambda: api.find("conversionjobs", "a"))
    (request,) = api.audit.writes()
    assert (request.code, request.changed) == (201, True)


async def test_down(api: FakeApi) -> None:
    url = api.url
    async with watching(url, resourceVersion=await version(api)) as lines, api.down():
        with pytest.raises(aiohttp.ClientError):
            await lines.next()
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(url)
    assert (await get(url))[0] == 200


# Watches


async def test_delay_watches(api: FakeApi) -> None:
    since = await version(api)
    async with watching(api.url, resourceVersion=since) as lines:
        with api.faults.delay_watches(0.05):
            for name in "abc":
                api.create(conversion_job(name))
            assert [await lines.next_change() for _ in range(3)] == [
                ("ADDED", name) for name in "abc"
            ]
        with api.faults.delay_watches(600):
            api.delete("conversionjobs", "a")
            async with watching(api.url, resourceVersion=since) as late:
                for watch in (lines, late):
                    with pytest.raises(TimeoutError):
                        await watch.next(QUIET)


async def test_hold_watches(api: FakeApi) -> None:
    async with watching(api.url, resourceVersion=await version(api)) as lines:
        with api.faults.hold_watches(resource="conversionjobs") as hold:
            api.create(conversion_job("a"))
            with pytest.raises(TimeoutError):
                await lines.next(QUIET)
            hold.release()
            assert await lines.next_change() == ("ADDED", "a")
            api.create(conversion_job("b"))
            with pytest.raises(TimeoutError):
                await lines.next(QUIET)
        assert await lines.next_change() == ("ADDED", "b")


async def test_partition(api: FakeApi) -> None:
    cut = await api.add_endpoint("cut")
    async with watching(cut, resourceVersion=await version(api)) as lines:
        with api.faults.partition("cut"):
            assert await is_silent(create(cut))
            assert (await create(api.url, "b"))[0] == 201
            with pytest.raises(TimeoutError):
                await lines.next(QUIET)
        assert await lines.next_change() == ("ADDED", "b")
    assert (await get(cut))[0] == 200
    assert api.find("conversionjobs", "a", NAMESPACE) is None


async def test_faults_of_a_watch_request(api: FakeApi) -> None:
    with api.faults.status(403, verb="watch"):
        assert (await get(api.url, watch="true"))[0] == 403
    with api.faults.black_hole(verb="watch"):
        assert await is_silent(get(api.url, watch="true"))
