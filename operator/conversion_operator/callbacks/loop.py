"""Sends the callbacks that are owed: decides, sends, writes the result, and requeues.

The loop has its own tasks and connections, so a slow receiver does not delay conversions. It limits
the requests per host, so a slow receiver does not delay other receivers. The stored statuses say
which callbacks are owed. After a crash or a change of leader, the loop reads them and continues.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from conversion_operator.api.callback_hosts import host_of
from conversion_operator.api.status import Notification, NotifyState
from conversion_operator.callbacks import policy
from conversion_operator.callbacks.message import build_message, sign
from conversion_operator.callbacks.policy import Send, Wait, Write
from conversion_operator.callbacks.sender import CallbackSender
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, NotLeader, Rejected
from conversion_operator.cluster.objects import Event, WritePermit
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.problems import (
    REJECTED_RETRY_SECONDS,
    REJECTIONS_BEFORE_REPORT,
)
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.model import Conversion
from conversion_operator.core.reconcile import callback_url

PER_HOST: Final = 4
_MAX_WRITES: Final = 8
_NOT_READY_SECONDS: Final = 1.0
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 30.0
_BASE64_PREFIX: Final = b"whsec_"
_MIN_SECRET_BYTES: Final = 16

logger = logging.getLogger(__name__)


class CallbackConfig(NamedTuple):
    """The sender of callbacks, and the file with the secret that signs them."""

    sender: CallbackSender
    secret: Path


class CallbackLoop:
    """Sends callbacks. Reads the file with the secret again for each callback."""

    def __init__(
        self, context: ControllerContext, config: CallbackConfig, post: Callable[[Event], None]
    ) -> None:
        """``post`` posts an Event in the background."""
        self._context, self._config, self._post = context, config, post
        self._cluster, self._store = context.cluster, context.store
        self._queue = WorkQueue(time.monotonic)
        # One entry per allowed host at most: a URL with another host is never sent to.
        self._hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_HOST))
        self._writes = asyncio.Semaphore(_MAX_WRITES)
        self._tasks: set[asyncio.Task[None]] = set()

    def enqueue(self, uid: str) -> None:
        """Add a changed conversion to the work queue if its callback is owed."""
        if policy.pending_notification(self._store.conversion(uid)):
            self._queue.add(uid)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                uid = await self._queue.get()
                task = asyncio.create_task(self._process(uid), name=f"callback {uid}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._config.sender.close()

    async def _process(self, uid: str) -> None:
        try:
            await self._take_step(uid)
        except Exception:
            # An error in one conversion must not stop the callbacks of the others.
            self._context.metrics.errors.inc()
            logger.exception("Cannot send the callback of %s; retrying", uid)
            self._queue.add_rate_limited(uid)
        finally:
            self._queue.done(uid)

    async def _take_step(self, uid: str) -> None:
        permit = self._context.permit()
        step, conversion = self._decide(uid)
        result: Notification | None = None
        cure = ""
        if isinstance(step, Send):
            async with self._hosts[host_of(step.url)]:
                # Decide again: it may have taken long to acquire the semaphore.
                step, conversion = self._decide(uid)
                if isinstance(step, Send) and conversion:
                    result = await self._send(step, conversion)
        elif isinstance(step, Write):
            result, cure = step.notification, step.cure
        if conversion and result:
            await self._store_result(conversion, result, cure, permit)
        elif isinstance(step, Wait):
            self._queue.add_after(uid, max(0.05, step.duration.total_seconds()))
        elif step:
            self._queue.add_after(uid, _NOT_READY_SECONDS)
        self._queue.forget_failures(uid)

    def _decide(self, uid: str) -> tuple[Send | Write | Wait | None, Conversion | None]:
        conversion = self._store.conversion(uid)
        if not policy.pending_notification(conversion) or conversion is None:
            return None, None
        if not self._context.may_act(conversion.key.namespace):
            self._queue.add_after(uid, _NOT_READY_SECONDS)
            return None, None
        if self._context.is_left(conversion.key.namespace, uid):
            # Another installation owes it. It is enqueued again if the namespace comes back.
            return None, None
        settings = self._context.settings.current
        url = callback_url(conversion, settings.converter_callback_url)
        hosts = settings.callback_hosts.of(conversion.key.namespace)
        has_secret = self._secret(conversion) is not None
        step = policy.next_step(conversion, self._cluster.now(), url, hosts, has_secret)
        return step, conversion

    def _secret(self, conversion: Conversion) -> bytes | None:
        return read_secret(self._config.secret, conversion.key.namespace)

    async def _send(self, step: Send, conversion: Conversion) -> Notification | None:
        """Send once, and return the notification to store. None: the secret no longer exists."""
        secret = self._secret(conversion)
        if secret is None:
            return None
        message = build_message(conversion)
        now = int(self._cluster.now().timestamp())
        headers = {"Content-Type": message.content_type}
        headers |= sign(secret, message.id, now, message.body)
        response = await self._config.sender.post(step.url, headers, message.body)
        result = policy.after_response(conversion, self._cluster.now(), response)
        delivered = result.state is NotifyState.DELIVERED
        self._context.metrics.callbacks.labels("delivered" if delivered else "failed").inc()
        return result

    async def _store_result(
        self, conversion: Conversion, result: Notification, cure: str, permit: WritePermit
    ) -> None:
        """Write the result to the status. Retries: without it, the callback is sent again.

        ``cure`` says what a user can do about the result, "" if nothing.
        """
        before, uid = policy.pending_notification(conversion), conversion.key.uid
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        rejections = 0
        while (known := self._store.conversion(uid)) and before:
            if policy.pending_notification(known) != before:
                return
            try:
                async with self._writes:
                    stored = await self._write(known, result, permit)
            except NotLeader:
                # The leader of the next term sends the callback again, with the same id.
                self._queue.add_after(uid, _NOT_READY_SECONDS)
                return
            except NotFound:
                return
            except ClusterError as error:
                rejections += isinstance(error, Rejected)
                often = rejections >= REJECTIONS_BEFORE_REPORT
                delay = REJECTED_RETRY_SECONDS if often else backoff.next()
                logger.warning(
                    "Cannot store status.notify of %s; retrying in %.1f s: %s", uid, delay, error
                )
                await asyncio.sleep(delay)
                continue
            self._record(conversion, result)
            warning = policy.warning(result, cure)
            if warning:
                self._post(Event(conversion.key, "Warning", warning.reason, warning.message))
            self._store.update(stored)

    async def _write(
        self, known: Conversion, result: Notification, permit: WritePermit
    ) -> Conversion:
        try:
            return await self._cluster.write_notification(known, result, permit)
        except Conflict:
            # Something else in the object has changed. The next try uses the newer version.
            self._store.update(await self._cluster.get_conversion(known.key))
            raise

    def _record(self, conversion: Conversion, result: Notification) -> None:
        extra = {
            "event": f"callback_{result.state.lower()}",
            "job_id": conversion.key.name,
            "namespace": conversion.key.namespace,
            "uid": conversion.key.uid,
            "attempts": result.attempts,
            "detail": result.message,
        }
        if result.state is NotifyState.GAVE_UP:
            self._context.metrics.callbacks_given_up.inc()
            logger.warning("Gave up a callback", extra=extra)
        else:
            logger.info("Stored the result of a callback", extra=extra)


def read_secret(common: Path, namespace: str) -> bytes | None:
    """Read the secret of a namespace: raw bytes, or base64 after whsec_. None: it is not valid.

    It is in the file ``common``, or in a file beside it whose name ends in ``.NAMESPACE``. If this
    second file exists but is not valid, the common secret must not replace it: all receivers know
    the common secret.
    """
    try:
        try:
            text = common.with_name(f"{common.name}.{namespace}").read_bytes().strip()
        except FileNotFoundError:
            text = common.read_bytes().strip()
    except OSError:
        return None
    if text.startswith(_BASE64_PREFIX):
        try:
            text = base64.b64decode(text.removeprefix(_BASE64_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return None
    return text if len(text) >= _MIN_SECRET_BYTES else None
