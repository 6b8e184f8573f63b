"""Makes the callbacks that are owed: decide → send → write what became of it → look again.

It has tasks and connections of its own, so that no receiver holds up a conversion, and counts
what is under way by host, so that no receiver holds up another. What is owed is on the statuses
alone: after a crash, or with another leader, it goes on from there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from conversion_operator.api.status import Notification, NotifyState
from conversion_operator.callbacks.message import build_message, sign
from conversion_operator.callbacks.policy import Send, Wait, Write, after_attempt, next_step, owed
from conversion_operator.callbacks.sender import CallbackSender
from conversion_operator.cluster.errors import ClusterError, NotFound
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.model import Conversion
from conversion_operator.core.reconcile import callback_url

PER_HOST: Final = 4
_WRITES: Final = 8
_NOT_READY_PAUSE: Final = 1.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_BASE64: Final = b"whsec_"
_SHORTEST: Final = 16

logger = logging.getLogger(__name__)


class CallbackLoop:
    """``look`` tells it of a change; ``secret`` is the file to sign with, read at each send."""

    def __init__(self, context: ControllerContext, sender: CallbackSender, secret: Path) -> None:
        self._context, self._sender, self._secret = context, sender, secret
        self._cluster, self._store = context.cluster, context.store
        self._queue = WorkQueue(time.monotonic)
        # As many as there are hosts on the list: what is refused gets none.
        self._hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_HOST))
        self._writes = asyncio.Semaphore(_WRITES)
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, uid: str) -> None:
        """Something about this conversion has changed, or about the settings."""
        if owed(self._store.conversion(uid)):
            self._queue.add(uid)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                uid = await self._queue.take()
                task = asyncio.create_task(self._serve(uid), name=f"callback {uid}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._sender.close()

    async def _serve(self, uid: str) -> None:
        try:
            await self._step(uid)
        except Exception:
            # One odd object must not stop the others; it is tried again, ever more slowly.
            self._context.metrics.errors.inc()
            logger.exception("the callback of %s failed", uid)
            self._queue.add_backed_off(uid)
        finally:
            self._queue.done(uid)

    async def _step(self, uid: str) -> None:
        step, conversion = self._decide(uid)
        after: Notification | None = None
        if isinstance(step, Send):
            async with self._hosts[(urlsplit(step.url).hostname or "").rstrip(".")]:
                # The wait for the host's turn may have been long.
                step, conversion = self._decide(uid)
                if isinstance(step, Send) and conversion:
                    after = await self._send(step, conversion)
        elif isinstance(step, Write):
            after = step.notification
        if conversion and after:
            await self._write(conversion, after)
        elif isinstance(step, Wait):
            self._queue.add_after(uid, max(0.05, step.time.total_seconds()))
        elif step:
            self._queue.add_after(uid, _NOT_READY_PAUSE)
        self._queue.succeeded(uid)

    def _decide(self, uid: str) -> tuple[Send | Write | Wait | None, Conversion | None]:
        conversion = self._store.conversion(uid)
        if not owed(conversion) or conversion is None:
            return None, None
        if not self._context.may_act():
            self._queue.add_after(uid, _NOT_READY_PAUSE)
            return None, None
        settings = self._context.settings.current
        url = callback_url(conversion, settings.converter_callback_url)
        has_secret = read_secret(self._secret) is not None
        step = next_step(conversion, self._cluster.now(), url, settings.callback_hosts, has_secret)
        return step, conversion

    async def _send(self, step: Send, conversion: Conversion) -> Notification | None:
        """One attempt; what is to be stored of it, None if the secret went meanwhile."""
        secret = read_secret(self._secret)
        if secret is None:
            return None
        message = build_message(conversion)
        now = int(self._cluster.now().timestamp())
        headers = {"Content-Type": message.content_type}
        headers |= sign(secret, message.id, now, message.body)
        answer = await self._sender.post(step.url, headers, message.body)
        after = after_attempt(conversion, self._cluster.now(), answer)
        delivered = after.state is NotifyState.DELIVERED
        self._context.metrics.callbacks.labels("delivered" if delivered else "failed").inc()
        return after

    async def _write(self, conversion: Conversion, after: Notification) -> None:
        """Store it, and keep at it: a callback that was sent is not to be sent again for that."""
        before, pause = owed(conversion), _FIRST_PAUSE
        while before and owed(self._store.conversion(conversion.key.uid)) == before:
            if not self._context.leads():
                # Whoever leads next sends it again, under the same id.
                self._queue.add_after(conversion.key.uid, _NOT_READY_PAUSE)
                return
            try:
                async with self._writes:
                    stored = await self._cluster.write_notification(conversion.key, before, after)
            except NotFound:
                return
            except ClusterError as error:
                logger.warning("status.notify of %s is not stored: %s", conversion.key.uid, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            self._tell(conversion, after)
            self._store.update(stored)

    def _tell(self, conversion: Conversion, after: Notification) -> None:
        extra = {
            "event": f"callback_{after.state.lower()}",
            "job_id": conversion.key.name,
            "namespace": conversion.key.namespace,
            "uid": conversion.key.uid,
            "attempts": after.attempts,
            "detail": after.message,
        }
        if after.state is NotifyState.GAVE_UP:
            self._context.metrics.callbacks_given_up.inc()
            logger.warning("callback given up", extra=extra)
        else:
            logger.info("callback", extra=extra)


def read_secret(path: Path) -> bytes | None:
    """The secret in a file, as it is or, after whsec_, in base64; None if there is none to use."""
    try:
        text = path.read_bytes().strip()
    except OSError:
        return None
    if text.startswith(_BASE64):
        try:
            text = base64.b64decode(text.removeprefix(_BASE64), validate=True)
        except (binascii.Error, ValueError):
            return None
    return text if len(text) >= _SHORTEST else None
