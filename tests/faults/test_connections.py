"""A proxy injects faults between the operator, outside the cluster, and a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import LONG_INPUT, Conversion, Conversions
from tests.e2e.support.operator import NAMESPACE as OPERATOR_NAMESPACE
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.watches import Watches
from tests.faults.audit_log import AuditLog
from tests.support.operator_process import operator_process
from tests.support.proxy import Proxy, upstream_of

JOBS = r"/jobs$"
BLACK_HOLE_SECONDS = 60
ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}-operator"


@pytest.fixture
async def proxy(kubectl: Kubectl, operator: OperatorInCluster) -> AsyncIterator[Proxy]:
    """A proxy for the API server. The operator in the cluster is stopped.

    The policies let only the operator's account create its Jobs.
    """
    await asyncio.to_thread(operator.scale, 0)
    proxy = Proxy(*upstream_of(kubectl.kubeconfig), account=ACCOUNT)
    yield proxy
    await proxy.stop()


@asynccontextmanager
async def outside(url: str, folder: Path) -> AsyncIterator[None]:
    """An operator outside the cluster until the block ends. It must not end before."""
    try:
        async with operator_process(url, folder, PROBE_PORT="0", POD_NAME="outside") as process:
            yield
            assert process.returncode is None, "the operator ended before the test did"
    finally:
        print((folder / "operator.log").read_text(encoding="utf-8")[-20_000:])


async def test_conversions_survive_lost_answers_expired_watches_and_a_silent_minute(
    conversions: Conversions, proxy: Proxy, watches: Watches, changes: AuditLog, tmp_path: Path
) -> None:
    """F1, F2, F3: all conversions succeed, and none runs twice."""
    async with outside(await proxy.start(), tmp_path):
        with proxy.drop_answer(JOBS, verb="create", times=LIMIT) as dropped:
            first = await _make(conversions, "answer-lost", LIMIT)
            await _all_succeed(first)
        assert dropped.hits == LIMIT

        second = await _make(conversions, "expired", 2 * LIMIT)
        await _running(second, watches)
        assert proxy.expire_watches() >= 3
        await _running(second[LIMIT:], watches)
        assert proxy.expire_watches() >= 3

        with proxy.black_hole() as hole:
            third = await _make(conversions, "silence", LIMIT)
            # Conversions end during the fault, and the operator does not see it.
            await asyncio.sleep(BLACK_HOLE_SECONDS)
            assert hole.hits > 3
        await _another_starts([*second, *third], watches)
        await _all_succeed([*second, *third])
    await asyncio.to_thread(changes.check)


async def _make(conversions: Conversions, name: str, count: int) -> list[Conversion]:
    options = {"duration": 15, "resolution": "360p"}

    def make() -> list[Conversion]:
        return [
            conversions.make(
                f"{name}-{number}", "video_to_mp4", inputFile=LONG_INPUT, options=options
            )
            for number in range(count)
        ]

    return await asyncio.to_thread(make)


async def _running(some: list[Conversion], watches: Watches) -> None:
    """Wait until one of them has a pod that lives. A short run never has the phase Running."""

    def probe() -> bool:
        return not all(conversion.no_pod_lives() for conversion in some)

    await asyncio.to_thread(watches.until, probe, "one of the conversions runs")


async def _another_starts(some: list[Conversion], watches: Watches) -> None:
    """Wait until one more starts, after the operator's hanging requests have timed out."""

    def started() -> int:
        return sum(bool(conversion.jobs_made()) for conversion in some)

    before = started()
    assert before < len(some), "all conversions had already started"
    await asyncio.to_thread(
        watches.until, lambda: started() > before, "another conversion starts", 45
    )


async def _all_succeed(some: list[Conversion]) -> None:
    for conversion in some:
        status = await asyncio.to_thread(conversion.succeeded, 150)
        ends = [attempt["reason"] for attempt in status["attempts"]]
        assert [end for end in ends if end != "StartError"] == ["Completed"]
