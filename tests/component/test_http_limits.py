"""What the HTTP API does before it has read a request, and while a response is not read."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from converter_gateway.protocol import BoundedProtocol
from tests.component.listening import serving, until_in_progress
from tests.component.support import FakeApi
from tests.component.support.tools import conversion_job
from tests.support.attacker import attacker
from tests.support.gateway_process import gateway_process

BASE = "/api/v1/converter"
BODY = {"input_file": "in/a.mov", "output_file": "a.mp4", "conversion_type": "video_to_mp4"}
HEADER = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = (
    b"POST "
    + BASE.encode()
    + b"/convert HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{"
)
MEBIBYTE = 1024 * 1024


async def until(condition: Any, what: str, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the condition is a state of the kernel's sockets
            await asyncio.sleep(0.02)
    assert condition(), what


def port_of(client: httpx.AsyncClient) -> int:
    assert client.base_url.port is not None
    return client.base_url.port


@asynccontextmanager
async def raw(client: httpx.AsyncClient) -> AsyncIterator[Any]:
    """Sends bytes, and returns all that the server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))

    async def exchange(data: bytes) -> tuple[int, Any, bytes]:
        writer.write(data)
        async with asyncio.timeout(10):
            answer = await reader.read()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"content-type: application/json" in head.lower(), answer
        return int(head.split(b" ")[1]), json.loads(body), head

    try:
        yield exchange
    finally:
        writer.close()


@asynccontextmanager
async def keeping(client: httpx.AsyncClient) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Health checks on one connection, which stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))

    async def check() -> bytes:
        writer.write(HEADER + b"\r\n")
        return await reader.readuntil(b'{"status":"ok"}')

    try:
        await check()
        yield check
    finally:
        writer.close()


async def served_within(client: httpx.AsyncClient, seconds: float, path: str = "/stats") -> None:
    begun = time.monotonic()
    answer = await client.get(f"{BASE}{path}")
    took = time.monotonic() - begun
    assert answer.status_code == 200, answer.text
    assert took < seconds, f"{took:.2f} s"


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        (b"nonsense\r\n\r\n", 400, "the request is not valid HTTP"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "the request is not valid HTTP"),
        (HEADER + b"X: " + b"x" * 20_000, 431, "the headers are larger than 16384 bytes"),
        (
            POST.replace(b"\r\n\r\n{", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") + HEADER,
            400,
            "Transfer-Encoding: not allowed in this request",
        ),
        (
            b"POST / HTTP/1.0\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            + HEADER,
            400,
            "Transfer-Encoding: not allowed in this request",
        ),
        (HEADER, 408, "the header of the request did not arrive in time"),
        (POST, 408, "the body of the request did not arrive in time"),
    ],
)
async def test_protocol_errors_are_like_all_errors_and_close_the_connection(
    api: FakeApi, sent: bytes, code: int, message: str
) -> None:
    settings: dict[str, Any] = {"gateway_header_seconds": 0.2, "gateway_body_seconds": 0.2}
    async with serving(api, **settings) as client, raw(client) as exchange:
        assert (await exchange(sent))[:2] == (code, {"error": message})


