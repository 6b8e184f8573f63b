"""Measures for how long the operator's event loop stands still when all conversions are visited.

    python benchmarks/bench_stalls.py [--objects 50000] [--waiting 10000] [--source FOLDER]

The operator is in this process, and knows the conversions. There is no API server. The figures are
the CPU time of the event loop's thread between two turns of another task, the longest one of each
case, so other processes do not matter. --source is the checkout whose operator is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent


def find_source() -> Path:
    """The folder after --source. It is needed before the operator is imported."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--source", type=Path, default=ROOT)
    source: Path = parser.parse_known_args()[0].source
    return source


sys.path[:0] = [str(find_source() / part) for part in ("operator", "converter-module", ".")]

from kubernetes.aio.client import Configuration  # noqa: E402

from conversion_operator.app import Operator  # noqa: E402
from conversion_operator.cluster.client import Cluster  # noqa: E402
from conversion_operator.cluster.settings import LiveSettings  # noqa: E402
from conversion_operator.controller import garbage  # noqa: E402
from conversion_operator.controller.settings import Settings  # noqa: E402
from conversion_operator.core.ended import without_unused  # noqa: E402
from tests.unit.operator.builders import (  # noqa: E402
    at,
    children,
    conversion,
    job,
    running,
    step,
    succeeded,
)


async def longest(work: Coroutine[Any, Any, None]) -> str:
    """The longest CPU time between two turns of another task, and all of it."""
    task, most, total = asyncio.create_task(work), 0.0, 0.0
    while not task.done():
        begin = time.thread_time()
        await asyncio.sleep(0)
        spent = time.thread_time() - begin
        most, total = max(most, spent), total + spent
    await task
    return f"longest {1000 * most:.0f} ms of {1000 * total:.0f} ms"


def fill(operator: Operator, objects: int, waiting: int) -> None:
    """Gives the operator conversions of which so many wait. The others have ended."""
    begun = step(conversion(), children(job(), running()))[1]
    ended = step(begun, children(job(), succeeded()))[1]
    for number in range(objects):
        paths: dict[str, Any] = {"inputFile": f"in/{number}", "outputFile": f"out/{number}.mp4"}
        made = conversion(f"u{number}", created=at(number), **paths)
        if number >= waiting:
            made = without_unused(replace(made, status=ended.status))
        operator.store.update(made)


async def write_lease(operator: Operator) -> None:
    """What precedes a write of the Lease while all conversions are marked."""
    operator._leadership.term = operator._admitter._taken_over_term = 1
    slots: Any = operator._admitter.slots_to_record()
    if inspect.isawaitable(slots):
        await slots


async def reviewed(operator: Operator, begin: Callable[[], None]) -> None:
    """Begins, and waits until all conversions are enqueued."""
    begin()
    reviews = getattr(operator, "_reviews", None)
    if reviews is not None:
        task = asyncio.create_task(reviews.run())
        while reviews._waiting:  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0)
        task.cancel()


def change_settings(operator: Operator) -> None:
    """What follows a change of the ConfigMap."""
    operator.take_settings({"CONVERTER_MAX_PARALLEL": "7"})


async def measure(objects: int, waiting: int) -> None:
    """Prints one line for each case."""
    operator = Operator(Cluster(Configuration(), "bench"), LiveSettings(Settings), "bench")
    fill(operator, objects, waiting)
    garbage.limit_collections()
    cases: dict[str, Coroutine[Any, Any, None]] = {
        "a write of the Lease": write_lease(operator),
        "lists that become known": reviewed(operator, lambda: operator._on_synced("my-network")),
        "a change of the settings": reviewed(operator, lambda: change_settings(operator)),
    }
    print(f"{objects} conversions, {waiting} of them wait")
    for name, work in cases.items():
        print(f"  {name}: {await longest(work)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--source", type=Path, default=ROOT)
    args = parser.parse_args()
    asyncio.run(measure(args.objects, args.waiting))


if __name__ == "__main__":
    main()
