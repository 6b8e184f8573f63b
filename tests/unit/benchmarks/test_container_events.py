"""The times of containers, from the events of containerd."""

from __future__ import annotations

import time

import pytest
from benchmarks.container_events import ContainerTimes, monotonic

BEGIN = "2026-11-28 10:30:00"
EPOCH = 1795861800.0
"""The same time."""


@pytest.mark.parametrize(
    ("line", "started", "ended"),
    [
        ('/tasks/start {"container_id":"a","pid":7}', {"a": EPOCH + 0.25}, {}),
        ('/tasks/exit {"container_id":"a","id":"a","pid":7}', {}, {"a": EPOCH + 0.25}),
        ('/tasks/exit {"container_id":"a","id":"probe","pid":8}', {}, {}),
        ('/tasks/create {"container_id":"a"}', {}, {}),
    ],
    ids=["start", "end", "end of another process in it", "something else"],
)
def test_a_line(line: str, started: dict[str, float], ended: dict[str, float]) -> None:
    times = ContainerTimes()
    times.take(f"{BEGIN}.250000000 +0000 UTC k8s.io {line}\n")
    assert times.started == pytest.approx(started)
    assert times.ended == pytest.approx(ended)


def test_a_time_without_a_fraction() -> None:
    times = ContainerTimes()
    times.take(f'{BEGIN} +0000 UTC k8s.io /tasks/start {{"container_id":"a"}}')
    assert times.started == {"a": EPOCH}


def test_the_clock_of_the_observer() -> None:
    assert monotonic(time.time()) == pytest.approx(time.monotonic(), abs=0.1)