async def test_the_refusal_of_a_head_request_has_no_body(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    ambiguous = b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
    ambiguous += b"Transfer-Encoding: chunked\r\n\r\n"
    async with serving(api) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
        writer.write(ambiguous)
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 400 Bad Request", b"")
    assert not [r for r in caplog.records if r.exc_info], "no stack trace"


async def test_a_pipelined_request_ends_the_connection(api: FakeApi) -> None:
    async with serving(api) as client, raw(client) as exchange:
        code, body, head = await exchange((HEADER + b"\r\n") * 3)
        assert (code, body) == (200, {"status": "ok"})
        assert b"\r\nconnection: close" in head.lower()


async def test_chunked_bodies_are_read(api: FakeApi) -> None:
    """The check of Transfer-Encoding rejects nothing else."""

    async def chunks() -> AsyncIterator[bytes]:
        for part in (b'{"input_file": "in/a.mov", "output_file": "a.mp4",', b' "x": 1}'):
            yield part

    async with serving(api) as client:
        answer = await client.post(f"{BASE}/convert", content=chunks())
        assert answer.json() == {"error": "Missing required field: conversion_type"}


@pytest.mark.parametrize("sent", [b"", HEADER, POST], ids=["silent", "header", "body"])
async def test_slow_callers_lose_their_connection_however_busy_they_look(
    api: FakeApi, sent: bytes
) -> None:
    settings: dict[str, Any] = {"gateway_header_seconds": 0.5, "gateway_body_seconds": 0.5}
    async with serving(api, **settings) as client:
        with attacker(port_of(client)) as slow:
            await slow.open(5, sent)
            begun = time.monotonic()

            def all_closed() -> bool:
                if sent:
                    slow.send(b"x")  # a byte now and then extends no deadline
                return slow.open_connections() == 0

            await until(all_closed, "the connections to be closed")
            assert time.monotonic() - begun < 5


async def test_an_idle_connection_is_closed_and_a_used_one_stays(api: FakeApi) -> None:
    async with serving(api, gateway_idle_seconds=0.3, gateway_header_seconds=0.1) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
        for _ in range(3):
            writer.write(HEADER + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b'{"status":"ok"}')
            await asyncio.sleep(0.15)  # longer than the deadline of a header, which has not begun
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "closed without a word"
        writer.close()


async def test_a_connection_that_the_caller_resets_leaves_nothing_behind(api: FakeApi) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(thing, BoundedProtocol) for thing in gc.get_objects())

    async with serving(api) as client:
        before = kept()
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
            writer.write(HEADER + b"\r\n")
            await reader.readuntil(b'{"status":"ok"}')
            reset = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.close()
        del reader, writer
        await until(lambda: kept() <= before, "the connections to be forgotten")


