"""A run of a benchmark fails if a ratio regresses."""

from __future__ import annotations

import pytest
from benchmarks.scale_limits import growth_violations, kind_violations, violations

GOOD = {"rate": 0.75, "pace": 0.99, "controller_manager": 1.2, "live": 500, "limit": 500}


def test_a_run_that_reaches_the_targets_passes() -> None:
    assert not violations(**GOOD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ratio", "value", "word"),
    [
        ("rate", 0.2, "rate"),
        ("pace", 0.5, "pace"),
        ("controller_manager", 5.6, "controller manager"),
        ("live", 501, "pods"),
    ],
)
def test_each_ratio_is_limited(ratio: str, value: float, word: str) -> None:
    (sentence,) = violations(**GOOD | {ratio: value})  # type: ignore[arg-type]
    assert word in sentence


def test_the_cost_must_not_grow_with_the_queue() -> None:
    cpu, handled = {200: 3.0, 2_000: 4.4}, {200: True, 2_000: True}
    reconciles, writes = {200: 8.0, 2_000: 11.9}, {200: 4.0, 2_000: 4.8}
    assert not growth_violations(cpu, reconciles, writes, handled)
    grown = {200: 13.0, 1_000: 15.0, 2_000: 20.0}
    (sentence,) = growth_violations(grown, reconciles, writes, handled)
    assert "With 2000 waiting conversions, the CPU time of each is 1.54 times" in sentence
    (sentence,) = growth_violations(cpu, {200: 8.0, 2_000: 13.0}, writes, handled)
    assert "number of reconciles" in sentence
    (sentence,) = growth_violations(cpu, reconciles, {200: 4.0, 2_000: 8.1}, handled)
    assert "number of writes" in sentence
    (sentence,) = growth_violations(cpu, reconciles, writes, handled | {2_000: False})
    assert "not all were handled" in sentence


def test_conversions_in_real_pods_are_as_fast_as_plain_jobs() -> None:
    half = {"finished": 30, "failed": [], "most_live_pods": 3}
    good = {"ratio": 1.0, "plain Jobs": [half, half], "conversions": [half, half]}
    assert not kind_violations({"3": good}, 60)
    (sentence,) = kind_violations({"3": good | {"ratio": 0.5}}, 60)
    assert "At limit 3" in sentence
    (sentence,) = kind_violations({"3": good | {"conversions": [half]}}, 60)
    assert "not all conversions" in sentence
    failed = [half, half | {"failed": ["x"]}]
    (sentence,) = kind_violations({"3": good | {"plain Jobs": failed}}, 60)
    assert "not all plain Jobs" in sentence
    (sentence,) = kind_violations({"2": good}, 60)
    assert "3 pods were live" in sentence
