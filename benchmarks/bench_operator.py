"""Measures the operator's own CPU time, memory and event loop with many waiting conversions.

    python benchmarks/bench_operator.py [--waiting 1000,4000,10000] [--parallel 500]
                                        [--seconds 120] [--profile FILE]

No cluster is needed. The API server of the component tests runs in this process, and the operator
in another one, so only the operator's CPU time counts. Three phases follow each other:

1. queue: the operator starts with all conversions, and CONVERTER_MAX_PARALLEL is 0. The phase ends
   when each conversion has a status.
2. run: CONVERTER_MAX_PARALLEL is --parallel. The phase ends when all conversions have finished.
3. cleanup: the API server's clock moves on by more than two minutes. The phase ends when all
   finished Jobs are deleted.

Each phase also ends after --seconds. What it cost is divided by the conversions that it handled.
The sum of the three quotients is the CPU time for one conversion. All figures go to
.tools/bench/operator.json. With several sizes, the benchmark fails if the CPU time, the number of
reconciles or the number of writes of one conversion grows by more than benchmarks/scale_limits.py
allows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in (".", "operator", "converter-module")]

from benchmarks.api_server import BenchmarkServer  # noqa: E402
from benchmarks.percentiles import percentile  # noqa: E402
from benchmarks.processes import (  # noqa: E402
    cpu_seconds,
    free_port,
    peak_mebibytes,
    read_metrics,
)
from benchmarks.scale_limits import growth_violations  # noqa: E402

from tests.component.running import config_map  # noqa: E402
from tests.component.support import NAMESPACE  # noqa: E402
from tests.support.operator_process import operator_process  # noqa: E402

FIGURES = ROOT / ".tools" / "bench" / "operator.json"
LAG: Final = "converter_event_loop_lag_seconds"
RECONCILES: Final = "converter_reconciles_total"
_POLL_SECONDS: Final = 1.0
_WRITES: Final = ("create", "patch", "update", "delete")
_JOBS_ARE_KEPT: Final = 130.0


@dataclass(slots=True)
class Phase:
    """What one phase cost. ``handled`` counts conversions."""

    handled: int
    complete: bool
    wall_seconds: float
    cpu_seconds: float

    @property
    def cpu_ms_each(self) -> float:
        """At least the phase's own CPU time, if it handled none."""
        return 1000 * self.cpu_seconds / max(1, self.handled)


@dataclass(slots=True)
class Result:
    """One run of the benchmark."""

    waiting: int
    parallel: int
    start_cpu_seconds: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)
    cpu_ms_per_conversion: float = 0.0
    conversions_per_cpu_second: float = 0.0
    reconciles_per_conversion: float = 0.0
    longest_loop_stall_seconds: float = 0.0
    peak_mebibytes: float = 0.0
    most_live_pods: int = 0
    first_job_seconds: float | None = None
    end_to_finished_p50: float | None = None
    end_to_finished_p99: float | None = None
    requests_per_conversion: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if each phase has handled all conversions."""
        return all(phase.complete for phase in self.phases.values())

    @property
    def writes_per_conversion(self) -> float:
        """Writes to Jobs and ConversionJobs. Others, such as Events, do not count."""
        return sum(
            number
            for what, number in self.requests_per_conversion.items()
            if (verb := what.split()[0]) in _WRITES
            and what.removeprefix(verb).split("/")[0].strip() in ("jobs", "conversionjobs")
        )


class Run:
    """One operator with its conversions."""

    def __init__(self, server: BenchmarkServer, pid: int, port: int, seconds: float) -> None:
        self._server, self._pid, self._seconds = server, pid, seconds
        self._url = f"http://127.0.0.1:{port}/metrics"
        self.longest_stall = 0.0
        self.reconciles = 0.0

    async def phase(
        self, wanted: int, handled: Callable[[], int], start: Awaitable[None] | None = None
    ) -> Phase:
        """Waits until ``handled`` has grown by ``wanted``, or the time is over.

        ``start`` lets the operator begin. What it does meanwhile is a part of the phase.
        """
        begin, cpu, before = time.monotonic(), cpu_seconds(self._pid), handled()
        if start is not None:
            await start
        while (done := handled() - before) < wanted:
            if time.monotonic() - begin >= self._seconds:
                break
            await self._server.api.storage.changed.wait(_POLL_SECONDS)
        now = time.monotonic()
        return Phase(done, done >= wanted, now - begin, cpu_seconds(self._pid) - cpu)

    async def watch_metrics(self) -> None:
        """Follows the operator's gauge until cancelled. The gauge covers more than a minute."""
        while True:
            await self.read_metrics()
            self._server.count_requests()
            await asyncio.sleep(_POLL_SECONDS)

    async def read_metrics(self) -> None:
        found = await read_metrics(self._url)
        self.longest_stall = max(self.longest_stall, found.get(LAG, 0.0))
        self.reconciles = max(self.reconciles, found.get(RECONCILES, 0.0))


@asynccontextmanager
async def served(waiting: int) -> AsyncIterator[BenchmarkServer]:
    """The API server with conversions that nobody has seen yet."""
    server = BenchmarkServer()
    server.api.create(config_map(CONVERTER_MAX_PARALLEL="0"))
    server.add_conversions(waiting)
    gc.freeze()  # or each collection visits all these objects
    await server.api.start()
    try:
        yield server
    finally:
        await server.api.stop()


