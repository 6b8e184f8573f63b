"""Lists are parsed in slices, so that they do not stop the event loop."""

from __future__ import annotations

import asyncio

import pytest

from conversion_operator.cluster.objects import Body
from conversion_operator.cluster.transport import _SLICE, _parse_slices


@pytest.mark.parametrize("count", [0, 1, _SLICE, _SLICE + 1, 10 * _SLICE])
async def test_others_run_between_the_slices_of_a_page(count: int) -> None:
    page = {"metadata": {"resourceVersion": "9"}, "items": [*range(count)]}
    parsed: list[int] = []

    def parse(part: Body) -> str:
        parsed.extend(part["items"])
        return str(part["metadata"]["resourceVersion"])

    most = 0
    parsing = asyncio.create_task(_parse_slices(page, parse))
    while not parsing.done():
        before = len(parsed)
        await asyncio.sleep(0)
        most = max(most, len(parsed) - before)
    assert most <= _SLICE
    assert parsed == page["items"]
    # The version of an empty list is needed, too.
    assert set(await parsing) == {"9"}
