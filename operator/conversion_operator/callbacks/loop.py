"""Sends the callbacks that are owed: decides, sends, writes the result, and requeues.

The loop has its own tasks and connections, so a slow receiver does not delay conversions. Some
workers decide and write. What is due goes to the lane of its host, and each callback that is being
sent has a task. So the number of tasks does not depend on the number of owed callbacks. The times
at which callbacks are due are in one heap, that of the work queue. The stored statuses say which
callbacks are owed. After a crash or a change of leader, the loop reads them and continues.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from conversion_operator.api.callback_hosts import host_of
from conversion_operator.api.status import Notification, NotifyState
from conversion_operator.callbacks import policy
from conversion_operator.callbacks.lanes import Departure, HostLanes
from conversion_operator.callbacks.message import build_message, sign
from conversion_operator.callbacks.policy import Send, Wait, Write
from conversion_operator.callbacks.sender import CallbackSender
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, NotLeader, Rejected
from conversion_operator.cluster.objects import Event, WritePermit
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.metrics import CallbackResult
from conversion_operator.controller.problems import (
    REJECTED_RETRY_SECONDS,
    REJECTIONS_BEFORE_REPORT,
)
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.core.model import Conversion, Key
from conversion_operator.core.reconcile import callback_url
from conversion_operator.core.trace import traceparent_of_callback

_WORKERS: Final = 8
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


@dataclass(slots=True)
class _Result:
    """What became of a callback, until it is stored. Without it, the callback is sent again.

    ``before`` is status.notify as it was read. ``cure`` says what a user can do about the result,
    "" if nothing. ``permit`` is of the term in which it was decided to send.
    """

    key: Key
    before: Notification
    after: Notification
    cure: str
    permit: WritePermit
    rejections: int = 0
    backoff: Backoff = field(
        default_factory=lambda: Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
    )

    def next_delay(self, error: ClusterError) -> float:
        """How long to wait until it is written again."""
        self.rejections += isinstance(error, Rejected)
        often = self.rejections >= REJECTIONS_BEFORE_REPORT
        return REJECTED_RETRY_SECONDS if often else self.backoff.next()


class CallbackLoop:
    """Sends callbacks. Reads the file with the secret again for each callback."""

    def __init__(
        self, context: ControllerContext, config: CallbackConfig, post: Callable[[Event], None]
    ) -> None:
        """``post`` posts an Event in the background."""
        self._context, self._config, self._post = context, config, post
        self._cluster, self._store = context.cluster, context.store
        self._queue = WorkQueue(time.monotonic)
        self._lanes = HostLanes()
        # Each uid in here is in the work queue, too, or a worker has it.
        self._results: dict[str, _Result] = {}

    def enqueue(self, uid: str) -> None:
        """Add a changed conversion to the work queue if its callback is owed."""
        if policy.pending_notification(self._store.conversion(uid)):
            self._queue.add(uid)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(_WORKERS):
                    group.create_task(self._work(group), name=f"callbacks {number}")
        finally:
            await self._config.sender.close()

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while True:
            if not self._context.leads():
                # Nothing is taken from the queue: thousands of callbacks may be owed.
                await asyncio.sleep(_NOT_READY_SECONDS)
                continue
            uid = await self._queue.get()
            if not await self._process(uid):
                self._queue.done(uid)
            self._send_due(group)
            # Most steps do not wait for anything. Others must run between them.
            await asyncio.sleep(0)

    async def _process(self, uid: str) -> bool:
        """Take one step. True if the callback is in its lane now, and stays there until sent."""
        try:
            if uid not in self._results:
                permit = self._context.permit()
                step, conversion = self._decide(uid)
                if isinstance(step, Send):
                    self._lanes.add(host_of(step.url), uid)
                    return True
                if isinstance(step, Write) and conversion:
                    self._keep(conversion, step.notification, step.cure, permit)
                elif isinstance(step, Wait):
                    self._queue.add_after(uid, max(0.05, step.duration.total_seconds()))
            if uid in self._results:
                await self._store_result(uid, self._results[uid])
            self._queue.forget_failures(uid)
        except Exception:
            self._report_error(uid)
        return False

    def _report_error(self, uid: str) -> None:
        # An error in one conversion must not stop the callbacks of the others.
        self._context.metrics.errors.inc()
        logger.exception("Cannot send the callback of %s; retrying", uid)
        self._queue.add_rate_limited(uid)

    def _send_due(self, group: asyncio.TaskGroup) -> None:
        while departure := self._lanes.take():
            group.create_task(self._depart(group, departure), name=f"callback {departure.uid}")

    async def _depart(self, group: asyncio.TaskGroup, departure: Departure) -> None:
        """Send one callback, and hand its result to a worker."""
        host, uid = departure
        responded = None
        try:
            responded = await self._send_if_due(host, uid)
        except Exception:
            self._report_error(uid)
        self._lanes.release(host, responded=responded)
        self._queue.done(uid)
        self._send_due(group)

    async def _send_if_due(self, host: str, uid: str) -> bool | None:
        """Whether the host responded. None: nothing was sent.

        Decides again: the callback may have been in its lane for long.
        """
        permit = self._context.permit()
        step, conversion = self._decide(uid)
        if step is None or conversion is None:
            return None
        # If the default URL has changed, the callback is in the wrong lane.
        if not isinstance(step, Send) or host_of(step.url) != host:
            self._queue.add(uid)
            return None
        result = await self._send(step, conversion)
        if result is None:
            self._queue.add_after(uid, _NOT_READY_SECONDS)
            return None
        notification, responded = result
        self._keep(conversion, notification, "", permit)
        self._queue.add(uid)
        return responded

    def _keep(
        self, conversion: Conversion, after: Notification, cure: str, permit: WritePermit
    ) -> None:
        """Keep a result until it is stored."""
        before = policy.pending_notification(conversion)
        if before:
            self._results[conversion.key.uid] = _Result(conversion.key, before, after, cure, permit)

    def _decide(self, uid: str) -> tuple[Send | Write | Wait | None, Conversion | None]:
        conversion = self._store.conversion(uid)
        if not policy.pending_notification(conversion) or conversion is None:
            return None, None
        if not self._context.leads():
            self._queue.add_after(uid, _NOT_READY_SECONDS)
            return None, None
        if not self._context.may_act(conversion.key.namespace):
            # It is enqueued again when the lists of its namespace are known.
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

    async def _send(self, step: Send, conversion: Conversion) -> tuple[Notification, bool] | None:
        """Send once. Returns the notification to store, and whether the host responded.

        None: the secret no longer exists.
        """
        secret = self._secret(conversion)
        if secret is None:
            return None
        message = build_message(conversion)
        now = int(self._cluster.now().timestamp())
        headers = {"Content-Type": message.content_type}
        headers |= sign(secret, message.id, now, message.body)
        sends_traces = bool(self._context.settings.current.converter_traces_url)
        if parent := traceparent_of_callback(conversion, recorded=sends_traces):
            headers["traceparent"] = str(parent)
        response = await self._config.sender.post(step.url, headers, message.body)
        result = policy.after_response(conversion, self._cluster.now(), response)
        delivered = result.state is NotifyState.DELIVERED
        ended = CallbackResult.DELIVERED if delivered else CallbackResult.FAILED
        self._context.metrics.callbacks.labels(ended).inc()
        return result, bool(response.code)

    async def _store_result(self, uid: str, result: _Result) -> None:
        """Write a result to the status once. If that fails, it is written again later."""
        known = self._store.conversion(uid)
        if known is None or policy.pending_notification(known) != result.before:
            del self._results[uid]
            return
        try:
            stored = await self._write(known, result.after, result.permit)
        except NotLeader:
            # The leader of the next term sends the callback again, with the same id.
            del self._results[uid]
            self._queue.add_after(uid, _NOT_READY_SECONDS)
            return
        except NotFound:
            del self._results[uid]
            return
        except ClusterError as error:
            delay = result.next_delay(error)
            logger.warning(
                "Cannot store status.notify of %s; retrying in %.1f s: %s", uid, delay, error
            )
            self._queue.add_after(uid, delay)
            return
        del self._results[uid]
        self._record(result)
        warning = policy.warning(result.after, result.cure)
        if warning:
            self._post(Event(result.key, "Warning", warning.reason, warning.message))
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

    def _record(self, result: _Result) -> None:
        after = result.after
        extra = {
            "event": f"callback_{after.state.lower()}",
            "job_id": result.key.name,
            "namespace": result.key.namespace,
            "uid": result.key.uid,
            "attempts": after.attempts,
            "detail": after.message,
        }
        if after.state is NotifyState.GAVE_UP:
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
