"""Slots are shared fairly between namespaces, whatever runs for how long."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_operator.cluster.admissions import MAX_TIMES, format_times, parse_times
from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.children import Children
from conversion_operator.core.conversion_queues import ConversionQueues
from conversion_operator.core.fair_sharing import VirtualTimes
from conversion_operator.core.model import Conversion
from conversion_operator.core.queue import Queue
from conversion_operator.core.start_limits import MAX_ADMISSIONS
from tests.unit.operator.builders import POLICY, at, conversion


@dataclass
class Tenants:
    """Namespaces with conversions that run for some time. Each start and each end is a pass."""

    limit: int
    weights: dict[str, int]
    restarts: bool = False
    now: float = 0.0
    conversions: dict[str, Conversion] = field(default_factory=dict)
    reserved: dict[str, str] = field(default_factory=dict)
    ends: list[tuple[float, str]] = field(default_factory=list)
    times: VirtualTimes = field(default_factory=VirtualTimes)
    passed_over: Counter[str] = field(default_factory=Counter)
    admitted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        queues = ConversionQueues(weights=self.weights)
        self.policy = replace(POLICY, max_parallel=self.limit, queues=queues)
        self.queue = Queue(
            lambda uid: (self.conversions.get(uid), Children()),
            lambda *_: (),
            self.reserved,
            self.policy,
        )

    def submit(self, namespace: str, **spec: Any) -> None:
        uid = f"{namespace}-{len(self.admitted) + len(self.conversions):06}"
        subject = conversion(
            uid, created=at(self.now), namespace=namespace, inputFile=uid, outputFile=f"{uid}.mp4"
        )
        self.conversions[uid] = replace(subject, **spec)
        self.queue.observe(uid)

    def held(self, namespace: str) -> int:
        return sum(name == namespace for name in self.reserved.values())

    def start(self, seconds: dict[str, float]) -> None:
        """Start what may start, one after the other, and count who is passed over."""
        while True:
            time = at(self.now)
            self.queue.update(time)
            held = self.queue.slots_held()
            if self.restarts:
                self.times = VirtualTimes(parse_times(format_times(self.times.to_record())))
            selection = AdmissionPass(
                self.queue, time, Obstacles(), list(self.queue.namespaces), self.times
            ).select(max(held, self.limit - 1) if held < self.limit else held)
            if not selection.start:
                return
            self.times = selection.times
            [uid] = selection.start
            name = self.conversions[uid].key.namespace
            waiting = {
                c.key.namespace for u, c in self.conversions.items() if u not in self.reserved
            }
            for other in waiting - {name}:
                if not self.held(other):
                    self.passed_over[other] += 1
            self.passed_over[name] = 0
            self.admitted.append(name)
            self.reserved[uid] = name
            self.queue.observe(uid)
            heapq.heappush(self.ends, (self.now + seconds[name], uid))

    def finish_one(self) -> None:
        self.now, uid = heapq.heappop(self.ends)
        del self.reserved[uid], self.conversions[uid]
        self.queue.observe(uid)


RUN_TIMES = st.sampled_from([0.3, 1.0, 7.0, 60.0, 3600.0, 20_000.0])


@settings(max_examples=60)
@given(
    st.sampled_from([1, 2, 3, 10]),
    st.lists(RUN_TIMES, min_size=2, max_size=6),
    st.lists(st.integers(1, 4), min_size=6, max_size=6),
    st.booleans(),
)
def test_nobody_without_a_slot_is_passed_over_twice_for_the_same_namespace(
    limit: int, run_times: list[float], backlogs: list[int], restarts: bool
) -> None:
    """Also if another one has many older conversions, and if each pass has another leader."""
    seconds = {f"n{number}": time for number, time in enumerate(run_times)}
    tenants = Tenants(limit, {}, restarts)
    for name in seconds:
        tenants.submit(name)
    for _ in range(60):
        for name, backlog in zip(seconds, backlogs, strict=False):
            waiting = sum(
                c.key.namespace == name and uid not in tenants.reserved
                for uid, c in tenants.conversions.items()
            )
            for _ in range(backlog - waiting):
                tenants.submit(name)
        tenants.start(seconds)
        assert max(tenants.passed_over.values()) <= len(seconds) - 1
        tenants.finish_one()


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("slowest", [1.0, 3.0])
def test_shares_follow_the_weights(limit: int, slowest: float) -> None:
    weights = {"a": 1, "b": 1, "c": 2}
    seconds = {"a": 1.0, "b": slowest, "c": 1.0}
    tenants = Tenants(limit, weights)
    for step in range(1000):
        for name in weights:
            unfinished = [c.key.namespace for c in tenants.conversions.values()].count(name)
            for _ in range(unfinished, limit + 3):
                tenants.submit(name)
        tenants.start(seconds)
        for name, weight in weights.items():
            assert abs(tenants.held(name) - limit * weight / 4) <= 1, (step, name)
        tenants.finish_one()
    if limit == 1:
        counted = Counter(tenants.admitted)
        for name, weight in weights.items():
            assert abs(counted[name] - len(tenants.admitted) * weight / 4) <= 1


def test_a_priority_does_not_count_between_namespaces() -> None:
    tenants = Tenants(1, {})
    tenants.submit("a")
    tenants.now += 1
    spec = conversion(priority=100).spec
    tenants.submit("b", spec=spec)
    tenants.start({"a": 1.0, "b": 1.0})
    assert tenants.admitted == ["a"]


def test_a_namespace_that_was_away_has_no_advantage() -> None:
    """And it does not wait longer than the others."""
    tenants = Tenants(1, {})
    for _ in range(50):
        tenants.submit("a")
    for _ in range(20):
        tenants.start({"a": 1.0})
        tenants.finish_one()
    for _ in range(10):
        tenants.submit("b")
    for _ in range(10):
        tenants.start({"a": 1.0, "b": 1.0})
        tenants.finish_one()
    assert Counter(tenants.admitted[20:]) == {"a": 5, "b": 5}


def test_the_virtual_times_survive_on_the_lease() -> None:
    times = VirtualTimes()
    for name in ("a", "b", "a", "c"):
        times.admit(name, 1)
    recorded = times.to_record()
    assert parse_times(format_times(recorded)) == recorded
    assert list(recorded) == list(VirtualTimes(recorded).to_record()) == ["b", "a", "c"]
    many = {f"n{n}": n for n in range(MAX_TIMES + 5)}
    assert list(parse_times(format_times(many))) == list(many)[5:]
    for bad in (None, 3, "x", "a=-1", "a=99999999999", "A B=3"):
        assert parse_times(bad) == {}


def test_an_admission_for_which_the_lease_has_no_room_is_charged_to_nobody() -> None:
    tenants = Tenants(10 * MAX_ADMISSIONS, {})
    for name in ("a", "b", "c"):
        tenants.submit(name)
    for number in range(MAX_ADMISSIONS - 1):
        tenants.reserved[f"busy-{number}"] = "busy"
    tenants.queue.update(at(1))
    held = tenants.queue.slots_held()
    selection = AdmissionPass(
        tenants.queue, at(1), Obstacles(), tenants.queue.namespaces, tenants.times
    ).select(held)
    (started,) = selection.start
    assert started.startswith("a-")
    assert list(selection.times.to_record()) == ["a"]
