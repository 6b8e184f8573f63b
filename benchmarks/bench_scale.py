"""Compares many conversions with as many plain Jobs, on a kind cluster with simulated nodes.

    python benchmarks/bench_scale.py [--size 1000] [--parallel 500] [--keep-cluster]

kwok simulates nodes and pods: a pod runs for 0.3 s and succeeds with the converter's report. The
control plane and the operator are real. The operator is deployed from deploy/overlays/kind. Plain
batch/v1 Jobs have the pod template of a conversion. All phases run one after the other:

1. pace: plain Jobs, then conversions, 10 a second.
2. saturation: plain Jobs, of which --parallel are alive; then conversions, all at once, with
   CONVERTER_MAX_PARALLEL = --parallel.
3. restart: the operator's pod is deleted, while conversions are created.

Prints the figures, stores them in .tools/bench/scale-SIZE.json with a chart beside it, and fails if
a ratio is beyond benchmarks/scale_limits.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in (".", "operator", "converter-module")]

from benchmarks.kind_cluster import (  # noqa: E402
    CONVERSIONS,
    FOLDER,
    JOBS,
    NAMESPACE,
    OPERATOR_NAMESPACE,
    OPERATOR_PODS,
    PODS,
    KindCluster,
    configure,
    step,
    stop_http_api,
)
from benchmarks.kube import Kube, Obj, Taker, connected, run_watched  # noqa: E402
from benchmarks.observer import Observer  # noqa: E402
from benchmarks.plot import Points, line_chart  # noqa: E402
from benchmarks.processes import NodeProcess, cpu_seconds, node_processes, parse_samples  # noqa: E402
from benchmarks.scale_limits import violations  # noqa: E402
from benchmarks.workload import Workload, learn_template, plain_job  # noqa: E402

from tests.component.support.scripts import report  # noqa: E402
from tests.component.support.tools import conversion_job  # noqa: E402

CLUSTER: Final = KindCluster("mynetwork-test-scale")
FAKE_NODES: Final = 4
TAINT: Final = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
SELECTOR: Final = {"type": "kwok"}
POD_SETTINGS: Final = yaml.safe_dump(
    {"nodeSelector": SELECTOR, "tolerations": [TAINT | {"operator": "Equal"}]}
)
OFFERED_PER_SECOND: Final = 10
OFFERED_SECONDS: Final = 15
_DELETION_SECONDS: Final = 900
LAG: Final = "converter_event_loop_lag_seconds"


# The nodes


def prepare_kwok() -> list[str]:
    """Builds kwok and writes its configuration. Returns its command line."""
    stages = (ROOT / "benchmarks" / "stages.yaml").read_text(encoding="utf-8")
    config = FOLDER / "stages.yaml"
    # An admission policy allows only kubelets to write the states of converter pods.
    access = yaml.safe_load(CLUSTER.kubeconfig.read_text(encoding="utf-8"))
    access["users"][0]["user"] |= {"as": "kwok", "as-groups": ["system:masters", "system:nodes"]}
    kubeconfig = FOLDER / "kwok.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(access), encoding="utf-8")
    kubeconfig.chmod(0o600)
    config.write_text(stages.replace(" REPORT\n", f" {json.dumps(report())}\n"), encoding="utf-8")
    built = subprocess.run(
        [str(ROOT / "hack" / "go-build"), "kwok"], check=True, stdout=subprocess.PIPE, text=True
    )
    return [
        f"{built.stdout.strip()}/kwok",
        f"--kubeconfig={kubeconfig}",
        f"--config={config}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
    ]


@asynccontextmanager
async def simulated_nodes(kube: Kube, command: list[str]) -> AsyncIterator[int]:
    """Runs kwok with its nodes. Gives its process id."""
    for number in range(FAKE_NODES):
        name = f"kwok-{number}"
        metadata = {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": SELECTOR | {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        }
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": metadata,
            "spec": {"taints": [TAINT]},
        }
        await kube.post("/api/v1/nodes", node)
    with (FOLDER / "kwok.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=log,
            stderr=log,
        )
        try:
            yield process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
            for number in range(FAKE_NODES):  # or a kept cluster would not be healthy
                await kube.delete(f"/api/v1/nodes/kwok-{number}")


# What is measured


class Meter:
    """CPU time of each process, requests, and the operator's event loop, between two moments."""

    def __init__(self, kube: Kube, kwok: int) -> None:
        self._kube, self._kwok = kube, kwok
        self.longest_stall = 0.0
        self.peak_mebibytes = 0.0

    def _cpu(self) -> dict[str, NodeProcess]:
        found = node_processes(CLUSTER.node)
        if operator := found.get("operator"):
            self.peak_mebibytes = max(self.peak_mebibytes, operator.peak_mebibytes)
        return found

    async def measured(
        self, observer: Observer, work: Callable[[Observer], Coroutine[Any, Any, None]]
    ) -> dict[str, Any]:
        """Runs ``work`` and returns what it cost for each conversion or Job that finished."""
        before, requests = self._cpu(), await self._kube.count_requests()
        others = {"kwok": self._kwok, "benchmark": os.getpid()}
        used = {name: cpu_seconds(pid) for name, pid in others.items()}
        takers: dict[str, Taker] = {JOBS: observer.take_job, PODS: observer.take_pod}
        if observer.conversions:
            takers[CONVERSIONS] = observer.take_conversion
        stalls = asyncio.create_task(self._follow_stalls())
        await run_watched(self._kube, takers, work(observer))
        stalls.cancel()
        await self._read_stall()
        after, requested = self._cpu(), await self._kube.count_requests()
        count = max(1, len(observer.finished))
        cpu = {
            name: process.cpu_seconds - before[name].cpu_seconds
            for name, process in after.items()
            if name in before and before[name].pid == process.pid
        }
        cpu |= {name: cpu_seconds(pid) - used[name] for name, pid in others.items()}
        return {
            "submitted": len(observer.submitted),
            "finished": len(observer.finished),
            "failed": sorted(set(observer.failed.values())),
            "per_second": round(observer.rate, 2),
            "per_second_after_submission": round(observer.rate_after_submission, 2),
            **observer.latencies(),
            "most_live_pods": observer.most_live,
            "finished_over_time": observer.finished_over_time(),
            "cpu_ms_each": {name: round(1000 * value / count, 2) for name, value in cpu.items()},
            "requests_each": {
                name: round(number / count, 2)
                for name, number in (requested - requests).most_common()
                if number / count >= 0.01
            },
        }

    async def _follow_stalls(self) -> None:
        while True:
            await asyncio.sleep(10)  # each reading starts a process in the node
            await self._read_stall()

    async def _read_stall(self) -> None:
        pods = (await self._kube.get(OPERATOR_PODS))["items"]
        for pod in pods:
            address = pod["status"].get("podIP")
            if not address:
                continue
            process = await asyncio.create_subprocess_exec(
                *("docker", "exec", CLUSTER.node, "curl", "-s", "-m", "5"),
                f"http://{address}:8080/metrics",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            text, _ = await process.communicate()
            lag = parse_samples(text.decode()).get(LAG, 0.0)
            self.longest_stall = max(self.longest_stall, lag)


# The phases


async def time_restart(kube: Kube, seconds: float) -> float | None:
    """The longest time without a new Job, in seconds, while the operator's pod is replaced.

    Conversions are created five times a second for ``seconds``, so that one always waits. None if
    the longest time has not ended by then.
    """
    jobs: list[float] = []

    def take_job(event: str, _: Obj, now: float) -> None:
        if event == "ADDED":
            jobs.append(now)

    async def restart() -> None:
        jobs.append(time.monotonic())
        for pod in (await kube.get(OPERATOR_PODS))["items"]:
            name = pod["metadata"]["name"]
            await kube.delete(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{name}")
        for number in range(int(5 * seconds)):
            await kube.post(CONVERSIONS, conversion_job(f"restart-{number}", NAMESPACE))
            await asyncio.sleep(0.2)

    await run_watched(kube, {JOBS: take_job}, restart())
    now = time.monotonic()
    longest = max((end - begin for begin, end in itertools.pairwise(sorted(jobs))), default=0.0)
    return round(longest, 2) if longest > now - max(jobs) else None


async def until_no_job_is_left(kube: Kube) -> None:
    """Wait until the Jobs of the phase before are deleted, two minutes after their end.

    To delete a Job with its pod costs the control plane as much as to create it. Otherwise the next
    phase would pay for it.
    """
    async with asyncio.timeout(_DELETION_SECONDS):
        while (await kube.get(f"{JOBS}?limit=1"))["items"]:  # noqa: ASYNC110 (controllers do it)
            await asyncio.sleep(2)


async def run(kwok_command: list[str], size: int, parallel: int, seconds: float) -> dict[str, Any]:
    """All phases. Returns the figures."""
    async with connected(CLUSTER.kubeconfig) as kube, simulated_nodes(kube, kwok_command) as kwok:
        await stop_http_api(kube)
        await configure(kube, parallel, CONVERTER_POD_SETTINGS=POD_SETTINGS)
        template = await learn_template(kube, conversion_job("warm-up", NAMESPACE))
        workload = Workload(
            kube,
            lambda name: conversion_job(name, NAMESPACE),
            lambda name: plain_job(name, template),
            parallel,
            seconds,
        )
        meter = Meter(kube, kwok)
        names = [f"{number:06}" for number in range(size)]
        paced = names[: OFFERED_PER_SECOND * OFFERED_SECONDS]
        figures: dict[str, Any] = {"size": size, "parallel": parallel}

        async def phase(title: str, work: Callable[[Observer], Coroutine[Any, Any, None]]) -> None:
            step(f"waiting for the deletion of all Jobs, then: {title}")
            await until_no_job_is_left(kube)
            step(title)
            observer = Observer(conversions="conversions" in title)
            figures[title] = await meter.measured(observer, work)
            store(figures)
            shown = {k: v for k, v in figures[title].items() if not isinstance(v, dict | list)}
            step(f"{title}: {shown}")

        await phase(
            "paced plain Jobs",
            lambda o: workload.at_pace(
                o, [f"pp-{n}" for n in paced], workload.create_job, OFFERED_PER_SECOND
            ),
        )
        await phase(
            "paced conversions",
            lambda o: workload.at_pace(
                o, [f"pc-{n}" for n in paced], workload.create_conversion, OFFERED_PER_SECOND
            ),
        )
        await phase("plain Jobs", lambda o: workload.jobs_at_once(o, [f"p-{n}" for n in names]))
        await phase(
            "conversions", lambda o: workload.conversions_at_once(o, [f"c-{n}" for n in names])
        )
        if figures["conversions"]["finished"] == size:
            step("waiting for the deletion of all Jobs, then: restart")
            await until_no_job_is_left(kube)
        step("restart")
        figures["restart_seconds"] = await time_restart(kube, max(30, size / 500))
    plain, ours = figures["plain Jobs"], figures["conversions"]
    manager = "controller manager"
    figures["rate"] = round(ours["per_second"] / max(0.01, plain["per_second"]), 3)
    paced_plain, paced_ours = figures["paced plain Jobs"], figures["paced conversions"]
    figures["pace"] = round(paced_ours["per_second"] / max(0.01, paced_plain["per_second"]), 3)
    figures["controller_manager"] = round(
        ours["cpu_ms_each"][manager] / max(0.01, plain["cpu_ms_each"][manager]), 2
    )
    figures["longest_loop_stall_seconds"] = meter.longest_stall
    figures["operator_peak_mebibytes"] = round(meter.peak_mebibytes, 1)
    return figures


def store(figures: dict[str, Any]) -> None:
    """Keeps the figures, also those of an incomplete run."""
    output = FOLDER / f"scale-{figures['size']}.json"
    output.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    series: dict[str, Points] = {
        title: figures[title]["finished_over_time"]
        for title in ("plain Jobs", "conversions")
        if title in figures
    }
    chart = line_chart("seconds", "finished", series)
    output.with_suffix(".svg").write_text(chart, encoding="utf-8")


def describe(figures: dict[str, Any]) -> str:
    """All figures as text, without the points of the chart."""
    shown = {
        title: {key: value for key, value in found.items() if key != "finished_over_time"}
        if isinstance(found, dict)
        else found
        for title, found in figures.items()
    }
    return yaml.safe_dump(shown, sort_keys=False, width=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=500)
    parser.add_argument("--seconds", type=float, help="the longest time of a phase")
    parser.add_argument("--keep-cluster", action="store_true")
    args = parser.parse_args()
    seconds = args.seconds or max(90.0, args.size / 8)
    with CLUSTER.running("--fast", keep=args.keep_cluster):
        figures = asyncio.run(run(prepare_kwok(), args.size, args.parallel, seconds))
    store(figures)
    print(describe(figures))
    found = violations(
        figures["rate"],
        figures["pace"],
        figures["controller_manager"],
        max(figures[p]["most_live_pods"] for p in ("paced conversions", "conversions")),
        args.parallel,
    )
    for sentence in found:
        print(sentence, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
