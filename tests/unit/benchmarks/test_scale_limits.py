"""A run of a benchmark fails if a ratio regresses."""

from __future__ import annotations

import pytest
from benchmarks.scale_limits import growth_violations, violations

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


def test_the_cpu_time_must_not_grow_with_the_queue() -> None:
    assert not growth_violations({1_000: 3.0, 10_000: 5.9})
    (sentence,) = growth_violations({1_000: 13.0, 4_000: 20.0, 10_000: 48.0})
    assert "With 10000 waiting" in sentence
