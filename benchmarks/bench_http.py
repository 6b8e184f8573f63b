"""Measures one replica of the HTTP API: latency of status, memory, long polls and streams.

    .tools/venv/bin/python benchmarks/bench_http.py --objects 2000 20000

The API server of the component tests, the API and this client are three processes. ``--source``
names another source tree whose API is measured in the same run. Prints one line of JSON for each
measurement, and a table.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / part) for part in ("operator", "converter-module"))]

from tests.component.support import FakeApi  # noqa: E402
from tests.component.support.tools import conversion_job  # noqa: E402
from tests.support import gateway_process as gateways  # noqa: E402

BASE = "/api/v1/converter"
NAMESPACE = "my-network"
WAITING_SHARE = 10
"""One of so many objects waits. The others have ended."""
POLLS = STREAMS = 256
ADDRESSES = [f"127.0.0.{number}" for number in range(10, 26)]
"""Each has its share of the long polls and streams, within the limits of one address."""
REQUESTS_PER_SECOND = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--source", type=Path, action="append", default=[])
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--second-address", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.second_address is not None:
        asyncio.run(_ask_as_second(arguments.second_address))
        return
    if arguments.serve is not None:
        asyncio.run(_serve_objects(arguments.serve))
        return
    rows = []
    for objects in arguments.objects:
        for source in [*arguments.source, ROOT]:
            row = asyncio.run(_measure(objects, arguments.seconds, source.resolve()))
            print(json.dumps(row), flush=True)
            rows.append(row)
    columns = list(rows[-1])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |")


# The API server


async def _serve_objects(count: int) -> None:
    """An API server with ``count`` ConversionJobs, of which one changes five times a second."""
    api = FakeApi()
    await api.start()
    begun = datetime.now(UTC) - timedelta(hours=2)
    for number in range(count):
        body = conversion_job(_name(number), inputFile=f"uploads/{number:06}/holiday.mov")
        api.create(body, check=False)
        _set_status(api, number, _ended(begun) if number % WAITING_SHARE else _queued())
    print(api.url, flush=True)
    for changed in itertools.count(1):
        await asyncio.sleep(0.2)
        _set_status(api, 0, _queued() | {"queuePosition": changed})


def _set_status(api: FakeApi, number: int, status: dict[str, Any]) -> None:
    api.mutate("conversionjobs", _name(number), lambda obj: obj.update(status=status))


def _name(number: int) -> str:
    return f"6f1c9a52-7e0b-5b1e-9f5e-{number:012}"


def _queued() -> dict[str, Any]:
    return {
        "phase": "Queued",
        "reason": "WaitingForSlot",
        "message": "waits for a free slot",
        "conditions": [_condition("Finished", "False", "WaitingForSlot")],
        "queuePosition": 7,
    }


def _ended(begun: datetime) -> dict[str, Any]:
    start, end = (
        (begun + timedelta(seconds=after)).isoformat(timespec="seconds").replace("+00:00", "Z")
        for after in (0, 62)
    )
    attempt = {"number": 1, "startTime": start, "completionTime": end, "reason": "Completed"}
    return {
        "phase": "Succeeded",
        "reason": "Completed",
        "message": "the output is complete",
        "conditions": [
            _condition("Finished", "True", "Completed"),
            _condition("Succeeded", "True", "Completed"),
        ],
        "attempts": [attempt],
        "jobName": "converter-0123456789abcdef-1",
        "startTime": start,
        "completionTime": end,
        "durationSeconds": 62,
        "outputSize": 1843200,
    }


def _condition(kind: str, value: str, reason: str) -> dict[str, str]:
    at = "2026-01-02T03:04:05Z"
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": reason,
        "lastTransitionTime": at,
    }


@asynccontextmanager
async def _api_server(count: int) -> AsyncIterator[str]:
    command = (sys.executable, __file__, "--serve", str(count))
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None  # noqa: S101
        async with asyncio.timeout(600):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


# The client: plain HTTP/1.1, so that it costs little


async def _request(port: int, path: str, address: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(address, 0), limit=2**26
    )
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(answer.split(b" ", 2)[1] if answer else 0), body
    finally:
        writer.close()


async def _timed(port: int, path: str, address: str, codes: Counter[int]) -> float:
    begun = time.perf_counter()
    code, _ = await _request(port, path, address)
    codes[code] += 1
    return time.perf_counter() - begun


async def _status_latency(
    port: int, objects: int, seconds: float, codes: Counter[int]
) -> list[float]:
    """Requests at a fixed rate for queued conversions: a slow response delays no other request."""
    tasks = []
    for number in range(int(seconds * REQUESTS_PER_SECOND)):
        name = _name(number * 7919 * WAITING_SHARE % objects)
        address = ADDRESSES[number % len(ADDRESSES)]
        tasks.append(asyncio.create_task(_timed(port, f"{BASE}/status/{name}", address, codes)))
        await asyncio.sleep(1 / REQUESTS_PER_SECOND)
    return list(await asyncio.gather(*tasks))


async def _hold(port: int, path: str, address: str, codes: Counter[int]) -> Any:
    """Open a request that lasts, and read what comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def drain() -> None:
        line = await reader.readline()
        codes[int(line.split(b" ", 2)[1] if line else 0)] += 1
        while await reader.read(65536):
            pass

    return asyncio.create_task(drain()), writer


