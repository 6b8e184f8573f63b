"""20 000 connections to one replica of the HTTP API, in a container with the memory of its pod."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import httpx2 as httpx
import pytest
import yaml

from tests.component.support import FakeApi
from tests.component.support.tools import conversion_job, write_kubeconfig

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = os.environ.get("GATEWAY_IMAGE", "my-converter-gateway:latest")
DEPLOYMENT = yaml.safe_load((ROOT / "deploy/gateway/deployment.yaml").read_text(encoding="utf-8"))
(CONTAINER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
MEMORY: Final = int(CONTAINER["resources"]["limits"]["memory"].removesuffix("Mi")) * 1024 * 1024
NAME: Final = "mynetwork-http-attack"
AUDIENCE: Final = "my-network-converter"
PORT: Final = 18000
CONNECTIONS: Final = 20_000
# One process cannot open all. Each has an address of its own.
PROCESSES: Final = 8
SECONDS: Final = 25

BASE: Final = "/api/v1/converter"
HEADER: Final = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ATTACKS: Final = {
    "unfinished headers": HEADER + b"X: " + b"x" * 15_000,
    "silent": b"",
    "slow bodies": f"POST {BASE}/convert HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    + b"Content-Length: 65536\r\n\r\n"
    + b"x" * 60_000,
    "idle": HEADER + b"\r\n",
    "responses that nobody reads": b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 10,
}


RULES: Final = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """An API server with a caller that has the token `good`, and a conversion."""
    server = FakeApi()
    await server.start()
    server.access.grant("gateway", "system:serviceaccount:ops:gateway", RULES)
    server.access.grant(
        "good", "system:serviceaccount:my-network:app", RULES, "my-network", (AUDIENCE,)
    )
    server.create(conversion_job("a"))
    yield server
    await server.stop()


@contextmanager
def container(kubeconfig: Path) -> Iterator[None]:
    """One replica with the memory and the CPU of its pod."""
    limits = CONTAINER["resources"]["limits"]
    flags = {
        "name": NAME,
        "network": "host",
        "memory": str(MEMORY),
        "memory-swap": str(MEMORY),
        "cpus": limits["cpu"],
        "volume": f"{kubeconfig}:/kubeconfig:ro",
    }
    environment = {"KUBECONFIG": "/kubeconfig", "GATEWAY_PORT": str(PORT)}
    docker("rm", "-f", NAME, check=False)
    docker(
        *("run", "-d", "--read-only", *(f"--{name}={value}" for name, value in flags.items())),
        *(f"-e{name}={value}" for name, value in environment.items()),
        IMAGE,
    )
    try:
        yield
        print(docker("logs", NAME))
    finally:
        docker("rm", "-f", NAME)


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stdout
    return done.stdout


def peak_memory() -> int:
    """The most memory of the container, in bytes: with version 1 or 2 of cgroups."""
    files = "/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"
    # The image has no shell. The few MiB of this Python start after the peak was reached.
    code = (
        "import pathlib, sys\n"
        "paths = map(pathlib.Path, sys.argv[1:])\n"
        "print(*(path.read_text() for path in paths if path.exists()))"
    )
    return int(docker("exec", NAME, "python3", "-c", code, *files))


@asynccontextmanager
async def attack(payload: bytes) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """All connections, from several addresses. They end after a time, or with the block."""
    attackers = []
    for number in range(PROCESSES):
        arguments = (PORT, f"127.0.0.{number + 2}", CONNECTIONS // PROCESSES, SECONDS)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.attacker", *map(str, arguments)),
            cwd=ROOT,
            stdin=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(payload)
        process.stdin.close()
        attackers.append(process)
    try:
        yield attackers
    finally:
        for process in attackers:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.parametrize("payload", ATTACKS.values(), ids=ATTACKS.keys())
async def test_an_attack_neither_kills_the_api_nor_keeps_others_waiting(
    api: FakeApi, tmp_path: Path, payload: bytes
) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api.url, "gateway")
    headers = {"Authorization": "Bearer good"}
    with container(kubeconfig):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", headers=headers) as kept:
            await until_ready(kept)
            before = peak_memory()
            slowest = 0.0
            async with attack(payload) as attackers:
                while any(process.returncode is None for process in attackers):
                    # A new connection each time, as from a caller that comes just now.
                    async with httpx.AsyncClient(base_url=kept.base_url, headers=headers) as caller:
                        begun = time.monotonic()
                        answer = await caller.get(f"{BASE}/status/a", timeout=10)
                        slowest = max(slowest, time.monotonic() - begun)
                        assert answer.status_code == 200, answer.text
                    await asyncio.sleep(0.1)
            peak = peak_memory()
            state = docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.Running}}", NAME)
        print(
            f"memory {before >> 20} MiB before, {peak >> 20} MiB at most; slowest {slowest:.2f} s"
        )
        assert state.split() == ["false", "true"]
        assert peak < MEMORY
        assert slowest < 1


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
