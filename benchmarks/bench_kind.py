"""Compares tiny conversions in real pods with as many plain Jobs, on a kind cluster.

    python benchmarks/bench_kind.py [--count 60] [--limits 3,6,12] [--keep-cluster]

The operator is deployed from deploy/overlays/kind. Each conversion makes an image of 32 by 32
pixels smaller. Plain batch/v1 Jobs have the pod template of a conversion. All phases run one after
the other:

1. one at a time: plain Jobs, then conversions. This shows where the time of one conversion goes.
2. for each limit: plain Jobs, of which as many as the limit are alive, and conversions, all at
   once, with CONVERTER_MAX_PARALLEL = the limit. Each half is a phase: plain Jobs, conversions,
   conversions, plain Jobs. So a machine that becomes busier slows both down.

Prints the figures, stores them in .tools/bench/kind.json, and fails if a ratio is beyond
benchmarks/scale_limits.py.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import functools
import itertools
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in (".", "operator", "converter-module")]

from benchmarks.container_events import ContainerTimes, container_times, monotonic  # noqa: E402
from benchmarks.kind_cluster import (  # noqa: E402
    CONVERSIONS,
    FOLDER,
    JOBS,
    NAMESPACE,
    PODS,
    KindCluster,
    configure,
    step,
    stop_http_api,
)
from benchmarks.kube import Kube, Obj, Taker, connected, run_watched  # noqa: E402
from benchmarks.observer import Observer  # noqa: E402
from benchmarks.percentiles import percentile  # noqa: E402
from benchmarks.scale_limits import kind_violations  # noqa: E402
from benchmarks.workload import Workload, create_all, learn_template, plain_job  # noqa: E402

from tests.component.support.tools import conversion_job  # noqa: E402
from tests.load.media import write_image  # noqa: E402

CLUSTER: Final = KindCluster("mynetwork-test-bench")
INPUT: Final = "input/tiny.png"
SIDE: Final = 32
ONE_AT_A_TIME: Final = 6
PHASE_SECONDS: Final = 150.0
# Twelve pods fit into two cores beside the control plane.
REQUESTS: Final = {"CONVERTER_REQUESTS_CPU": "20m", "CONVERTER_REQUESTS_MEMORY": "64Mi"}
STEPS: Final = (
    "apply -> Job",
    "Job -> container starts",
    "container runs",
    "container ends -> pod ends",
    "pod ends -> Finished",
)


def output(name: str) -> str:
    return f"output/bench/{name}.png"


def tiny_conversion(name: str) -> Obj:
    return conversion_job(
        name,
        NAMESPACE,
        conversionType="image_resize",
        inputFile=INPUT,
        outputFile=output(name),
        options={"size": "16x16"},
    )


def tiny_job(name: str, template: Obj) -> Obj:
    """A plain Job that writes an output of its own."""
    template = copy.deepcopy(template)
    (container,) = template["spec"]["containers"]
    for entry in container["env"]:
        if entry["name"] == "OUTPUT_FILE":
            entry["value"] = output(name)
    return plain_job(name, template)


def steps(observer: Observer, times: ContainerTimes) -> dict[str, dict[str, float]]:
    """Medians and 95th percentiles of each step, and of the whole, in seconds.

    Only of those whose times are all known: containerd may drop an event.
    """
    rows = []
    for container, name in observer.containers.items():
        if container not in times.started or container not in times.ended:
            continue
        moments = [
            observer.submitted.get(name),
            observer.job_seen.get(name),
            monotonic(times.started[container]),
            monotonic(times.ended[container]),
            observer.pod_ended.get(name),
            observer.finished.get(name),
        ]
        known = [moment for moment in moments if moment is not None]
        if len(known) == len(moments):
            differences = [b - a for a, b in itertools.pairwise(known)]
            rows.append([*differences, known[-1] - known[0]])
    if not rows:
        return {}
    return {
        title: {
            "p50": round(percentile(column, 50), 3),
            "p95": round(percentile(column, 95), 3),
        }
        for title, column in zip((*STEPS, "together"), zip(*rows, strict=True), strict=True)
    } | {"known": {"count": len(rows)}}


async def measured(
    kube: Kube, observer: Observer, work: Callable[[Observer], Awaitable[None]]
) -> dict[str, Any]:
    """Runs one phase, and removes its objects."""
    takers: dict[str, Taker] = {JOBS: observer.take_job, PODS: observer.take_pod}
    if observer.conversions:
        takers[CONVERSIONS] = observer.take_conversion

    async def run() -> None:
        await work(observer)

    async with container_times(CLUSTER.node) as times:
        await run_watched(kube, takers, run())
    figures = {
        "submitted": len(observer.submitted),
        "finished": len(observer.finished),
        "failed": sorted(set(observer.failed.values())),
        "per_second": round(observer.rate, 3),
        "most_live_pods": observer.most_live,
        "steps": steps(observer, times),
    }
    await clear(kube)
    return figures


def compare(plain: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratio of the rates, with the figures from which it comes."""
    plain_rate, our_rate = combined_rate(plain), combined_rate(ours)
    return {
        "ratio": round(our_rate / max(0.001, plain_rate), 3),
        "plain_per_second": round(plain_rate, 3),
        "conversions_per_second": round(our_rate, 3),
        "plain Jobs": plain,
        "conversions": ours,
    }


