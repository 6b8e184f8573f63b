"""Reads the CPU and memory limits of this container, and limits the size of files.

The limits of the container come from its control group, version 1 or 2.

By default, tools start one thread per core of the host. A pod with one CPU on a host with 64 cores
would run 64 encoder threads, which need too much memory. So every tool gets a thread count.
"""

import math
import os
import resource
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

MAX_THREADS: Final = 16
"""More threads make the encoder's output worse without making it faster."""

# Version 1 writes a number near 2**63 if there is no limit.
_NO_LIMIT: Final = 1 << 60
_SMALLEST_FILE_SIZE_LIMIT: Final = 65_536

ReadText = Callable[[str], str | None]


class Limits(NamedTuple):
    """``threads`` is the thread count for tools. ``memory`` is in bytes, None if unlimited.

    ``stall_seconds`` is how long a tool may take that prints no progress.
    """

    threads: int
    memory: int | None
    stall_seconds: float = 300.0


def read_text(path: str) -> str | None:
    """The text of a small file; None if it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            return file.read(4096).decode("ascii", "replace")
    except OSError:
        return None


def read_limits(read: ReadText = read_text, cpus: int | None = None) -> Limits:
    """The limits of this container. ``cpus`` is the number of CPUs that this process may use."""
    available = cpus or len(os.sched_getaffinity(0))
    quota = _quota(read)
    threads = available if quota is None else min(available, math.ceil(quota))
    return Limits(threads=max(1, min(MAX_THREADS, threads)), memory=_memory(read))


def oom_kills(read: ReadText = read_text) -> int:
    """How many processes of this container the kernel has killed for lack of memory."""
    text = read("/sys/fs/cgroup/memory.events") or read("/sys/fs/cgroup/memory/memory.oom_control")
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill":
            return _number(value) or 0
    return 0


def limit_file_size(max_bytes: int) -> None:
    """Let neither this process nor a tool write a file of more than ``max_bytes``.

    The kernel ends a tool that tries. The report must fit too, so the limit is never smaller than
    the largest report. Also forbids core dumps, which would contain the content of the file.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = max(max_bytes, _SMALLEST_FILE_SIZE_LIMIT)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def file_size_limit() -> int:
    """How many bytes a file may have that this process writes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _quota(read: ReadText) -> float | None:
    """How many CPUs the quota allows. None if there is no quota."""
    unified = read("/sys/fs/cgroup/cpu.max")
    if unified is not None:
        quota, _, period = unified.strip().partition(" ")
    else:
        quota = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or ""
        period = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or ""
    numerator, denominator = _number(quota), _number(period)
    return numerator / denominator if numerator and denominator else None


def _memory(read: ReadText) -> int | None:
    text = read("/sys/fs/cgroup/memory.max") or read("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    limit = _number(text or "")
    return limit if limit is not None and limit < _NO_LIMIT else None


def _number(text: str) -> int | None:
    """A whole number. None for any other text, such as ``max`` and -1, which mean no limit."""
    stripped = text.strip()
    return int(stripped) if stripped.isdigit() else None