async def measure(
    waiting: int, parallel: int, seconds: float, profile: Path | None = None
) -> Result:
    """Runs the three phases."""
    result = Result(waiting, parallel)
    port = free_port()
    environment = {"POD_NAMESPACE": NAMESPACE, "POD_NAME": "bench", "PROBE_PORT": str(port)}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    async with (
        served(waiting) as server,
        operator_process(server.api.url, FIGURES.parent, **environment) as process,
        profiled(process.pid, profile),
    ):
        run, progress = Run(server, process.pid, port, seconds), server.progress
        while not server.api.audit.requests:  # Python's imports cost the same for any number
            await server.api.storage.changed.wait(_POLL_SECONDS)
        result.start_cpu_seconds = cpu_seconds(process.pid)
        watcher = asyncio.create_task(run.watch_metrics())
        result.phases["queue"] = await run.phase(waiting, lambda: len(progress.queued))
        opened = time.monotonic()
        server.configure(converter_max_parallel=str(parallel))
        result.phases["run"] = await run.phase(waiting, lambda: len(progress.finished))
        finished = len(progress.finished)
        result.phases["cleanup"] = await run.phase(
            finished - progress.jobs_deleted,
            lambda: progress.jobs_deleted,
            start_cleanup(server),
        )
        await run.read_metrics()
        watcher.cancel()
        server.count_requests()
        result.peak_mebibytes = round(peak_mebibytes(process.pid), 1)
    result.cpu_ms_per_conversion = sum(phase.cpu_ms_each for phase in result.phases.values())
    result.conversions_per_cpu_second = 1000 / result.cpu_ms_per_conversion
    result.longest_loop_stall_seconds = run.longest_stall
    result.reconciles_per_conversion = run.reconciles / max(1, finished)
    result.most_live_pods = progress.most_live_pods
    if progress.first_job_at is not None:
        result.first_job_seconds = progress.first_job_at - opened
    if progress.report_seconds:
        result.end_to_finished_p50 = percentile(progress.report_seconds, 50)
        result.end_to_finished_p99 = percentile(progress.report_seconds, 99)
    result.requests_per_conversion = {
        what: round(count / max(1, finished), 3) for what, count in server.requests.most_common()
    }
    result.failures = dict(server.describe_failures())
    return result


async def start_cleanup(server: BenchmarkServer) -> None:
    """Lets the operator delete the Jobs of all conversions that have finished."""
    server.configure(converter_max_parallel="0")
    await server.pass_time(_JOBS_ARE_KEPT)
    server.configure(converter_lost_seconds="901")  # the operator looks at all conversions


@asynccontextmanager
async def profiled(pid: int, output: Path | None) -> AsyncIterator[None]:
    """Writes what the operator does to a file, in the format raw of py-spy."""
    if output is None:
        yield
        return
    py_spy = shutil.which("py-spy")
    if py_spy is None:
        raise SystemExit("--profile needs py-spy on the PATH (pip install py-spy)")
    process = await asyncio.create_subprocess_exec(
        *(py_spy, "record", "--pid", str(pid), "--format", "raw", "--rate", "50"),
        *("--duration", "unlimited", "--output", str(output)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(2)  # py-spy writes the file on SIGINT
        await process.wait()


def describe(result: Result) -> str:
    """The figures of one run, one a line."""
    lines = [f"{result.waiting} waiting, at most {result.parallel} at a time"]
    for name, phase in result.phases.items():
        end = "" if phase.complete else ", not complete"
        lines.append(
            f"  {name}: {phase.handled} in {phase.wall_seconds:.1f} s{end}, CPU "
            f"{phase.cpu_seconds:.1f} s, {phase.cpu_ms_each:.2f} ms each"
        )
    for name, value in asdict(result).items():
        if name not in ("phases", "waiting", "parallel", "requests_per_conversion"):
            lines.append(
                f"  {name}: {value:.3f}" if isinstance(value, float) else f"  {name}: {value}"
            )
    lines.append("  requests per finished conversion:")
    lines += [f"    {value:8.3f}  {what}" for what, value in result.requests_per_conversion.items()]
    return "\n".join(lines)


def store(results: list[Result]) -> None:
    """Keeps the figures as JSON."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    figures: list[dict[str, Any]] = [asdict(result) for result in results]
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", default="1000,4000,10000", help="sizes, separated by commas")
    parser.add_argument("--parallel", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120, help="the longest time of a phase")
    parser.add_argument("--profile", type=Path, help="a file for the stacks that py-spy records")
    args = parser.parse_args()
    # At its end, the operator closes connections while the server answers.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    results = []
    for waiting in map(int, args.waiting.split(",")):
        result = asyncio.run(measure(waiting, args.parallel, args.seconds, args.profile))
        results.append(result)
        print(describe(result), flush=True)
        store(results)
    if len(results) > 1:
        found = growth_violations(
            {r.waiting: r.cpu_ms_per_conversion for r in results},
            {r.waiting: r.reconciles_per_conversion for r in results},
            {r.waiting: r.writes_per_conversion for r in results},
            {r.waiting: r.complete for r in results},
        )
        for sentence in found:
            print(sentence, file=sys.stderr)
        sys.exit(bool(found))


if __name__ == "__main__":
    main()
