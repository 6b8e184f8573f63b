"""The loop over the callbacks that are owed: others run between its steps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conversion_operator.api.callback_hosts import HostLists
from conversion_operator.callbacks.lanes import MOST_OPEN, PER_HOST
from conversion_operator.callbacks.loop import CallbackConfig, CallbackLoop
from conversion_operator.callbacks.policy import Response
from conversion_operator.controller.store import Store
from conversion_operator.core.model import Conversion
from tests.unit.operator.builders import at, children, conversion, job, step, succeeded

HOST = "hooks.example"
MANY = 2000
DONE = step(conversion(notify={"url": f"https://{HOST}/"}), children(job(), succeeded()), 12)[1]


class SilentSender:
    """No receiver ever responds."""

    def __init__(self) -> None:
        self.sent = 0

    async def post(self, *_: Any) -> Response:
        self.sent += 1
        await asyncio.Event().wait()
        return Response()

    async def close(self) -> None:
        """There is nothing to close."""


def owed(number: int, *, due: bool) -> Conversion:
    assert DONE.status is not None
    assert DONE.status.notify is not None
    note = DONE.status.notify.model_copy(update={"next_attempt_time": at(12 if due else 600)})
    key = replace(DONE.key, uid=f"u-{number}")
    return replace(DONE, key=key, status=DONE.status.model_copy(update={"notify": note}))


@pytest.fixture
def sender() -> SilentSender:
    return SilentSender()


def make_loop(tmp_path: Path, sender: SilentSender, *, due: bool) -> CallbackLoop:
    """A loop with many owed callbacks, all of them due or none."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of sixteen bytes", encoding="utf-8")
    store = Store(lambda _: None)
    settings = SimpleNamespace(
        converter_traces_url="",
        converter_callback_url="",
        callback_hosts=HostLists(frozenset({HOST})),
    )
    context: Any = SimpleNamespace(
        cluster=SimpleNamespace(now=lambda: at(100)),
        store=store,
        settings=SimpleNamespace(current=settings),
        leads=lambda: True,
        permit=lambda: None,
        may_act=lambda _: True,
        is_left=lambda *_: False,
    )
    untyped: Any = sender
    made = CallbackLoop(context, CallbackConfig(untyped, secret), lambda _: None)
    for number in range(MANY):
        store.update(owed(number, due=due))
        made.enqueue(f"u-{number}")
    return made


@pytest.mark.parametrize("due", [False, True])
async def test_others_run_between_the_steps(
    tmp_path: Path, sender: SilentSender, *, due: bool
) -> None:
    loop = make_loop(tmp_path, sender, due=due)
    before = len(asyncio.all_tasks())
    running = asyncio.create_task(loop.run())
    left, most = MANY, 0
    while left:
        await asyncio.sleep(0)
        most, left = max(most, left - len(loop._queue)), len(loop._queue)
    assert most <= 10, f"{most} callbacks were looked at before others ran"
    assert sender.sent == (PER_HOST if due else 0)
    assert len(asyncio.all_tasks()) - before <= MOST_OPEN
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert len(asyncio.all_tasks()) == before
