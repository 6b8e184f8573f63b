"""The end of long polls at a shutdown."""

from __future__ import annotations

import asyncio

import pytest

from converter_gateway.shutdown import Shutdown


async def test_the_end_is_not_stopped_by_a_long_poll_that_expires_at_the_same_moment() -> None:
    shutdown, begun = Shutdown(), asyncio.Event()

    async def poll() -> None:
        async with shutdown.timeout(0):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(poll())
    await begun.wait()  # the loop has let it expire, and cancels the poll next
    (timeout,) = shutdown._timeouts
    assert timeout.expired()
    shutdown.end()
    with pytest.raises(TimeoutError):
        await task
