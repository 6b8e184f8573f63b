"""How long a page of conversions takes in a replica, and what the sorted names cost it.

    make bench-page

Prints milliseconds for 5 000 and 20 000 conversions of one namespace, without HTTP.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime
from typing import Any, cast

from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import parse_conversion
from conversion_operator.cluster.objects import ObjectList
from converter_gateway.browse import Browser, Query
from converter_gateway.listing import Filter
from converter_gateway.records import record_of
from converter_gateway.service import Service
from converter_gateway.store import Store

SIZES = (5_000, 20_000)
REPEATS = 15
PHASES = ("Queued", "Queued", "Succeeded", "Succeeded", "Succeeded", "Failed", "Running")


def body(number: int) -> dict[str, Any]:
    name = f"conversion-{number:06}"
    phase = PHASES[number % len(PHASES)]
    minute, second = divmod(number, 60)
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": f"uid-{number}",
            "resourceVersion": str(number + 1),
            "generation": 1,
            "creationTimestamp": f"2026-01-02T{minute // 60 % 24:02}:{minute % 60:02}:{second:02}Z",
        },
        "spec": {
            "conversionType": "video_to_mp4",
            "inputFile": f"videos/2026/{name}/holiday.mov",
            "outputFile": f"output/2026/{name}/holiday.mp4",
        },
        "status": {"phase": phase, "reason": "R", "message": "m", "conditions": []},
    }


class Kept:
    """A service that has only a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def store(self, _: str) -> Store:
        return self._store

    def now(self) -> datetime:
        return datetime.now(UTC)


async def median(browser: Browser, query: Query) -> float:
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        await browser.page("n", query)
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


async def main() -> None:
    for size in SIZES:
        records = tuple(record_of(parse_conversion(body(number))) for number in range(size))
        store = Store()
        store.begin_list()
        store.replace(ObjectList(records, str(size)))
        browser = Browser(cast("Service", Kept(store)))
        for title, query in (
            ("first 50", Query()),
            ("first 200", Query(limit=200)),
            ("first 50 that wait", Query(frozenset({Phase.QUEUED}))),
            ("search, all match", Query(filter=Filter(search="holiday"))),
            ("search, none match", Query(filter=Filter(search="winter"))),
            (
                "search of those that wait",
                Query(frozenset({Phase.QUEUED}), Filter(search="holiday")),
            ),
        ):
            print(f"{size:6} {title:26} {await median(browser, query):7.2f} ms")
        running = next(record for record in records if record.phase is Phase.RUNNING)
        begun = time.perf_counter()
        for _ in range(200):
            store.listing.move(running, None)
            store.listing.move(None, running)
        spent = (time.perf_counter() - begun) / 200 * 1e6
        print(f"{size:6} {'remove and add a name':26} {spent:7.1f} us")


if __name__ == "__main__":
    asyncio.run(main())
