"""The findings of a chaos run, and which of them are violations. Reads only the volume."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.load.audit import Life, Peak, peak
from tests.load.media import BROKEN

TEMPORARY: Final = (".converter-*.part", "*.part")
_CAUSED_BY_FAULTS: Final = ("PodDeleted", "JobDeleted", "NodeLost", "Evicted", "StartError")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many pods may be alive: in all, in each queue, and of some namespaces in a queue."""

    total: int
    queues: Mapping[str, int]
    shares: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``bad`` is True for a violation."""

    what: str
    value: str
    bad: bool = False


def finished(conversion: Any) -> bool:
    """True if the conversion has finished."""
    return any(
        condition["type"] == "Finished" and condition["status"] == "True"
        for condition in conversion.get("status", {}).get("conditions", ())
    )


def wrong(conversion: Any, volume: Path, cancelled: Iterable[str]) -> str:
    """What is wrong with the result of a conversion; "" if it is right."""
    name, status = conversion["metadata"]["name"], conversion.get("status", {})
    phase, reason = status.get("phase"), status.get("reason")
    file = volume / conversion["spec"]["outputFile"]
    if phase == "Succeeded":
        if name.startswith(BROKEN):
            return f"{name}: Succeeded with a damaged input"
        if not file.is_file():
            return f"{name}: Succeeded without its file"
        content = file.read_bytes()
        stored = status["outputSize"], status["output"]["sha256"]
        if stored != (len(content), hashlib.sha256(content).hexdigest()):
            return f"{name}: the file differs from the status"
        return ""
    if file.exists():
        return f"{name}: {phase} ({reason}), but its file is there"
    if phase == "Cancelled":
        return "" if name in cancelled else f"{name}: Cancelled without a request"
    if not name.startswith(BROKEN) and reason not in _CAUSED_BY_FAULTS:
        return f"{name}: {phase} ({reason}) without a cause: {status.get('message')}"
    if name.startswith(BROKEN) and reason in _CAUSED_BY_FAULTS:
        return ""
    return "" if finished(conversion) else f"{name}: not finished ({phase}, {reason})"


def leftovers(jobs: Iterable[Any], pods: Iterable[Any], volume: Path) -> list[str]:
    """Jobs, pods and temporary files that still exist.

    Sweeps do not count: their Jobs stay for an hour on purpose.
    """
    kinds = (("Job", jobs), ("pod", pods))
    named = [(kind, item["metadata"]["name"]) for kind, items in kinds for item in items]
    left = [f"{kind} {name}" for kind, name in named if "-sweep" not in name]
    output = volume / "output"
    files = {path for pattern in TEMPORARY for path in output.rglob(pattern)}
    return left + sorted(f"file {path.relative_to(volume)}" for path in files)


def rows(
    conversions: list[Any],
    wrong_results: list[str],
    pods: list[Life],
    jobs: Counter[str],
    left: list[str],
    *,
    limits: Limits,
    wanted: int,
) -> list[Row]:
    """The rows of the table, except for durations and faults."""
    ends = Counter(str(item.get("status", {}).get("phase")) for item in conversions)
    namespaces = Counter(item["metadata"]["namespace"] for item in conversions)
    done = sum(finished(item) for item in conversions)
    attempts = Counter(
        str(attempt.get("reason"))
        for item in conversions
        for attempt in item.get("status", {}).get("attempts", ())
    )
    twice = {name: count for name, count in jobs.items() if count > 1}
    most = peak(pods)
    unseen = sum(life.ended is None for life in pods)
    logged = Counter(life.namespace for life in pods)
    # Otherwise the log could not show that a limit was exceeded.
    unlogged = namespaces.keys() - logged.keys()
    return [
        Row("conversions finished", f"{done} of {wanted}", done != wanted),
        Row("their ends", _counts(ends)),
        Row("their namespaces", _counts(namespaces)),
        Row("ends of the attempts kept", _counts(attempts)),
        Row("results wrong", str(len(wrong_results)), bool(wrong_results)),
        Row("Jobs made", str(jobs.total())),
        Row("attempts with more than one Job", str(len(twice)), bool(twice)),
        Row("pods made", f"{len(pods)} ({unseen} whose end the audit log lacks)"),
        Row("namespaces of the pods in the audit log", _counts(logged), bool(unlogged)),
        *_peaks(most, limits),
        Row("peak live pods of one conversion", str(most.of_one), most.of_one > 1),
        Row("leftover Jobs, pods, temporary files", str(len(left)), bool(left)),
    ]


def _peaks(most: Peak, limits: Limits) -> list[Row]:
    """The largest numbers of live pods. A pod in no queue is a violation, too."""
    found = [("peak live pods", most.pods, limits.total)]
    found += [
        (
            f"peak live pods in queue {name or '(none)'}",
            most.queues[name],
            limits.queues.get(name, 0),
        )
        for name in sorted({*most.queues, *limits.queues})
    ]
    found += [
        (f"peak live pods of {namespace} in queue {queue}", most.shares[queue, namespace], limit)
        for (queue, namespace), limit in limits.shares.items()
    ]
    return [Row(f"{what} (limit {limit})", str(pods), pods > limit) for what, pods, limit in found]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "none"
