"""The gauge shows the longest stall of at least the last minute."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge

from conversion_operator.controller.loop_lag import LoopLag


@pytest.mark.parametrize(
    ("observed", "shown"),
    [
        ([], 0.0),
        ([(0.2, 1), (0.1, 2)], 0.2),
        ([(0.2, 1), (0.3, 2)], 0.3),
        ([(0.2, 59), (0.1, 61), (0.1, 119)], 0.2),
        ([(0.2, 59), (0.1, 61), (0.0, 122)], 0.1),
        ([(0.2, 59), (0.0, 61), (0.0, 122)], 0.0),
    ],
)
def test_the_longest_lag_is_shown_for_a_minute(
    observed: list[tuple[float, float]], shown: float
) -> None:
    registry = CollectorRegistry()
    lag = LoopLag(Gauge("lag", "…", registry=registry), began=0.0)
    for seconds, now in observed:
        lag.observe(seconds, now)
    assert registry.get_sample_value("lag") == shown
