"""Gauges of the ConversionQueues, with the name of the queue as their label.

Only the owners of the operator's namespace create ConversionQueues, so no tenant can add labels:
``spec.queue`` of a ConversionJob may be any text, but a queue that does not exist is counted under
:data:`MISSING`. The oldest :data:`MOST_QUEUES` have labels of their own. The others are added up
under :data:`OTHERS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from conversion_operator.api import names
from conversion_operator.core.model import Policy
from conversion_operator.core.queue_status import MISSING, Counts

MOST_QUEUES: Final = 100
OTHERS: Final = "(others)"
"""No ConversionQueue can have this name."""


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """Numbers of conversions of one queue, its limit in slots, and whether any may start."""

    queued: int = 0
    blocked: int = 0
    running: int = 0
    limit: int = 0
    may_start: bool = False
    has_room: bool = False

    def __add__(self, other: QueueNumbers) -> QueueNumbers:
        return QueueNumbers(
            self.queued + other.queued,
            self.blocked + other.blocked,
            self.running + other.running,
            self.limit + other.limit,
            self.may_start or other.may_start,
            self.has_room or other.has_room,
        )


_GAUGES: Final = {
    "queued": ("converter_queue_queued", "Conversions of a ConversionQueue that wait for a slot."),
    "blocked": (
        "converter_queue_blocked",
        "Conversions of a ConversionQueue that wait for something other than a slot.",
    ),
    "running": ("converter_queue_running", "Slots in use by conversions of a ConversionQueue."),
    "limit": (
        "converter_queue_limit",
        "Number of slots that a ConversionQueue may use. Without a limit of its own, all slots.",
    ),
    "has_room": (
        "converter_queue_has_room",
        "1 if a conversion of a ConversionQueue waits for a slot, and a slot is free that all "
        "limits, shares and reserved slots let it take. It starts with the next pass.",
    ),
    "may_start": (
        "converter_queue_may_start",
        "1 if conversions of a ConversionQueue may start. 0 if it is held or cannot be read, or if "
        "the operator is paused or starts nothing (converter_admission_blocked).",
    ),
}


def queue_numbers(
    counts: Mapping[str, Counts],
    oldest_first: Collection[str],
    policy: Policy,
    *,
    blocked: bool = False,
    with_room: Collection[str] = (),
) -> dict[str, QueueNumbers]:
    """The numbers by label. ``oldest_first`` has the names of the ConversionQueues.
    ``with_room`` are the queues that a free slot is for. ``blocked`` is True while the operator
    starts nothing at all.

    Visits the queues, and their namespaces.
    """
    known = dict.fromkeys((names.DEFAULT_QUEUE, *oldest_first))
    labels = {name: name if n < MOST_QUEUES else OTHERS for n, name in enumerate(known)}
    found: dict[str, QueueNumbers] = defaultdict(QueueNumbers)
    for name in (*known, *(counts.keys() - known)):
        label = labels.get(name, MISSING)
        numbers = _numbers(name, counts.get(name, {}), policy, blocked)
        found[label] = found[label] + replace(numbers, has_room=name in with_room)
    return dict(found)


def _numbers(name: str, counts: Counts, policy: Policy, blocked: bool) -> QueueNumbers:
    limits = policy.queues.find(name)
    most = policy.max_parallel
    if limits is not None and limits.max_parallel is not None:
        most = min(most, limits.max_parallel)
    each = counts.values()
    return QueueNumbers(
        queued=sum(one.queued for one in each),
        blocked=sum(one.blocked for one in each),
        running=sum(one.running for one in each),
        limit=0 if limits is None else most,
        may_start=policy.enabled
        and not blocked
        and limits is not None
        and not limits.starts_nothing,
    )


class QueueGauges(Collector):
    """The gauges. ``numbers`` has what they show, by label. It is replaced as a whole.

    So a request of Prometheus, which a thread answers, never sees a part of it. An operator that
    does not lead shows none.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.numbers: Mapping[str, QueueNumbers] = {}
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Visits the labels, for each request of Prometheus."""
        numbers = self.numbers
        for attribute, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=("queue",))
            for label, each in numbers.items():
                gauge.add_metric((label,), float(getattr(each, attribute)))
            yield gauge
