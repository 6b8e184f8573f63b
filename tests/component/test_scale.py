"""F18: an operator starts with ten thousand ConversionJobs, most of them finished."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.component.running import phase_of
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_one_live_pod_each, check_parallel_limit
from tests.component.support.tools import conversion_job
from tests.support.operator_process import operator_process

FINISHED = 9_950
WAITING = 50
SECONDS_UNTIL_READY = 60
MEBIBYTES = 512
"""The operator's memory limit in deploy/base."""


@pytest.mark.timeout(300)
async def test_ten_thousand_conversions(api: FakeApi, cluster: FakeCluster, tmp_path: Path) -> None:
    for number in range(FINISHED):
        name = f"done-{number:05}"
        api.create(conversion_job(name), check=False)
        api.mutate("conversionjobs", name, _finish(api, name))
    for number in range(WAITING):
        api.create(conversion_job(f"waits-{number:02}"))
    started = time.monotonic()
    port = _free_port()
    environment = {"PROBE_PORT": str(port), "POD_NAMESPACE": "my-network", "POD_NAME": "alone"}
    # In a process of its own, so that its memory can be measured.
    async with operator_process(api.url, tmp_path, **environment) as process:
        while not await _ready(port):
            assert time.monotonic() - started < SECONDS_UNTIL_READY
            await asyncio.sleep(0.1)
        ready = time.monotonic() - started
        await api.until(
            lambda: all(phase_of(api, f"waits-{n:02}") == "Succeeded" for n in range(WAITING)), 120
        )
        ended = time.monotonic() - started
        memory = _peak_memory(process.pid)
    print(f"ready after {ready:.1f} s, all ended after {ended:.1f} s, at most {memory:.0f} MiB")
    assert memory < MEBIBYTES
    assert not [r for r in api.audit.writes(resource="conversionjobs") if "done-" in r.name]
    check_one_live_pod_each(api)
    check_parallel_limit(api, 3)


def _finish(api: FakeApi, name: str) -> Callable[[dict[str, Any]], None]:
    """Sets the status of a finished conversion, with its output and the tail of its log."""
    stamp = api.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"reason": "Completed", "message": "converted", "lastTransitionTime": stamp}
    status = {
        "phase": "Succeeded",
        "observedGeneration": 1,
        "reason": "Completed",
        "message": "converted",
        "conditions": [
            {"type": "Succeeded", "status": "True"} | ended,
            {"type": "Finished", "status": "True"} | ended,
        ],
        "attempts": [
            {
                "number": 1,
                "startTime": stamp,
                "completionTime": stamp,
                "reason": "Completed",
                "message": "converted",
            }
        ],
        "jobName": f"converter-{name}",
        "startTime": stamp,
        "completionTime": stamp,
        "outputSize": 12345,
        "output": {"sha256": "0" * 64, "container": "mp4", "width": 1280, "height": 720},
        "logs": "a line of the log\n" * 100,
    }
    return lambda body: body.update(status=status)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ready(port: int) -> bool:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False  # the probes are not served yet


def _peak_memory(pid: int) -> float:
    """The peak memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024
