"""The requests for ConversionProfiles: how many are sent, and for whom an answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.cluster.errors import ClusterError, Unavailable
from conversion_operator.controller import profile_reader
from conversion_operator.controller.profile_reader import FAILURES_BEFORE_REPORT, ProfileReader
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import Block, ProfileAnswer
from tests.unit.operator.builders import conversion
from tests.unit.operator.test_profiles import profile

MISSING = Block(Reason.PROFILE_MISSING, "there is no ConversionProfile web")
FIRST, SECOND = profile("{name}.jpg"), profile("{name}.png")


class Server:
    """Answers each request when the test says what: ``answer`` first waits for the request."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[tuple[str, asyncio.Future[ProfileAnswer]]] = asyncio.Queue()
        self.count = 0

    async def get_profile(self, namespace: str, name: str) -> ProfileAnswer:
        self.count += 1
        answered: asyncio.Future[ProfileAnswer] = asyncio.get_running_loop().create_future()
        self.requests.put_nowait((f"{namespace}/{name}", answered))
        return await answered

    async def request(self) -> tuple[str, asyncio.Future[ProfileAnswer]]:
        async with asyncio.timeout(10):
            return await self.requests.get()

    async def answer(self, what: ProfileAnswer | ClusterError) -> str:
        name, answered = await self.request()
        if isinstance(what, ClusterError):
            answered.set_exception(what)
        else:
            answered.set_result(what)
        return name


class Parts:
    """A reader with its server, and the uids that it has enqueued."""

    def __init__(self) -> None:
        self.server, self.leads = Server(), True
        self.enqueued: asyncio.Queue[str] = asyncio.Queue()
        cluster: Any = self.server
        self.reader = ProfileReader(cluster, lambda: self.leads, self.enqueued.put_nowait)

    def find(self, waiting: Conversion, name: str = "web") -> ProfileAnswer | None:
        return self.reader.find(waiting, name)

    async def next(self) -> str:
        async with asyncio.timeout(10):
            return await self.enqueued.get()


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"RECHECK": 0.03, "FRESH": 0.01, "RETRY": 0.02}.items():
        monkeypatch.setattr(profile_reader, f"{name}_SECONDS", seconds)
    monkeypatch.setattr(profile_reader, "_SPACING", 0.0)
    monkeypatch.setattr(profile_reader, "_STANDBY_SECONDS", 0.01)


@asynccontextmanager
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    task = asyncio.create_task(made.reader.run())
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("profiles of")]


def waiting(number: int, namespace: str = "my-network") -> Conversion:
    return conversion(f"u-{number:04}", namespace=namespace)


async def test_one_request_serves_all_that_wait() -> None:
    async with parts() as made:
        ours = [waiting(number) for number in range(100)]
        assert [made.find(each) for each in ours] == [None] * 100
        assert await made.server.answer(FIRST) == "my-network/web"
        for each in ours:
            assert await made.next() == each.key.uid
            assert made.find(each) == FIRST
            made.reader.forget(each.key.uid)
        assert made.server.count == 1


async def test_an_answer_does_not_count_for_those_that_came_after_the_request() -> None:
    """The profile may have changed before the later one was created."""
    async with parts() as made:
        early, late = waiting(1), waiting(2)
        made.find(early)
        _, answered = await made.server.request()
        assert made.find(late) is None
        answered.set_result(FIRST)
        assert await made.next() == early.key.uid
        assert (made.find(early), made.find(late)) == (FIRST, None)
        made.reader.forget(early.key.uid)
        _, answered = await made.server.request()
        assert made.find(late) is None  # its request is under way
        answered.set_result(SECOND)
        assert await made.next() == late.key.uid
        assert made.find(late) == SECOND
        after = waiting(3)
        assert made.find(after) is None
        await made.server.answer(FIRST)
        assert {await made.next(), await made.next()} == {late.key.uid, after.key.uid}


async def test_a_missing_profile_is_asked_for_again_and_only_a_change_is_told() -> None:
    async with parts() as made:
        ours = [waiting(number) for number in range(3)]
        for each in ours:
            made.find(each)
        for _ in range(3):
            await made.server.answer(MISSING)
        _, answered = await made.server.request()
        assert [await made.next() for _ in ours] == [each.key.uid for each in ours]
        assert made.enqueued.empty()
        late = waiting(9)
        assert made.find(late) == MISSING  # it waits like the others
        answered.set_result(FIRST)
        assert [await made.next() for _ in ours] == [each.key.uid for each in ours]
        assert (made.find(ours[0]), made.find(late)) == (FIRST, None)


async def test_nobody_asks_for_a_profile_that_nobody_waits_for() -> None:
    async with parts() as made:
        gone, other = waiting(1), waiting(2)
        made.find(gone)
        await made.server.answer(MISSING)
        await made.next()
        made.reader.forget(gone.key.uid)
        made.find(other, "podcast")
        for _ in range(5):
            assert await made.server.answer(MISSING) == "my-network/podcast"
        assert made.server.requests.empty()


async def test_no_answer_is_not_an_absent_profile_and_is_told_after_some_tries() -> None:
    async with parts() as made:
        ours = waiting(1)
        made.find(ours)
        for number in range(FAILURES_BEFORE_REPORT):
            assert made.enqueued.empty()
            assert made.find(ours) is None, number
            await made.server.answer(Unavailable("GET web: 500 etcd is down"))
        assert await made.next() == ours.key.uid
        told = made.find(ours)
        assert isinstance(told, Block)
        assert told.reason == Reason.PROFILE_UNREADABLE
        assert "etcd is down" in told.message
        await made.server.answer(FIRST)
        assert await made.next() == ours.key.uid
        assert made.find(ours) == FIRST


async def test_an_unexpected_error_does_not_end_the_requests() -> None:
    async with parts() as made:
        made.find(waiting(1))
        _, answered = await made.server.request()
        answered.set_exception(KeyError("spec"))
        await made.server.answer(FIRST)
        assert await made.next() == waiting(1).key.uid


async def test_a_standby_sends_no_request() -> None:
    async with parts() as made:
        made.leads = False
        made.find(waiting(1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert made.server.count == 0
        made.leads = True
        await made.server.answer(FIRST)
        assert await made.next() == waiting(1).key.uid


async def test_a_namespace_without_an_answer_delays_no_other() -> None:
    async with parts() as made:
        for number in range(3):
            made.find(waiting(number), f"p{number}")
        stuck, _ = await made.server.request()
        other = waiting(9, "other")
        made.find(other)
        assert await made.server.answer(FIRST) == "other/web"
        assert await made.next() == other.key.uid
        assert stuck == "my-network/p0"
        assert made.server.count == 2


async def test_new_names_go_before_those_that_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profile_reader, "RECHECK_SECONDS", 0.0)
    async with parts() as made:
        made.find(waiting(1), "old")
        for _ in range(2):
            assert await made.server.answer(MISSING) == "my-network/old"
        _, old = await made.server.request()
        made.find(waiting(2), "new")
        old.set_result(MISSING)  # it is due again at once
        assert await made.server.answer(MISSING) == "my-network/new"
