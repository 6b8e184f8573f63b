"""Tasks that a block of code creates end with the block."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context

import pytest

from conversion_operator.controller.task_scope import task_scope


async def forever(started: asyncio.Event, ended: list[str]) -> None:
    started.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


async def test_the_tasks_of_tasks_end_with_the_block() -> None:
    started, ended = asyncio.Event(), list[str]()
    created: list[asyncio.Task[None]] = []

    async def parent() -> None:
        created.append(asyncio.create_task(forever(started, ended)))

    async with task_scope():
        await asyncio.create_task(parent())
        await started.wait()
        assert not ended
    assert ended == ["ended"]
    assert created[0].cancelled()


async def test_tasks_of_others_go_on() -> None:
    started, ended = asyncio.Event(), list[str]()
    before = asyncio.create_task(forever(started, ended))
    await started.wait()
    async with task_scope() as outside:
        inside = outside.run(asyncio.create_task, forever(asyncio.Event(), ended))
        from_a_task = asyncio.create_task(create(outside, ended))
        created = await from_a_task
        async with task_scope():
            asyncio.create_task(forever(asyncio.Event(), []))  # noqa: RUF006
    after = asyncio.create_task(forever(asyncio.Event(), ended))
    tasks = (before, inside, created, after)
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def create(outside: Context, ended: list[str]) -> asyncio.Task[None]:
    return outside.run(asyncio.create_task, forever(asyncio.Event(), ended))


async def test_the_end_of_a_task_is_awaited_although_the_block_is_cancelled_again() -> None:
    """kopf needs the time to close its session."""
    started, cancelled, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    closed: list[str] = []

    async def closing() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await may_end.wait()
            closed.append("closed")

    async def block() -> None:
        async with task_scope():
            asyncio.create_task(closing())  # noqa: RUF006
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await started.wait()
    task.cancel()
    await cancelled.wait()
    task.cancel()
    may_end.set()
    with suppress(asyncio.CancelledError):
        await task
    assert closed == ["closed"]
    assert task.cancelled()


async def test_an_error_in_the_block_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("in a task")

    with pytest.raises(ValueError, match="in a task"):
        async with task_scope():
            await asyncio.create_task(fail())
