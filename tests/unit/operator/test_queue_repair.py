"""The loop that repairs the queue."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conversion_operator.controller import queue_repair
from conversion_operator.core.model import Conversion
from tests.unit.operator.builders import POLICY, at, conversion
from tests.unit.operator.queueing import new_queue

COUNT = 5


async def test_a_change_that_no_event_reported_wakes_the_admitter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last slice has fewer conversions than the others, and is compared, too."""
    monkeypatch.setattr(queue_repair, "_INTERVAL", 0.0)
    monkeypatch.setattr(queue_repair, "_SLICE", 2)
    known: dict[str, Conversion] = {f"u{n}": conversion(f"u{n}") for n in range(COUNT)}
    queue = new_queue(known, {}, POLICY)
    woken = asyncio.Event()
    context: Any = SimpleNamespace(
        store=SimpleNamespace(all_uids=lambda: tuple(known)),
        cluster=SimpleNamespace(now=lambda: at(1)),
    )
    admitter = cast("Any", SimpleNamespace(queue=queue, wake=woken.set))
    task = asyncio.create_task(queue_repair.repair_queue(context, admitter))
    try:
        for uid in tuple(known):
            woken.clear()
            caplog.clear()
            known[uid] = replace(known[uid], cancel=True)
            with caplog.at_level(logging.WARNING):
                await asyncio.wait_for(woken.wait(), 10)
            assert [record.getMessage() for record in caplog.records] == [
                f"The queue had missed a change of {uid}"
            ]
        woken.clear()
        known.pop("u0")
        await asyncio.wait_for(woken.wait(), 10)
        assert "u0" not in queue.known_uids()
    finally:
        task.cancel()