# The measurement


async def _measure(objects: int, seconds: float, source: Path) -> dict[str, Any]:
    gateways.ROOT = source
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(_api_server(objects))
            gateway, _ = await stack.enter_async_context(
                gateways.gateway_process(url, Path(folder))
            )
            port = gateway.port
            await _until_known(port)
            row: dict[str, Any] = {
                "objects": objects,
                "source": "this" if source == ROOT else "before",
            }
            alone: Counter[int] = Counter()
            row["MiB at the start"] = round(gateway.peak_memory() / 2**20)
            row |= _figures("alone", await _status_latency(port, objects, seconds / 2, alone))
            codes, held = Counter[int](), Counter[int]()
            opened = [
                await _hold(port, path, ADDRESSES[n % len(ADDRESSES)], held)
                for n in range(POLLS)
                for path in (f"{BASE}/status/{_name(10 * n % objects)}?wait=60", f"{BASE}/events")
            ]
            await asyncio.sleep(10)
            row |= _figures("with 512 open", await _status_latency(port, objects, seconds, codes))
            row["peak MiB with 512 open"] = round(gateway.peak_memory() / 2**20)
            row["status codes"] = dict(alone + codes)
            row["refused"] = sum(count for code, count in held.items() if code != 200)
            for task, writer in opened:
                task.cancel()
                writer.close()
            await asyncio.sleep(2)
            row["second address, ms"] = await _second_address(port)
            row["peak MiB"] = round(gateway.peak_memory() / 2**20)
    return row


async def _until_known(port: int) -> None:
    while (await _request(port, f"{BASE}/stats", "127.0.0.1"))[0] != 200:  # noqa: ASYNC110
        await asyncio.sleep(1)


def _figures(name: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return {
        f"{name}: p50 ms": round(1000 * statistics.median(ordered), 1),
        f"{name}: p99 ms": round(1000 * p99, 1),
        f"{name}: max ms": round(1000 * ordered[-1], 1),
    }


async def _second_address(port: int) -> float:
    """The slowest request of a second address while the first one opens all that it may, in ms.

    The second address is a process of its own, so that its figure has nothing of the first one's.
    """
    command = (sys.executable, __file__, "--second-address", str(port))
    second = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert second.stdout is not None  # noqa: S101
    await second.stdout.readline()
    held: Counter[int] = Counter()
    paths = [f"{BASE}/status/{_name(0)}?wait=60", f"{BASE}/events", f"{BASE}/active"]
    opened = [await _hold(port, paths[n % 3], "127.0.0.99", held) for n in range(384)]
    slowest = await second.stdout.readline()
    await second.wait()
    for task, writer in opened:
        task.cancel()
        writer.close()
    return float(slowest)


async def _ask_as_second(port: int) -> None:
    """Send requests for three seconds, one after the other. Print the slowest."""
    codes: Counter[int] = Counter()
    path = f"{BASE}/status/{_name(10)}"
    await _timed(port, path, "127.0.0.98", codes)
    print("ready", flush=True)
    slowest, begun = 0.0, time.monotonic()
    while time.monotonic() < begun + 3:
        slowest = max(slowest, await _timed(port, path, "127.0.0.98", codes))
        await asyncio.sleep(0.03)
    assert set(codes) == {200}, codes  # noqa: S101
    print(round(1000 * slowest, 1), flush=True)


if __name__ == "__main__":
    main()
