"""The limits that make `make bench-scale` and `make bench-operator` fail.

All are ratios within one run, because a machine may be slow or busy. None is an absolute time.
docs/performance.md has the targets, which are stricter.
"""

from __future__ import annotations

from typing import Final

RATE: Final = 0.5
"""Conversions finished per second, divided by plain Jobs finished per second. At least."""
PACE: Final = 0.9
"""Conversions finished per second at an offered load, divided by this load. At least."""
CONTROLLER_MANAGER: Final = 2.0
"""CPU time of the controller manager for one conversion, divided by that for one plain Job. At
most."""
GROWTH: Final = 2.0
"""CPU time of the operator for one conversion with the most waiting conversions, divided by that
with the fewest. At most."""


def violations(
    rate: float, pace: float, controller_manager: float, live: int, limit: int
) -> list[str]:
    """What is wrong with a run of bench_scale.py, one sentence each."""
    found = []
    if rate < RATE:
        found.append(f"The rate is {rate:.2f} of that of plain Jobs; at least {RATE} is required.")
    if pace < PACE:
        found.append(f"The pace is {pace:.2f} of the offered load; at least {PACE} is required.")
    if controller_manager > CONTROLLER_MANAGER:
        found.append(
            f"The controller manager needs {controller_manager:.2f} times the CPU of a plain Job; "
            f"at most {CONTROLLER_MANAGER} is allowed."
        )
    if live > limit:
        found.append(f"{live} pods were live; the limit is {limit}.")
    return found


def growth_violations(cpu_ms: dict[int, float]) -> list[str]:
    """What is wrong with a run of bench_operator.py. CPU time by the number of waiting ones."""
    fewest, most = min(cpu_ms), max(cpu_ms)
    growth = cpu_ms[most] / cpu_ms[fewest]
    if growth <= GROWTH:
        return []
    return [
        f"With {most} waiting conversions, each costs {growth:.1f} times the CPU time that it "
        f"costs with {fewest}; at most {GROWTH} is allowed."
    ]
