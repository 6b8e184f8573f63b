"""The limits that make the benchmarks of the operator fail.

All are ratios within one run, because a machine may be slow or busy. None is an absolute time.
docs/performance.md has the targets, which are stricter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RATE: Final = 0.5
"""Conversions finished per second, divided by plain Jobs finished per second. At least."""
PACE: Final = 0.9
"""Conversions finished per second at an offered load, divided by this load. At least."""
CONTROLLER_MANAGER: Final = 2.0
"""CPU time of the controller manager for one conversion, divided by that for one plain Job. At
most."""
GROWTH: Final = 1.5
"""CPU time of the operator for one conversion with the most waiting conversions, divided by that
with the fewest. At most."""
RECONCILES_GROWTH: Final = 1.5
"""The same for the reconciles of one conversion. At most."""
WRITES_GROWTH: Final = 2.0
"""The same for the writes of the operator to Jobs and ConversionJobs. A conversion that waits for
more than 30 s needs one more, and some positions are refreshed. At most."""
KIND_RATE: Final = 0.8
"""Conversions in real pods finished per second, divided by plain Jobs finished per second. At
least."""


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


def growth_violations(
    cpu_ms: Mapping[int, float],
    reconciles: Mapping[int, float],
    writes: Mapping[int, float],
    handled: Mapping[int, bool],
) -> list[str]:
    """What is wrong with a run of bench_operator.py. All by the number of waiting conversions.

    ``handled`` is False if a phase ended before all conversions were handled.
    """
    fewest, most = min(cpu_ms), max(cpu_ms)
    found = [
        f"With {waiting} waiting conversions, not all were handled in time."
        for waiting, complete in handled.items()
        if not complete
    ]
    for what, each, limit in (
        ("CPU time", cpu_ms, GROWTH),
        ("number of reconciles", reconciles, RECONCILES_GROWTH),
        ("number of writes", writes, WRITES_GROWTH),
    ):
        growth = each[most] / each[fewest]
        if growth > limit:
            found.append(
                f"With {most} waiting conversions, the {what} of each is {growth:.2f} times that "
                f"with {fewest}; at most {limit} is allowed."
            )
    return found


def kind_violations(limits: Mapping[str, Mapping[str, Any]], count: int) -> list[str]:
    """What is wrong with a run of bench_kind.py. The figures by limit."""
    found = []
    for limit, figures in limits.items():
        if figures["ratio"] < KIND_RATE:
            found.append(
                f"At limit {limit}, the rate is {figures['ratio']:.2f} of that of plain Jobs; at "
                f"least {KIND_RATE} is required."
            )
        for what in ("plain Jobs", "conversions"):
            phases = figures[what]
            if sum(p["finished"] for p in phases) < count or any(p["failed"] for p in phases):
                found.append(f"At limit {limit}, not all {what} have succeeded.")
        live = max(phase["most_live_pods"] for phase in figures["conversions"])
        if live > int(limit):
            found.append(f"{live} pods were live; the limit is {limit}.")
    return found
