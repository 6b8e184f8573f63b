"""When the containers of a kind node started and ended, from containerd's own events.

The kubelet looks at its containers once a second. So a container that runs for less than a second
may never appear as running in the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

_LINE: Final = re.compile(
    r"^(?P<second>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?P<fraction>\.\d+)? \+0000 UTC \S+ "
    r"/tasks/(?P<what>start|exit) (?P<body>\{.*\})$"
)
_MOST_SECONDS: Final = "900"


@dataclass(slots=True)
class ContainerTimes:
    """Times since the epoch, by the id of the container."""

    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    def take(self, line: str) -> None:
        """Takes one line of ``ctr events``."""
        match = _LINE.match(line.strip())
        if match is None:
            return
        begin = datetime.strptime(match["second"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        moment = begin.timestamp() + float(match["fraction"] or 0)
        body = json.loads(match["body"])
        container = body["container_id"]
        if match["what"] == "start":
            self.started[container] = moment
        elif body.get("id", container) == container:  # otherwise a process that exec started
            self.ended[container] = moment


def monotonic(moment: float) -> float:
    """A time since the epoch on the clock of time.monotonic(). Nodes share this machine's clock."""
    return moment - time.time() + time.monotonic()


@asynccontextmanager
async def container_times(node: str) -> AsyncIterator[ContainerTimes]:
    """Follows the events of the node."""
    times = ContainerTimes()
    process = await asyncio.create_subprocess_exec(
        *("docker", "exec", node, "timeout", _MOST_SECONDS, "ctr", "-n", "k8s.io", "events"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def follow() -> None:
        if process.stdout is None:
            raise RuntimeError("docker has no standard output")
        async for line in process.stdout:
            times.take(line.decode())

    task = asyncio.create_task(follow())
    try:
        yield times
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await task
