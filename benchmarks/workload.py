"""Creates conversions, and plain Jobs with the same pod template."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks.kind_cluster import CONVERSIONS, JOBS
from benchmarks.kube import Kube, Obj, run_watched
from benchmarks.observer import Observer

CREATORS: Final = 8
JOBS_ARE_KEPT: Final = 120
"""Seconds. The operator keeps a finished Job as long."""

Creator = Callable[[str], Awaitable[object]]


async def create_all(
    names: list[str], observer: Observer, create: Creator, *, at_most: int | None = None
) -> None:
    """Creates objects as fast as the API server allows, with a few requests at a time.

    With ``at_most``, so many are unfinished at a time, as an ideal operator does.
    """
    waiting = iter(names)

    async def creator() -> None:
        for name in waiting:
            while at_most is not None and observer.unfinished >= at_most:
                await observer.next_end()
            observer.submitted[name] = time.monotonic()
            try:
                await create(name)
            except asyncio.CancelledError:
                del observer.submitted[name]  # it may not exist
                raise

    await asyncio.gather(*(creator() for _ in range(CREATORS)))


async def create_at_pace(
    names: list[str], observer: Observer, create: Creator, per_second: float
) -> None:
    """Creates objects one after the other, at a constant pace."""
    begin = time.monotonic()
    tasks = []
    for number, name in enumerate(names):
        await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
        observer.submitted[name] = time.monotonic()
        tasks.append(asyncio.ensure_future(create(name)))
    await asyncio.gather(*tasks)


def plain_job(name: str, template: Obj) -> Obj:
    """A Job that is like that of a conversion and belongs to nobody."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": JOBS_ARE_KEPT,
            "template": template,
        },
    }


class Workload:
    """``conversion`` makes the ConversionJob with a name, and ``job`` the plain Job with it."""

    def __init__(
        self,
        kube: Kube,
        conversion: Callable[[str], Obj],
        job: Callable[[str], Obj],
        parallel: int,
        seconds: float,
    ) -> None:
        self._kube, self._conversion, self._job = kube, conversion, job
        self._parallel, self._seconds = parallel, seconds

    async def create_conversion(self, name: str) -> None:
        await self._kube.post(CONVERSIONS, self._conversion(name))

    async def create_job(self, name: str) -> None:
        await self._kube.post(JOBS, self._job(name))

    async def conversions_at_once(self, observer: Observer, names: list[str]) -> None:
        await create_all(names, observer, self.create_conversion)
        await observer.until_finished(len(names), self._seconds)

    async def jobs_at_once(self, observer: Observer, names: list[str]) -> None:
        """Keeps the number of unfinished Jobs at the limit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await create_all(names, observer, self.create_job, at_most=self._parallel)
        await observer.until_finished(len(observer.submitted), self._seconds)

    async def at_pace(
        self, observer: Observer, names: list[str], create: Creator, per_second: float
    ) -> None:
        await create_at_pace(names, observer, create, per_second)
        await observer.until_finished(len(names), 30)


async def learn_template(kube: Kube, conversion: Obj) -> dict[str, Any]:
    """The pod template of a conversion, without what marks its pods as the operator's."""
    observer = Observer(conversions=True)
    name = conversion["metadata"]["name"]

    async def convert() -> None:
        observer.submitted[name] = time.monotonic()
        await kube.post(CONVERSIONS, conversion)
        if not await observer.until_finished(1, 90):
            raise RuntimeError("the first conversion does not finish")
        if observer.failed:
            raise RuntimeError(f"the first conversion fails: {observer.failed}")

    await run_watched(kube, {CONVERSIONS: observer.take_conversion}, convert())
    (job,) = (await kube.get(JOBS))["items"]
    template: dict[str, Any] = job["spec"]["template"]
    template["metadata"] = {"labels": {"app": "plain"}}
    return template
