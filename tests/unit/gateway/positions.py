"""The positions in a queue, by a look at all conversions."""

from __future__ import annotations

from collections.abc import Iterable

from conversion_operator.cluster.conversions import Conversion, queue_place


def queue_positions(conversions: Iterable[Conversion]) -> dict[str, int]:
    """The positions of the conversions of one namespace, from 1, by uid. Visits all of them."""
    places = {c.key.uid: place for c in conversions if (place := queue_place(c))}
    order = sorted(places, key=lambda uid: places[uid].key)
    return {uid: position for position, uid in enumerate(order, 1)}
