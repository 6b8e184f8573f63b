"""Builds the parts of the operator, connects them, and runs them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry

from conversion_operator.callbacks.loop import CallbackConfig, CallbackLoop
from conversion_operator.callbacks.sender import CallbackSender
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import Resource
from conversion_operator.cluster.reflector import Reflector
from conversion_operator.cluster.settings import LiveSettings, read_folder
from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.handlers import Login, log_in, watch_conversions
from conversion_operator.controller.health import Health
from conversion_operator.controller.leadership import Leadership
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.recorder import EventRecorder
from conversion_operator.controller.schema_check import SchemaCheck
from conversion_operator.controller.settings import CALLBACK_SECRET, Settings
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.controller.worker import Worker
from conversion_operator.controller.workqueue import WorkQueue

_WORKERS: Final = 8
_HEARTBEAT_SECONDS: Final = 1.0
_RELOAD_SECONDS: Final = 2.0
_FINISH_SECONDS: Final = 9.0
"""How long to wait at the end for writes, Events included. A write takes up to 8 s."""

logger = logging.getLogger(__name__)


class Operator:
    """Builds and runs the parts of the operator.

    ``identity`` is the name of this process on the Lease.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: LiveSettings[Settings],
        identity: str,
        login: Login = log_in,
        callbacks: CallbackConfig | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.health = Health()
        self.settings, self._identity, self._login = settings, identity, login
        self._metrics = Metrics(self.registry)
        self._queue = WorkQueue(time.monotonic)
        self.store = Store(self._enqueue)
        # WATCH_NAMESPACES takes effect when the operator restarts.
        self._sync = NamespaceSync(
            settings.current.namespaces,
            on_request=self.health.report_list,
            on_synced=self._on_synced,
            relist=self._relist,
        )
        self._leadership = Leadership(
            cluster,
            settings.current.pod_namespace,
            identity,
            self._on_leadership,
            self.store.use_key,
            self._slots_to_record,
        )
        self._schema = SchemaCheck(cluster)
        context = ControllerContext(
            cluster,
            self.store,
            settings,
            self._metrics,
            self._leadership.leads,
            self._leadership.permit,
            self._sync,
            self._schema,
        )
        self._admitter = Admitter(context, self._leadership, self._queue.add)
        self._cluster = cluster
        recorder = EventRecorder(cluster, self._metrics, identity, self._leadership.permit)
        callbacks = callbacks or CallbackConfig(CallbackSender(), CALLBACK_SECRET)
        self._callback_loop = CallbackLoop(context, callbacks, recorder.post)
        self._worker = Worker(context, self._queue, self._admitter, recorder)
        self._reflectors = [
            self._reflector(cluster, resource, namespace)
            for namespace in self._sync.namespaces
            for resource in Resource
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set or a termination signal arrives.

        Jobs in the cluster keep running. The next operator continues with them.
        """
        parts = {
            "admission": self._admitter.run(),
            "callbacks": self._callback_loop.run(),
            "heartbeat": self._report_health(),
            "settings": self._reload(),
            "schema": self._schema.run(),
            **{f"worker {n}": self._worker.run() for n in range(_WORKERS)},
            **{f"reflector of {r.name}": r.run() for r in self._reflectors},
        }
        # Cancel this task last: it then releases the Lease, and no other part may write after that.
        lead = asyncio.create_task(self._leadership.run(), name="leadership")
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        for task in (lead, *tasks):
            task.add_done_callback(lambda done: _stop_if_failed(done, stop))
        try:
            await watch_conversions(
                self.store, self._sync.namespaces, self._identity, stop, self._login
            )
        finally:
            self.health.ready = False
            await _cancel(tasks)
            # The next leader starts as soon as the Lease is released.
            await self._cluster.finish_writes(_FINISH_SECONDS)
            await _cancel([lead])
        for task in (lead, *tasks):
            if not task.cancelled() and (error := task.exception()):
                raise error

    def _reflector(self, cluster: Cluster, resource: Resource, namespace: str) -> Reflector:
        self._sync.requested(resource, namespace)  # so that /healthz fails if it never starts
        # kopf watches ConversionJobs. Our lists repair events that kopf misses.
        watching = resource is not Resource.CONVERSIONS
        return Reflector(cluster, resource, namespace, self.store, self._sync, watching=watching)

    def _enqueue(self, uid: str) -> None:
        self._queue.add(uid)
        self._callback_loop.enqueue(uid)
        self._admitter.wake()

    def _on_synced(self, namespace: str) -> None:
        for uid in self.store.uids(namespace):
            self._enqueue(uid)
        self._admitter.wake()

    def _slots_to_record(self) -> Mapping[str, int]:
        return self._admitter.slots_to_record()

    def _relist(self) -> None:
        for reflector in self._reflectors:
            if reflector.resource is not Resource.CONVERSIONS:
                reflector.relist()

    def _on_leadership(self, leads: bool) -> None:
        self._metrics.leading.set(leads)
        self._admitter.wake()

    async def _report_health(self) -> None:
        while True:
            self.health.heartbeat()
            problems = (self._schema.problem, self._sync.problem())
            self.health.unlisted = ". ".join(filter(None, problems))
            self.health.ready = self._sync.ready() and not self._schema.problem
            unlisted = [name for name in self._sync.namespaces if not self._sync.synced(name)]
            self._metrics.unlisted.set(len(unlisted))
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def take_settings(self, config: Mapping[str, str] | None = None) -> None:
        """Take the texts of a ConfigMap. If a value has changed, enqueue all conversions."""
        if self.settings.take(config):
            logger.info("Settings changed", extra=self.settings.current.model_dump())
            for conversion in self.store.conversions():
                self._enqueue(conversion.key.uid)

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            self.take_settings(read_folder())


def _stop_if_failed(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Stop the operator if one of its parts failed. The kubelet then restarts all parts."""
    if not task.cancelled():
        logger.error("A part of the operator failed; stopping", extra={"part": task.get_name()})
        stop.set()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
