"""Many conversions are enqueued in slices, so that they do not stop the event loop."""

from __future__ import annotations

import asyncio

from kubernetes.aio.client import Configuration

from conversion_operator.app import Operator
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.reviews import SLICE, Reviews
from conversion_operator.controller.settings import Settings
from tests.unit.operator.builders import conversion


async def test_others_run_between_the_slices() -> None:
    found: list[str] = []
    reviews = Reviews(lambda uid, _: found.append(uid))
    wanted = [f"u{number}" for number in range(5 * SLICE + 1)]
    reviews.add(wanted)
    running, most = asyncio.create_task(reviews.run()), 0
    while len(found) < len(wanted):
        before = len(found)
        await asyncio.sleep(0)
        most = max(most, len(found) - before)
    running.cancel()
    assert (found, most) == (wanted, SLICE)


async def test_one_that_waits_keeps_the_higher_priority() -> None:
    found: dict[str, bool] = {}
    reviews = Reviews(found.__setitem__)
    reviews.add(["a", "b", "c"], low_priority=True)
    reviews.add(["b"])
    reviews.add(["b"], low_priority=True)
    running = asyncio.create_task(reviews.run())
    await asyncio.sleep(0)
    assert found == {"a": True, "b": False, "c": True}
    reviews.add(["d"])
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    assert found["d"] is False


async def test_the_lease_is_written_without_a_stall_after_many_changes() -> None:
    operator = Operator(Cluster(Configuration(), "test"), LiveSettings(Settings), "test")
    admitter = operator._admitter
    for number in range(2_000):
        uid = f"u{number}"
        operator.store.update(conversion(uid, outputFile=f"out/{number}.mp4"))
    admitter._taken_over_term = operator._leadership.term
    assert admitter.queue.to_update == 2_000
    most = 0
    recording = asyncio.create_task(admitter.slots_to_record())
    while not recording.done():
        before = admitter.queue.to_update
        await asyncio.sleep(0)
        most = max(most, before - admitter.queue.to_update)
    assert admitter.queue.to_update == 0
    assert most <= SLICE