async def test_bodies_that_are_cut_off_are_counted(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no line each in the log: anybody can send thousands a second."""
    caplog.set_level(logging.INFO)
    async with serving(api) as client:
        with attacker(port_of(client)) as leaving:
            await leaving.open(30, POST)
            await until(lambda: leaving.open_connections() == 30, "all to be open")
            await served_within(client, 10)
        await served_within(client, 10)
    counts = [vars(record)["counts"] for record in caplog.records if "counts" in vars(record)]
    assert counts == [{"incomplete body": 30}]
    assert not [r for r in caplog.records if r.name == "converter_gateway.limits"]
    assert not [r for r in caplog.records if r.exc_info], "no stack trace"


async def test_one_address_cannot_take_the_connections_of_others(api: FakeApi) -> None:
    settings: dict[str, Any] = {
        "gateway_max_connections": 50,
        "gateway_max_connections_per_address": 20,
    }
    async with serving(api, **settings) as client:
        with ExitStack() as stack:
            crowd = [
                stack.enter_context(attacker(port_of(client), f"127.0.0.{host}"))
                for host in range(2, 6)
            ]
            await crowd[0].open(40)
            await until(lambda: crowd[0].open_connections() == 20, "its own limit")
            for others in crowd[1:]:
                await others.open(40)
            await until(lambda: sum(c.open_connections() for c in crowd) == 50, "the limit")
            # The newcomer takes the place of a silent one.
            await served_within(client, 10)
            assert sum(c.open_connections() for c in crowd) in (48, 49)
            assert max(c.open_connections() for c in crowd) <= 20


async def test_an_address_at_its_limit_replaces_what_has_waited_longest(api: FakeApi) -> None:
    """Behind an ingress, all callers have the address of the attacker."""
    async with serving(api, gateway_max_connections_per_address=10) as client:
        with attacker(port_of(client), "127.0.0.1") as silent:
            await silent.open(20)
            with pytest.raises(httpx.TransportError):
                await client.get("/healthz")
            await asyncio.sleep(1.1)  # the shortest time that a connection may wait
            assert (await client.get("/healthz")).status_code == 200


async def test_requests_in_progress_are_never_closed_to_make_room(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    async with serving(api, gateway_max_connections=16) as client:
        polls = [asyncio.create_task(client.get(f"{BASE}/status/a?wait=20")) for _ in range(16)]
        await until_in_progress(client, "long polls", 16)
        with attacker(port_of(client)) as crowd:
            await crowd.open(20)
            await until(lambda: crowd.open_connections() == 0, "no room")
        api.mutate("conversionjobs", "a", _ended)
        assert {(await poll).json()["status"] for poll in polls} == {"failed"}


def _ended(obj: dict[str, Any]) -> None:
    obj["status"] = {"phase": "Failed", "reason": "Corrupt", "message": "x", "conditions": []}


async def test_a_forwarded_address_is_not_believed(api: FakeApi) -> None:
    async with serving(api, gateway_rate_burst=3, gateway_rate_per_second=0.1) as client:
        codes = []
        for number in range(5):
            headers = {"X-Forwarded-For": f"10.0.0.{number}", "Forwarded": f"for=10.0.1.{number}"}
            codes.append((await client.get(f"{BASE}/stats", headers=headers)).status_code)
        assert codes == [200, 200, 200, 429, 429]


async def test_responses_that_nobody_reads_have_a_budget(api: FakeApi) -> None:
    for number in range(400):
        api.create(conversion_job(f"job-{number}", inputFile="x" * 900))
    settings: dict[str, Any] = {
        "gateway_max_unread_bytes": 2 * MEBIBYTE,
        "gateway_rate_burst": 1000,
    }
    async with serving(api, **settings) as client:
        size = len((await client.get(f"{BASE}/active")).content)
        assert size > 200_000
        with attacker(port_of(client)) as unread:
            ask = b"GET " + BASE.encode() + b"/active HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            await unread.open(30, ask, receive_buffer=4096)
            await until(lambda: unread.open_connections() <= 15, "the largest to be closed", 30)
            assert unread.open_connections() > 0
            await served_within(client, 10, "/active")


@pytest.mark.parametrize("then", [b"", b"no HTTP\r\n\r\n"], ids=["silent", "invalid"])
@pytest.mark.parametrize("busy", [0, 0.9], ids=["idle", "busy"])
async def test_a_response_that_nobody_reads_ends(api: FakeApi, busy: float, then: bytes) -> None:
    """The server resets the connection before the kernel drops it without telling the caller."""
    for number in range(400):
        api.create(conversion_job(f"job-{number}", inputFile="x" * 900))
    async with serving(api, gateway_stall_seconds=0.5) as client:
        with attacker(port_of(client)) as unread:
            ask = b"GET " + BASE.encode() + b"/active HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            await unread.open(3, ask, receive_buffer=4096)
            await until(unread.all_answered, "the responses")
            unread.send(then)
            time.sleep(busy)  # noqa: ASYNC251  blocks the server's loop beyond its deadline
            await until(lambda: unread.open_connections() == 0, "it to be closed")


HEALTH = HEADER + b"\r\n"
ACTIVE = b"GET " + BASE.encode() + b"/active HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (HEALTH * 1000, b""),
        (ACTIVE + b"Connection: close\r\n\r\n", b""),
        (ACTIVE + b"\r\n", b""),
        (ACTIVE + b"\r\n", HEALTH),
    ],
    ids=["pipelined", "closing", "unread", "behind an unread one"],
)
async def test_callers_that_read_nothing_lock_nobody_out(
    api: FakeApi, first: bytes, then: bytes
) -> None:
    for number in range(400):
        api.create(conversion_job(f"job-{number}", inputFile="x" * 900))
    settings: dict[str, Any] = {
        "gateway_max_connections": 17,
        "gateway_max_connections_per_address": 8,
        "gateway_rate_burst": 10_000,
    }
    async with serving(api, **settings) as client, keeping(client) as health:
        with ExitStack() as stack:
            port = port_of(client)
            crowds = [stack.enter_context(attacker(port, f"127.0.0.{n}")) for n in (2, 3)]
            for crowd in crowds:
                await crowd.open(8, first, receive_buffer=4096)
            await until(lambda: all(crowd.all_answered() for crowd in crowds), "the responses")
            for crowd in crowds:
                crowd.send(then)
            for _ in range(20):
                await health()  # meanwhile the server reads what they sent
            for _ in range(3):
                await served_within(client, 10)


async def test_long_polls_leave_room_for_others(api: FakeApi) -> None:
    """More of them than the client of the API server has connections for requests."""
    api.create(conversion_job("a"))
    settings: dict[str, Any] = {
        "gateway_max_long_polls": 150,
        "gateway_max_long_polls_per_address": 120,
    }
    async with serving(api, gateway_rate_burst=1000, **settings) as client:
        ways = ("wait=60", "w%61it=60", "x&wait=60", "wait=1&wait=60", "%77ait=60")
        polls = [asyncio.create_task(client.get(f"{BASE}/status/a?{way}")) for way in ways * 25]
        await until_in_progress(client, "long polls", 120)
        await until(lambda: sum(poll.done() for poll in polls) == 5, "five to be refused")
        assert {poll.result().status_code for poll in polls if poll.done()} == {429}
        for _ in range(5):
            await served_within(client, 10)
        api.mutate("conversionjobs", "a", _ended)
        assert sum([(await poll).status_code == 200 for poll in polls]) == 120


async def test_slow_bodies_take_no_place_among_the_requests(api: FakeApi) -> None:
    async with serving(api, gateway_max_concurrent=10) as client:
        with attacker(port_of(client)) as slow:
            await slow.open(60, POST)
            await until(lambda: slow.open_connections() == 60, "all to be open")
            for _ in range(5):
                await served_within(client, 10)


async def test_one_address_cannot_take_all_requests(api: FakeApi) -> None:
    async with serving(api, gateway_max_concurrent_per_address=3) as client:
        with api.faults.hold(verb="list", resource="conversionjobs") as hold:
            asked = [asyncio.create_task(client.get(f"{BASE}/stats")) for _ in range(3)]
            await hold.wait_hit()
            while not all(task.done() for task in asked):
                answer = await client.get(f"{BASE}/stats", timeout=1)
                if answer.status_code == 429:
                    break
            assert answer.json() == {"error": "too many requests from one address"}
        assert {(await task).status_code for task in asked} == {200}


async def test_without_file_descriptors_the_server_goes_on(api: FakeApi, tmp_path: Path) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    now = {"GATEWAY_DRAIN_SECONDS": "0"}
    async with gateway_process(api.url, tmp_path, few_files, **now) as (gateway, client):
        with attacker(gateway.port) as crowd:
            await crowd.open(200)
            await served_within(client, 10)
        # Even fewer, while it runs: not one connection can be accepted.
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (5, 64))
        with pytest.raises(httpx.TimeoutException):
            await client.get("/healthz", timeout=1)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        await served_within(client, 10)
        gateway.process.terminate()
        await asyncio.wait_for(gateway.process.wait(), 30)
        lines = gateway.log.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 20, "no line for each connection"
        (counts,) = [entry["counts"] for line in lines if "counts" in (entry := json.loads(line))]
        assert sum(counts.values()) >= 100, "but their number"
        assert 1 <= counts["not accepted: Too many open files"] <= 100, "it pauses between"


async def test_memory_stays_within_the_limit_and_others_are_served(
    api: FakeApi, tmp_path: Path
) -> None:
    """The attack of `make faults` with 3 000 connections. Without limits it takes 100 MiB more."""
    unfinished = HEADER + b"X: " + b"x" * 15_000
    async with gateway_process(api.url, tmp_path) as (gateway, client):
        await served_within(client, 10)
        before = gateway.peak_memory()
        with ExitStack() as stack:
            for host in range(2, 8):
                crowd = stack.enter_context(attacker(gateway.port, f"127.0.0.{host}"))
                await crowd.open(500, unfinished)
                await served_within(client, 10)
            more = (gateway.peak_memory() - before) / MEBIBYTE
        print(f"{before / MEBIBYTE:.0f} MiB, and {more:.0f} MiB more")
        assert more < 60
