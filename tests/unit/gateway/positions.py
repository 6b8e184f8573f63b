"""The positions in a queue, by a look at all conversions."""

from __future__ import annotations

from collections.abc import Iterable

from conversion_operator.cluster.conversions import Conversion, queue_place


def queue_positions(conversions: Iterable[Conversion]) -> dict[str, int]:
    """The positions of the conversions of one namespace in their queues, from 1, by uid."""
    places = {c.key.uid: place for c in conversions if (place := queue_place(c))}
    order = sorted(places, key=lambda uid: places[uid].key)
    return {
        uid: sum(places[other].queue == places[uid].queue for other in order[: n + 1])
        for n, uid in enumerate(order)
    }