def combined_rate(phases: list[dict[str, Any]]) -> float:
    """Finished per second over several phases."""
    seconds = sum(phase["finished"] / max(0.001, phase["per_second"]) for phase in phases)
    return float(sum(phase["finished"] for phase in phases) / max(0.001, seconds))


async def clear(kube: Kube) -> None:
    """Deletes all conversions and Jobs, and waits until their pods are gone."""
    for path in (CONVERSIONS, JOBS):
        await kube.delete(path, propagationPolicy="Background")
    async with asyncio.timeout(60):
        while (await kube.get(PODS))["items"]:  # noqa: ASYNC110 (the garbage collector does it)
            await asyncio.sleep(0.5)


async def run(count: int, limits: list[int]) -> dict[str, Any]:
    """All phases. Returns the figures."""
    async with connected(CLUSTER.kubeconfig) as kube:
        await stop_http_api(kube)
        await clear(kube)  # a cluster that was kept may have objects
        await configure(kube, limits[0], **REQUESTS)
        template = await learn_template(kube, tiny_conversion("warm-up"))
        await clear(kube)

        def job(name: str) -> Obj:
            return tiny_job(name, template)

        figures: dict[str, Any] = {"count": count, "limits": {}}
        names = [f"{number:03}" for number in range(count)]
        one = Workload(kube, tiny_conversion, job, 1, PHASE_SECONDS)

        async def one_by_one(observer: Observer) -> None:
            create = one.create_conversion if observer.conversions else one.create_job
            kind = "c" if observer.conversions else "p"
            own = [f"{kind}-one-{number}" for number in range(ONE_AT_A_TIME)]
            async with asyncio.timeout(PHASE_SECONDS):
                await create_all(own, observer, create, at_most=1)
            await observer.until_finished(len(own), PHASE_SECONDS)

        async def phase(
            title: str, conversions: bool, work: Callable[[Observer], Awaitable[None]]
        ) -> dict[str, Any]:
            found = await measured(kube, Observer(conversions=conversions), work)
            step(f"{title}: {found}")
            return found

        figures["one at a time"] = {
            "plain Jobs": await phase("plain Jobs, one at a time", False, one_by_one),
            "conversions": await phase("conversions, one at a time", True, one_by_one),
        }
        for limit in limits:
            await configure(kube, limit)
            work = Workload(kube, tiny_conversion, job, limit, PHASE_SECONDS)
            phases: dict[str, list[dict[str, Any]]] = {"plain Jobs": [], "conversions": []}
            for half, ours in enumerate((False, True, True, False)):
                kind, begin = ("c", half - 1) if ours else ("p", half // 2)
                some = [f"{kind}-{limit}-{name}" for name in names[begin::2]]
                at_once = work.conversions_at_once if ours else work.jobs_at_once
                title = "conversions" if ours else "plain Jobs"
                found = await phase(
                    f"{title} at limit {limit}", ours, functools.partial(at_once, names=some)
                )
                phases[title].append(found)
            figures["limits"][str(limit)] = compare(phases["plain Jobs"], phases["conversions"])
            store(figures)
        return figures


def store(figures: Mapping[str, Any]) -> None:
    """Keeps the figures, also those of an incomplete run."""
    text = json.dumps(figures, indent=2) + "\n"
    (FOLDER / "kind.json").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--limits", default="3,6,12", help="separated by commas")
    parser.add_argument("--keep-cluster", action="store_true")
    args = parser.parse_args()
    limits = [int(text) for text in args.limits.split(",")]
    with CLUSTER.running(keep=args.keep_cluster):
        write_image(CLUSTER.volume / INPUT, SIDE)
        figures = asyncio.run(run(args.count, limits))
    print(yaml.safe_dump(figures, sort_keys=False, width=100))
    found = kind_violations(figures["limits"], args.count)
    for sentence in found:
        print(sentence, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
