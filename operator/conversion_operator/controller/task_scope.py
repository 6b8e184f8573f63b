"""Ends all tasks that a block of code creates, also those that its tasks create.

kopf does not know the tasks that its own tasks create. When it is stopped while it reads the API
groups, such a task goes on and opens a session that nobody closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

_Tasks = set[asyncio.Task[Any]]

_SCOPE: Final[ContextVar[_Tasks | None]] = ContextVar("task scope", default=None)


@asynccontextmanager
async def task_scope() -> AsyncIterator[Context]:
    """At the end of the block, cancel its tasks and wait until they have ended.

    Yields the context outside of the scope. Code that runs in it creates tasks that are not
    cancelled.
    """
    outside, tasks = copy_context(), _Tasks()
    asyncio.get_running_loop().set_task_factory(_create_task)
    token = _SCOPE.set(tasks)
    try:
        yield outside
    finally:
        _SCOPE.reset(token)
        await _end(tasks)


def _create_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,
) -> asyncio.Task[Any]:
    task = asyncio.Task(coro, loop=loop, **options)
    tasks = _SCOPE.get()
    if tasks is not None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_retrieve)
    return task


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Otherwise asyncio logs an exception that nobody has retrieved."""
    if not task.cancelled():
        task.exception()


async def _end(tasks: _Tasks) -> None:
    """Cancel each task once, and wait, even if this task is cancelled meanwhile.

    kopf does not close its sessions if its tasks are cancelled twice. It cancels some itself.
    """
    cancelled = False
    # A task that is cancelled before its first step does not await the coroutine that it wraps.
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        cancelled = True
    for task in tuple(tasks):
        if not task.cancelling():
            task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
