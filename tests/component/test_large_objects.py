"""ConversionJobs with the largest annotations, and what they cost the operator and the HTTP API.

``LARGE_OBJECTS=1500 pytest tests/component/test_large_objects.py`` is the full size. It compares
with the memory limits of deploy/ instead of a growth.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.errors import Expired, Unavailable
from conversion_operator.cluster.objects import Resource
from conversion_operator.cluster.parsing import parse_conversion
from tests.component.running import phase_of
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.audit import Request
from tests.component.support.tools import configuration, conversion_job
from tests.support.operator_process import gateway_process, operator_process

FULL = int(os.environ.get("LARGE_OBJECTS", "0"))
OBJECTS = FULL or 200
NOTE = "x" * 255_000
OPERATOR_GROWTH_MIB, GATEWAY_GROWTH_MIB = 52, 72
"""200 objects have 49 MiB. With lists that are read whole, the growth is 190 MiB and more."""
OPERATOR_MIB, GATEWAY_MIB = 512, 256
"""The memory limits in deploy/."""
BASE = "/api/v1/converter"


@pytest.mark.timeout(60 + FULL // 4)
async def test_the_operator_reads_large_objects_in_little_memory(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    port = _free_port()
    environment = {"PROBE_PORT": str(port), "POD_NAMESPACE": NAMESPACE, "POD_NAME": "alone"}
    async with operator_process(api.url, tmp_path, **environment) as process:
        await _until(lambda: _answers(port, "/readyz"))
        await _convert(api, "first")
        before = _peak_mib(process.pid)
    _fill(api)
    async with operator_process(api.url, tmp_path, **environment) as process:
        await _until(lambda: _answers(port, "/readyz"))
        await _convert(api, "second")
        # The same again as watch events.
        for number in range(OBJECTS):
            api.mutate("conversionjobs", _name(number), _annotate("y" * 255_000))
            await asyncio.sleep(0)
        await _convert(api, "third")
        after = _peak_mib(process.pid)
    _check("operator", before, after, OPERATOR_MIB, OPERATOR_GROWTH_MIB)


@pytest.mark.timeout(60 + FULL // 4)
async def test_the_http_api_reads_large_objects_in_little_memory(
    api: FakeApi, tmp_path: Path
) -> None:
    port = _free_port()
    environment = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_AUTH": "network",
        "GATEWAY_DRAIN_SECONDS": "0",
    }
    async with gateway_process(api.url, tmp_path, **environment) as process:
        await _until(lambda: _answers(port, f"{BASE}/stats"))
        before = _peak_mib(process.pid)
        _fill(api)
        api.create(conversion_job("waits"))
        paths = [f"{BASE}/stats", f"{BASE}/active", f"{BASE}/status/waits"] * 4
        answers = await asyncio.gather(*(_answers(port, path) for path in paths))
        after = _peak_mib(process.pid)
    assert all(answers)
    _check("HTTP API", before, after, GATEWAY_MIB, GATEWAY_GROWTH_MIB)


async def test_an_object_of_a_megabyte_passes_through_a_watch(api: FakeApi) -> None:
    client = Cluster(configuration(api.url), "operator")
    try:
        listed = await client.list_all(Resource.CONVERSIONS, NAMESPACE)
        api.create(_large("large", "x" * 1_000_000), check=False)
        watch = client.watch(Resource.CONVERSIONS, NAMESPACE, listed.version, 45)
        event = await anext(aiter(watch))
    finally:
        await client.close()
    assert event.object
    assert "x" * 1000 not in repr(event.object)


async def test_an_event_that_is_too_large_ends_the_watch(api: FakeApi) -> None:
    client = Cluster(configuration(api.url), "operator")
    try:
        listed = await client.list_all(Resource.CONVERSIONS, NAMESPACE)
        events = aiter(client.watch(Resource.CONVERSIONS, NAMESPACE, listed.version, 45))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_broken(events))
            await api.until(api.watches)
            api.watches()[0].inject("ADDED", _large("large", "x" * 5_000_000))
        assert "broke" in waiting.result()
    finally:
        await client.close()


async def _broken(events: AsyncIterator[Any]) -> str:
    with pytest.raises(Unavailable) as raised:
        await anext(events)
    return str(raised.value)


async def test_a_page_that_is_too_large_is_read_in_smaller_ones(api: FakeApi) -> None:
    for number in range(60):
        api.create(_large(_name(number), NOTE), check=False)
    client = ConversionClient(configuration(api.url), "gateway")
    try:
        listed = await client.list_all(NAMESPACE, parse_conversion)
    finally:
        await client.close()
    assert sorted(c.key.name for c in listed.items) == [_name(number) for number in range(60)]
    limits = [int(r.query["limit"]) for r in api.audit.requests if r.verb == "list"]
    assert limits[:3] == [100, 25, 6]


async def test_a_list_whose_next_page_expired_starts_again(api: FakeApi) -> None:
    for number in range(600):
        api.create(conversion_job(_name(number)), check=False)

    def expire(_: Request) -> None:
        api.delete("conversionjobs", _name(0))
        api.compact("conversionjobs")

    client = ConversionClient(configuration(api.url), "gateway")
    try:
        with api.faults.tap(on_arrival=expire, where=_continues, times=1):
            listed = await client.list_all(NAMESPACE, parse_conversion)
        assert {c.key.name for c in listed.items} == {_name(number) for number in range(1, 600)}
        assert len(listed.items) == 599
        # If every next page expires, there is no list, rather than a part of one.
        with api.faults.status(410, where=_continues), pytest.raises(Expired):
            await client.list_all(NAMESPACE, parse_conversion)
    finally:
        await client.close()


async def test_large_events_do_not_hide_why_a_pod_does_not_start(api: FakeApi) -> None:
    """Otherwise a conversion could keep its slot: its start would never be judged."""
    for number in range(10):
        api.create(_warning(number))
    client = Cluster(configuration(api.url), "operator")
    try:
        assert (await client.latest_warning(NAMESPACE, "pod-1")).startswith("FailedMount: ")
    finally:
        await client.close()


def _warning(number: int) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": NAMESPACE, "name": "p", "uid": "pod-1"}
    annotations = {f"example.com/{part}": "x" * 60_000 for part in range(4)}
    labels = {f"example.com/{part:060}": "x" * 63 for part in range(5_000)}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"e{number}", "annotations": annotations, "labels": labels},
        "type": "Warning",
        "reason": "FailedMount",
        "message": f"number {number}",
        "involvedObject": about,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }


async def test_few_lists_are_collected_at_the_same_time(api: FakeApi) -> None:
    """Every caller of the HTTP API can ask for a list of a whole namespace.

    Lists of the same namespace have fewer places, so these are of several namespaces.
    """
    now, most = 0, 0

    async def arrive(_: Request) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _turn in range(50):  # so that others could arrive
            await asyncio.sleep(0)

    def leave(_: Request) -> None:
        nonlocal now
        now -= 1

    client = ConversionClient(configuration(api.url), "gateway")
    try:
        with api.faults.tap(arrive, leave, verb="list"):
            await asyncio.gather(
                *(client.list_at(f"namespace-{n}", "1", parse_conversion) for n in range(20))
            )
    finally:
        await client.close()
    assert most == 4


def _continues(request: Request) -> bool:
    return "continue" in request.query


def _name(number: int) -> str:
    return f"large-{number:04}"


def _large(name: str, note: str) -> dict[str, Any]:
    job = conversion_job(name, metadata={"annotations": {"example.com/note": note}})
    ended = {"reason": "Completed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {
        "phase": "Succeeded",
        "observedGeneration": 1,
        "conditions": [
            {"type": kind, "status": "True"} | ended for kind in ("Succeeded", "Finished")
        ],
        "reason": "Completed",
        "message": "",
    }
    ConversionJobStatus.model_validate(status)  # else the operator would convert it again
    return job | {"status": status}


def _annotate(note: str) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["metadata"]["annotations"].update({"example.com/note": note})


def _fill(api: FakeApi) -> None:
    for number in range(OBJECTS):
        name = _name(number)
        large = _large(name, NOTE)
        api.create(large, check=False)
        api.mutate("conversionjobs", name, partial(dict.update, status=large["status"]))


async def _convert(api: FakeApi, name: str) -> None:
    api.create(conversion_job(name))
    await api.until(lambda: phase_of(api, name) == "Succeeded", 60 + FULL // 10)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 120
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def _answers(port: int, path: str) -> bool:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                await answer.read()
                return answer.status == 200
        except aiohttp.ClientError:
            return False  # not served yet


def _check(what: str, before: float, after: float, limit: int, growth: int) -> None:
    print(f"{what}: {OBJECTS} objects, at most {after:.0f} MiB, {after - before:.0f} MiB more")
    assert after < limit
    assert FULL or after - before < growth


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024
