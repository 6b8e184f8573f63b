"""SIGTERM, as the kubelet sends it, to the HTTP API as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2 as httpx
import yaml

from converter_gateway.server import GRACEFUL_SECONDS, limit_stalls
from converter_gateway.settings import GatewaySettings
from tests.component.listening import listening
from tests.component.support import FakeApi
from tests.component.support.tools import conversion_job
from tests.support.gateway_process import gateway_process

ROOT = Path(__file__).parents[2]
BASE = "/api/v1/converter"
DEPLOYMENT = yaml.safe_load((ROOT / "deploy/gateway/deployment.yaml").read_text(encoding="utf-8"))
GRACE: int = DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
BODY = {"input_file": "in/a.mov", "output_file": "a.mp4", "conversion_type": "video_to_mp4"}


async def _readiness(client: httpx.AsyncClient) -> int:
    """The status of /readyz; 0 if nobody answers."""
    try:
        return (await client.get("/readyz")).status_code
    except httpx.TransportError:
        return 0


async def test_whoever_waits_is_sent_home_and_who_submits_is_answered(
    api: FakeApi, tmp_path: Path
) -> None:
    api.create(conversion_job("a"))
    async with (
        gateway_process(api.url, tmp_path, GATEWAY_DRAIN_SECONDS="1") as (gateway, client),
        AsyncExitStack() as stack,
    ):
        streams = [await stack.enter_async_context(listening(client)) for _ in range(20)]
        for stream in streams:
            await stream.begun()
        polls = [
            asyncio.create_task(client.get(f"{BASE}/status/a", params={"wait": 60}))
            for _ in range(20)
        ]
        async with asyncio.timeout(30):
            while await gateway.in_progress("long polls") < 20:
                pass
        with api.faults.hold(verb="create", resource="conversionjobs") as hold:
            submit = asyncio.create_task(client.post(f"{BASE}/convert", json=BODY))
            await hold.wait_hit()
            begun = time.monotonic()
            gateway.process.send_signal(signal.SIGTERM)
            while (ready := await _readiness(client)) == 200:
                pass
            assert ready == 503, "not ready, and it still serves"
            last = await client.get(f"{BASE}/stats")
            assert (last.status_code, last.headers["connection"]) == (200, "close")
            blocks = [(await stream.rest())[-1] for stream in streams]
            assert {block.comment for block in blocks} == {"reconnect"}
            assert all(block.retry.isdecimal() and block.id for block in blocks)
            assert {(await poll).json()["phase"] for poll in polls} == {"Queued"}
            assert not submit.done(), "the API server has not answered yet"
        answer = await submit
        assert (answer.status_code, answer.json()["status"]) == (200, "started")
        assert api.find("conversionjobs", answer.json()["job_id"])
        async with asyncio.timeout(GRACE):
            assert await gateway.process.wait() == 0
        took = time.monotonic() - begun
        print(f"SIGTERM to the end of the process: {took:.1f} s")
        assert took < GRACE


def test_the_way_out_fits_into_the_grace_period() -> None:
    """With a second to spare for the rest."""
    drain = GatewaySettings.model_construct().gateway_drain_seconds
    assert drain + GRACEFUL_SECONDS + 1 < GRACE


def test_connections_of_a_peer_that_vanished_end() -> None:
    with (
        limit_stalls(socket.create_server(("127.0.0.1", 0)), 30) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000


async def test_an_api_server_that_never_answers_does_not_hold_it_up(
    api: FakeApi, tmp_path: Path
) -> None:
    with api.faults.black_hole(verb="create", resource="conversionjobs") as fault:
        async with gateway_process(api.url, tmp_path, GATEWAY_DRAIN_SECONDS="0") as running:
            gateway, client = running
            submit = asyncio.create_task(client.post(f"{BASE}/convert", json=BODY))
            await fault.wait_hit()
            gateway.process.send_signal(signal.SIGTERM)
            answer = await submit
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
            async with asyncio.timeout(GRACE):
                assert await gateway.process.wait() == 0
