"""When conversions start and end, about, as the HTTP API says it. Pure.

A waiting conversion counts as long as the median of the last ones of its kind. Without the HTTP
API, the conversions of the namespace themselves say how long those took, and what runs.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kubectl_conversion.model import Conversion, in_order
from kubectl_conversion.text import duration

_KEPT: Final = 101
_LEAST: Final = 5
"""Before so many conversions of a kind have succeeded, there is no estimate for it."""
_PACE: Final = timedelta(seconds=60)
"""Conversions that have ended within this time show how many slots a queue uses."""
_WAITS_FOR_A_SLOT: Final = ("WaitingForSlot", "Pending", "")
_HOLDS_A_SLOT: Final = ("Starting", "Running")
_SHARED: Final = ("Paused", "CRDOutdated", "ClaimMissing", "QueueMissing", "QueueHeld")
"""The reasons that all waiting conversions of one namespace and queue have, or none."""
_FIRST: Final = 8
"""The operator writes the statuses of the first conversions of a queue first. So they tell a shared
reason before the others do. One of them may be new, or may wait for something of its own."""

_Place = tuple[str, str]
"""A namespace and a queue."""


class Estimate(NamedTuple):
    """When a conversion starts and ends. None: nobody knows."""

    start: datetime | None = None
    end: datetime | None = None


UNKNOWN: Final = Estimate()
Estimates = Mapping[tuple[str, str], Estimate]
"""By namespace and name."""


def of_running(conversion: Conversion, now: datetime) -> Estimate:
    """What the converter says about a running conversion. An end that has passed is not known."""
    end = conversion.estimated_end
    known = conversion.phase == "Running" and end is not None and end > now
    return Estimate(end=end) if known else UNKNOWN


def of_all(conversions: Sequence[Conversion], now: datetime) -> Estimates:
    """The estimates of the conversions that have not ended.

    ``conversions`` are all of their namespaces. Visits each one once.
    """
    medians = _medians(conversions)
    running: dict[_Place, list[Conversion]] = {}
    waiting: dict[_Place, list[Conversion]] = {}
    for each in in_order(c for c in conversions if not c.finished):
        places = running if each.phase in _HOLDS_A_SLOT else waiting
        places.setdefault((each.namespace, each.queue), []).append(each)
    lately = _paces(conversions, now)
    found = {c.key: _running(c, medians, now) for place in running.values() for c in place}
    for place, queued in waiting.items():
        slots = max(len(running.get(place, ())), lately.get(place, 0))
        found |= _waiting(queued, running.get(place, ()), medians, slots, now)
    return found


def _kind(conversion: Conversion) -> str:
    if conversion.dry_run:
        return "dry run"
    return " ".join(sorted(output.conversion_type for output in conversion.outputs))


def _held(conversion: Conversion) -> timedelta | None:
    """How long a succeeded conversion held its slot: from the creation of its Job to its end."""
    if conversion.phase != "Succeeded" or conversion.ended is None or conversion.seconds is None:
        return None
    began = conversion.attempts[-1].started if conversion.attempts else None
    ran = timedelta(seconds=conversion.seconds)
    return ran if began is None else max(ran, conversion.ended - began)


def _medians(conversions: Iterable[Conversion]) -> dict[str, timedelta]:
    ended: dict[str, list[tuple[datetime, timedelta]]] = {}
    for each in conversions:
        held = _held(each)
        if held is not None and each.ended is not None and _kind(each):
            ended.setdefault(_kind(each), []).append((each.ended, held))
    latest = {kind: heapq.nlargest(_KEPT, found) for kind, found in ended.items()}
    return {
        kind: statistics.median_high(held for _, held in found)
        for kind, found in latest.items()
        if len(found) >= _LEAST
    }


def _paces(conversions: Iterable[Conversion], now: datetime) -> dict[_Place, int]:
    """How many slots the conversions of each queue that have ended lately held in the mean."""
    lately: dict[_Place, list[tuple[datetime, timedelta]]] = {}
    for each in conversions:
        held = _held(each)
        if held is not None and each.ended is not None and now - each.ended <= _PACE:
            lately.setdefault((each.namespace, each.queue), []).append((each.ended, held))
    paces = {}
    for place, found in lately.items():
        since = now - min(ended - held for ended, held in found)
        total = sum((held for _, held in found), timedelta())
        paces[place] = round(total / max(timedelta(seconds=1), since))
    return paces


def _running(conversion: Conversion, medians: Mapping[str, timedelta], now: datetime) -> Estimate:
    if conversion.estimated_end is not None or conversion.phase != "Running":
        return of_running(conversion, now)
    median = medians.get(_kind(conversion))
    end = conversion.started + median if conversion.started and median else None
    return Estimate(end=end) if end and end > now else UNKNOWN


def _waiting(
    queued: Sequence[Conversion],
    running: Sequence[Conversion],
    medians: Mapping[str, timedelta],
    slots: int,
    now: datetime,
) -> dict[tuple[str, str], Estimate]:
    """Give each waiting conversion of one queue the slot that is free first, in their order."""
    if slots < 1 or not medians:
        return {}
    typical = statistics.median_high(medians.values())
    free = [_free(each, medians.get(_kind(each), typical), now) for each in running]
    free += [now] * (slots - len(free))
    heapq.heapify(free)
    found = {}
    shared = _shared_reason(queued)
    for each in queued:
        if shared in _SHARED or each.reason not in _WAITS_FOR_A_SLOT:
            continue
        start, median = free[0], medians.get(_kind(each))
        heapq.heapreplace(free, start + (median or typical))
        if median is not None:
            found[each.key] = Estimate(start, start + median)
    return found


def _shared_reason(queued: Sequence[Conversion]) -> str:
    """Why all conversions of one queue wait. "" if its first ones do not tell.

    The status that was written last is right: it may be the only one that tells the change yet.
    """
    told = [c for c in queued[:_FIRST] if c.reason in (*_SHARED, "WaitingForSlot")]
    latest = max(told, key=lambda c: int(c.raw["metadata"]["resourceVersion"]), default=None)
    return latest.reason if latest else ""


def _free(conversion: Conversion, median: timedelta, now: datetime) -> datetime:
    end = conversion.estimated_end
    if end is None:
        end = conversion.started + median if conversion.started else now + median
    return max(now, end)


def left(estimate: Estimate, now: datetime) -> str:
    """How long until the end, about. Empty if it is not known."""
    if estimate.end is None:
        return ""
    return f"about {duration((estimate.end - now).total_seconds())}"
