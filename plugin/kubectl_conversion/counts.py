"""Counts of conversions: what ``stats`` and ``top`` show. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_conversion.model import Conversion, items_at, number_at, text_at

_IN_SLOTS = ("Starting", "Running")


@dataclass(frozen=True, slots=True)
class TypeStats:
    """The conversions of one type."""

    conversion_type: str
    waiting: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    median_seconds: float | None
    output_bytes: int


def by_type(conversions: Iterable[Conversion]) -> list[TypeStats]:
    """One row for each conversion type, and for each profile. Visits each conversion once."""
    groups: dict[str, list[Conversion]] = {}
    for conversion in conversions:
        groups.setdefault(conversion.kind, []).append(conversion)
    return [_stats(name, group) for name, group in sorted(groups.items())]


def _stats(name: str, group: Sequence[Conversion]) -> TypeStats:
    phases = Counter(conversion.phase for conversion in group)
    times = [c.seconds for c in group if c.phase == "Succeeded" and c.seconds is not None]
    return TypeStats(
        conversion_type=name,
        waiting=phases["Pending"] + phases["Queued"],
        running=phases["Starting"] + phases["Running"],
        succeeded=phases["Succeeded"],
        failed=phases["Failed"],
        cancelled=phases["Cancelled"],
        median_seconds=statistics.median(times) if times else None,
        output_bytes=sum(c.output_size or 0 for c in group if c.finished),
    )


def reasons(conversions: Iterable[Conversion], *phases: str) -> list[tuple[str, int]]:
    """How many conversions in one of the phases have each reason, the most frequent first."""
    found = Counter(c.reason for c in conversions if c.phase in phases)
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True, slots=True)
class Share:
    """The slots of one namespace in one queue. None is not known."""

    queue: str
    namespace: str
    running: int
    waiting: int
    limit: int | None = None
    weight: int | None = None
    stop_policy: str = ""


def shares(conversions: Iterable[Conversion], queues: Sequence[Mapping[str, Any]]) -> list[Share]:
    """Who has slots and who waits. ``conversions`` are those that the caller may list.

    A queue that has no conversion has a row without a namespace. Visits each conversion once.
    """
    counts: dict[tuple[str, str], Counter[bool]] = {}
    for c in conversions:
        if not c.finished:
            counts.setdefault((c.queue, c.namespace), Counter())[c.phase in _IN_SLOTS] += 1
    specs = {text_at(queue, "metadata", "name"): queue for queue in queues}
    for name, queue in specs.items():
        for item in items_at(queue, "status", "namespaces"):
            key = name, text_at(item, "name")
            if key not in counts:
                # Conversions of others: their queue tells their numbers.
                waits = (number_at(item, "queued") or 0) + (number_at(item, "blocked") or 0)
                running = number_at(item, "running") or 0
                counts[key] = Counter({True: running, False: waits})
    rows = [
        _share(queue, namespace, found, specs.get(queue, {}))
        for (queue, namespace), found in counts.items()
        if found[True] or found[False]
    ]
    empty = [
        _share(name, "", Counter(), spec)
        for name, spec in specs.items()
        if name not in {r.queue for r in rows}
    ]
    return sorted(
        [*rows, *empty], key=lambda row: (-row.running, -row.waiting, row.queue, row.namespace)
    )


def _share(queue: str, namespace: str, found: Counter[bool], spec: Mapping[str, Any]) -> Share:
    own = next(
        (item for item in items_at(spec, "spec", "namespaces") if item.get("name") == namespace), {}
    )
    limit = number_at(own, "maxParallel")
    return Share(
        queue=queue,
        namespace=namespace,
        running=found[True],
        waiting=found[False],
        limit=number_at(spec, "spec", "maxParallel") if limit is None else limit,
        weight=number_at(own, "weight"),
        stop_policy=text_at(spec, "spec", "stopPolicy"),
    )
