"""The HTTP API of this source tree, run as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from tests.component.support.tools import write_kubeconfig

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class GatewayProcess:
    """The process, and its port on 127.0.0.1."""

    process: asyncio.subprocess.Process
    port: int
    log: Path
    metrics_port: int = 0

    async def in_progress(self, kind: str) -> int:
        """How many requests of a kind are in progress, by the metrics."""
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{self.metrics_port}/metrics")).text
        start = f'converter_api_in_progress{{kind="{kind}"}} '
        (line,) = (line for line in page.splitlines() if line.startswith(start))
        return int(float(line.removeprefix(start)))

    def peak_memory(self) -> int:
        """The most memory that the process has had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@asynccontextmanager
async def gateway_process(
    url: str, folder: Path, before: Callable[[], None] | None = None, **settings: str
) -> AsyncIterator[tuple[GatewayProcess, httpx.AsyncClient]]:
    """The API over the API server at ``url``, ready, and a client of it, until the block ends.

    ``before`` runs in the new process before the program starts. Tokens are not needed, unless
    ``settings`` say so.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(
            str(ROOT / part) for part in ("operator", "gateway", "converter-module")
        ),
        "KUBECONFIG": str(write_kubeconfig(folder / "kubeconfig", url)),
        "GATEWAY_AUTH": "network",
        "GATEWAY_PORT": "0",
        "GATEWAY_METRICS_PORT": "0",
    }
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "converter_gateway"),
            env=environment | settings,
            stdout=output,
            stderr=output,
            preexec_fn=before,
        )
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    try:
        port = await _port(process, log, "port")
        gateway = GatewayProcess(process, port, log, _logged_port(log, "metrics_port") or 0)
        base = f"http://127.0.0.1:{gateway.port}"
        async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client:
            yield gateway, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _port(process: asyncio.subprocess.Process, log: Path, name: str) -> int:
    """A port that the kernel chose, from the log."""
    async with asyncio.timeout(60):
        while (port := _logged_port(log, name)) is None:
            assert process.returncode is None, f"it has ended, see {log}"
            await asyncio.sleep(0.05)
    return port


def _logged_port(log: Path, name: str) -> int | None:
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith("{") and name in (entry := json.loads(line)):
            return int(entry[name])
    return None
