"""Measures what many watched namespaces cost the operator, while nothing happens and in each one.

    python benchmarks/bench_namespaces.py [--namespaces 300] [--mode list,all] [--seconds 120]
                                          [--rest 60] [--profile FILE]

No cluster is needed. The API server of the component tests runs in this process, and the operator
in another one, so only the operator's CPU time counts. Two phases follow each other:

1. idle: the operator watches all namespaces, and nothing happens. This takes --seconds, after
   --rest seconds in which the operator comes to rest.
2. one: one conversion is created in each namespace, one after the other. The time is from the
   create request to the phase Succeeded, without the time in which the pod runs.

With the mode ``list``, WATCH_NAMESPACES has the names of the namespaces. With ``all``, it is "*".
All figures go to .tools/bench/namespaces.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in (".", "operator", "converter-module")]

from benchmarks.api_server import BenchmarkServer  # noqa: E402
from benchmarks.bench_operator import Run, profiled  # noqa: E402
from benchmarks.percentiles import percentile  # noqa: E402
from benchmarks.processes import cpu_seconds, free_port, peak_mebibytes  # noqa: E402

from tests.component.running import config_map  # noqa: E402
from tests.component.support import NAMESPACE  # noqa: E402
from tests.component.support.scripts import succeed  # noqa: E402
from tests.component.support.tools import conversion_job  # noqa: E402
from tests.support.operator_process import operator_process  # noqa: E402

FIGURES = ROOT / ".tools" / "bench" / "namespaces.json"
_START_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 1.0


@dataclass(slots=True)
class Result:
    """One run of the benchmark."""

    mode: str
    namespaces: int
    start_seconds: float = 0.0
    start_cpu_seconds: float = 0.0
    idle_cpu_seconds_per_minute: float = 0.0
    idle_requests_per_minute: dict[str, float] = field(default_factory=dict)
    conversion_seconds_p50: float = 0.0
    conversion_seconds_p99: float = 0.0
    conversion_seconds_longest: float = 0.0
    cpu_ms_per_conversion: float = 0.0
    longest_stall_at_the_start_seconds: float = 0.0
    longest_stall_later_seconds: float = 0.0
    peak_mebibytes: float = 0.0


def watches_of(server: BenchmarkServer, each: int) -> bool:
    """Whether each kind has so many open watches."""
    found = Counter(watch.request.plural for watch in server.api.watches())
    return all(found[kind] >= each for kind in ("conversionjobs", "jobs", "pods"))


async def convert(server: BenchmarkServer, namespace: str) -> float:
    """Creates one conversion, and returns how long it takes to its end without its pod's run."""
    begun, finished = time.monotonic(), server.progress.finished
    uid = server.api.create(conversion_job("one", namespace))["metadata"]["uid"]
    async with asyncio.timeout(60):
        while uid not in finished:
            await server.api.storage.changed.wait(_POLL_SECONDS)
    return time.monotonic() - begun


async def measure(
    mode: str, count: int, seconds: float, rest: float, profile: Path | None
) -> Result:
    """Runs the two phases."""
    result, port = Result(mode, count), free_port()
    names = [f"team-{number:04}" for number in range(count)]
    server = BenchmarkServer()
    server.cluster.default = succeed(run_seconds=0.0)
    for name in names:
        server.api.add_namespace(name)
    server.api.create(config_map(WATCH_NAMESPACES="*" if mode == "all" else ",".join(names)))
    gc.freeze()
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    # In a cluster, kopf loads the certificate of the API server for each namespace. Here it would
    # load those of the machine, which takes 50 ms.
    no_certificates = FIGURES.parent / "no-certificates.pem"
    no_certificates.touch()
    environment = {
        "POD_NAMESPACE": NAMESPACE,
        "POD_NAME": "bench",
        "PROBE_PORT": str(port),
        "SSL_CERT_FILE": str(no_certificates),
        "SSL_CERT_DIR": "",
    }
    await server.api.start()
    try:
        begun = time.monotonic()
        async with operator_process(server.api.url, FIGURES.parent, **environment) as process:
            run = Run(server, process.pid, port, seconds)
            each = 1 if mode == "all" else count
            await server.api.until(lambda: watches_of(server, each), _START_SECONDS)
            result.start_seconds = time.monotonic() - begun
            result.start_cpu_seconds = cpu_seconds(process.pid)
            await run.read_metrics()
            result.longest_stall_at_the_start_seconds, run.longest_stall = run.longest_stall, 0.0
            await asyncio.sleep(rest)
            server.count_requests()
            server.requests.clear()
            async with profiled(process.pid, profile):
                cpu = cpu_seconds(process.pid)
                await asyncio.sleep(seconds)
                cpu = cpu_seconds(process.pid) - cpu
            minutes = seconds / 60
            result.idle_cpu_seconds_per_minute = cpu / minutes
            server.count_requests()
            result.idle_requests_per_minute = {
                what: round(number / minutes, 1) for what, number in server.requests.most_common()
            }
            cpu = cpu_seconds(process.pid)
            times = [await convert(server, name) for name in names]
            result.cpu_ms_per_conversion = 1000 * (cpu_seconds(process.pid) - cpu) / count
            result.conversion_seconds_p50 = percentile(times, 50)
            result.conversion_seconds_p99 = percentile(times, 99)
            result.conversion_seconds_longest = max(times)
            await run.read_metrics()
            result.longest_stall_later_seconds = run.longest_stall
            result.peak_mebibytes = round(peak_mebibytes(process.pid), 1)
    finally:
        await server.api.stop()
    return result


def describe(result: Result) -> str:
    """The figures of one run, one a line."""
    lines = [f"{result.namespaces} namespaces, mode {result.mode}"]
    for name, value in asdict(result).items():
        if isinstance(value, float):
            lines.append(f"  {name}: {value:.3f}")
    lines.append("  requests in an idle minute:")
    lines += [
        f"    {value:8.1f}  {what}" for what, value in result.idle_requests_per_minute.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=300)
    parser.add_argument("--mode", default="list,all", help="list, all or both, with a comma")
    parser.add_argument("--seconds", type=float, default=120, help="how long to measure idle time")
    parser.add_argument("--rest", type=float, default=60, help="how long to wait before that")
    parser.add_argument("--profile", type=Path, help="a file for the stacks of the idle time")
    args = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    results = []
    for mode in args.mode.split(","):
        results.append(
            asyncio.run(measure(mode, args.namespaces, args.seconds, args.rest, args.profile))
        )
        print(describe(results[-1]), flush=True)
        FIGURES.write_text(
            json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
