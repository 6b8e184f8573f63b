"""The operator as a whole: what depends on what, and how it starts and stops."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry

from conversion_operator.callbacks.loop import CallbackLoop
from conversion_operator.callbacks.sender import CallbackSender
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import Resource
from conversion_operator.cluster.reflector import Reflector
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.handlers import Login, log_in, watch_conversions
from conversion_operator.controller.leadership import Leadership
from conversion_operator.controller.probes import Health
from conversion_operator.controller.recorder import EventRecorder
from conversion_operator.controller.settings import CALLBACK_SECRET, Settings
from conversion_operator.controller.store import Store
from conversion_operator.controller.telemetry import Metrics, Telemetry
from conversion_operator.controller.worker import Worker
from conversion_operator.controller.workqueue import WorkQueue

RELIST_SECONDS: Final = 60.0
_WORKERS: Final = 8
_BEAT_SECONDS: Final = 1.0
_RELOAD_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


class Notices(NamedTuple):
    """What callbacks are sent with, and the file of what they are signed with."""

    sender: CallbackSender
    secret: Path


class Operator:
    """Wires the parts together and runs them until it is told to stop."""

    def __init__(
        self,
        cluster: Cluster,
        settings: LiveSettings[Settings],
        identity: str,
        login: Login = log_in,
        notices: Notices | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.health = Health()
        self.settings, self._identity, self._login = settings, identity, login
        self._metrics = Metrics(self.registry)
        self._queue = WorkQueue(time.monotonic)
        self.store = Store(self._on_change)
        self._leadership = Leadership(
            cluster, settings.current.pod_namespace, identity, self._on_leadership
        )
        context = ControllerContext(
            cluster, self.store, settings, self._metrics, self._leadership.leads
        )
        self._admitter = Admitter(context, self._leadership, self._queue.add)
        recorder = EventRecorder(cluster, Telemetry(self._metrics), identity)
        notices = notices or Notices(CallbackSender(), CALLBACK_SECRET)
        self._callback_loop = CallbackLoop(context, notices.sender, notices.secret)
        self._worker = Worker(context, self._queue, self._admitter, recorder)
        # ConversionJobs are watched by kopf; here they are only listed, against what it misses.
        self.health.reflectors = [
            Reflector(
                cluster,
                resource,
                namespace,
                self.store,
                relist_seconds=RELIST_SECONDS,
                watching=resource is not Resource.CONVERSIONS,
            )
            for namespace in settings.current.namespaces
            for resource in Resource
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set or a signal to terminate arrives.

        What runs in the cluster goes on: the next operator finds it there.
        """
        parts = {
            "admission": self._admitter.run(),
            "callbacks": self._callback_loop.run(),
            "heartbeat": self._beat(),
            "settings": self._reload(),
            **{f"worker {n}": self._worker.run() for n in range(_WORKERS)},
            **{f"reflector {r.resource} {r.namespace}": r.run() for r in self.health.reflectors},
        }
        # The Lease is released last: only when nothing of ours writes any more.
        lead = asyncio.create_task(self._leadership.run(), name="leadership")
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        for task in (lead, *tasks):
            task.add_done_callback(lambda done: _stop_if_failed(done, stop))
        try:
            await watch_conversions(
                self.store, self.settings.current.namespaces, self._identity, stop, self._login
            )
        finally:
            self.health.ready = False
            await _cancel(tasks)
            await _cancel([lead])
        for task in (lead, *tasks):
            if not task.cancelled() and (error := task.exception()):
                raise error

    def _on_change(self, uid: str) -> None:
        self._queue.add(uid)
        self._callback_loop.look(uid)
        self._admitter.wake()

    def _on_leadership(self, leads: bool) -> None:
        self._metrics.leading.set(leads)
        self._admitter.wake()

    async def _beat(self) -> None:
        while True:
            self.health.beat()
            self.health.ready = self.store.complete(self.settings.current.namespaces)
            await asyncio.sleep(_BEAT_SECONDS)

    def reload(self) -> None:
        """Read the settings again, and look at everything anew if they have changed."""
        if self.settings.reload():
            logger.info("settings changed", extra=self.settings.current.model_dump())
            for conversion in self.store.conversions():
                self._queue.add(conversion.key.uid)
                self._callback_loop.look(conversion.key.uid)
            self._admitter.wake()

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            self.reload()


def _stop_if_failed(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """A part that died by itself takes the process down; a half-working operator helps nobody."""
    if not task.cancelled():
        logger.error("a part of the operator ended", extra={"part": task.get_name()})
        stop.set()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
