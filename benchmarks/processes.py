"""What Linux and /metrics say about a running process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_IN_NODE: Final = {
    "kube-apiserver ": "API server",
    "etcd ": "etcd",
    "kube-controller-manager ": "controller manager",
    "kube-scheduler ": "scheduler",
    "conversion_operator": "operator",
}


def cpu_seconds(pid: int) -> float:
    """The CPU time that all threads of a process have used."""
    # The second field is the name of the command, in parentheses. It may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def peak_mebibytes(pid: int) -> float:
    """The highest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ValueError(f"process {pid} has no VmHWM")
    return int(found[1]) / 1024


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def read_metrics(url: str) -> dict[str, float]:
    """The samples of a Prometheus endpoint, by name with labels. Empty if it does not answer."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return {}
    return parse_samples(text)


def parse_samples(text: str) -> dict[str, float]:
    """The samples of an exposition for Prometheus, by name with labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines if name}


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A process in a container."""

    pid: int
    cpu_seconds: float
    peak_mebibytes: float


def node_processes(container: str) -> dict[str, NodeProcess]:
    """The processes of the control plane and the operator in the container of a kind node."""
    script = (
        "for p in /proc/[0-9]*; do "
        "echo \"$(tr '\\0' ' ' <$p/cmdline | cut -c1-200)|$(cat $p/stat)|"
        '$(grep VmHWM $p/status)"; done 2>/dev/null; true'
    )
    done = subprocess.run(
        ["docker", "exec", container, "sh", "-c", script],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = {}
    for line in done.stdout.splitlines():
        command, _, rest = line.partition("|")
        stat, _, memory = rest.partition("|")
        name = next((name for part, name in _IN_NODE.items() if part in command), None)
        fields = stat.rpartition(")")[2].split()
        kibibytes = re.search(r"(\d+) kB", memory)
        if name and len(fields) > 12 and kibibytes:
            cpu = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
            pid = int(stat.split(" ", 1)[0])
            found[name] = NodeProcess(pid, cpu, int(kibibytes[1]) / 1024)
    return found
