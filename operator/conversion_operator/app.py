"""Builds the parts of the operator, connects them, and runs them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.callbacks.loop import CallbackConfig, CallbackLoop
from conversion_operator.callbacks.sender import CallbackSender
from conversion_operator.cluster import logs
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import Resource
from conversion_operator.cluster.reflector import Reflector, place
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.admitter import Admitter
from conversion_operator.controller.context import ControllerContext
from conversion_operator.controller.handlers import (
    Login,
    log_in,
    stop_on_signals,
    watch_conversions,
)
from conversion_operator.controller.health import Health
from conversion_operator.controller.leadership import Leadership
from conversion_operator.controller.loop_lag import LoopLag
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.namespaces import Namespaces, Parts
from conversion_operator.controller.policy import LivePolicy
from conversion_operator.controller.profile_reader import ProfileReader
from conversion_operator.controller.queue_repair import repair_queue
from conversion_operator.controller.queue_status import QueueStatus
from conversion_operator.controller.queue_watch import QueueWatch
from conversion_operator.controller.queued_statuses import QueuedStatuses
from conversion_operator.controller.recorder import EventRecorder
from conversion_operator.controller.reviews import Reviews
from conversion_operator.controller.schema_check import SchemaCheck
from conversion_operator.controller.settings import CALLBACK_SECRET, Settings
from conversion_operator.controller.settings_watch import SettingsReport, SettingsWatch
from conversion_operator.controller.sharing import SharedNamespaces
from conversion_operator.controller.store import Store
from conversion_operator.controller.sync import NamespaceSync
from conversion_operator.controller.waiting_events import WaitingEvents
from conversion_operator.controller.worker import Worker
from conversion_operator.controller.workqueue import WorkQueue
from conversion_operator.tracing import Tracer

WORKERS: Final = 16
_HEARTBEAT_SECONDS: Final = 1.0
_KOPF: Final = "kopf"
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
        self._reviews = Reviews(self._review)
        self._stop = asyncio.Event()
        self._sync = NamespaceSync(
            on_request=self.health.report_list,
            on_synced=self._on_synced,
            relist=self._relist,
        )
        self._metrics.store_age.set_function(self._sync.age)
        self._metrics.name_claim(settings.current.shared_volume_claim)
        cluster.count_requests(self._metrics.count_request)
        self._leadership = Leadership(
            cluster,
            settings.current.pod_namespace,
            identity,
            self._on_leadership,
            self.store.use_key,
            self._slots_to_record,
        )
        self._schema = SchemaCheck(cluster)
        self._queue_watch = QueueWatch(
            cluster, settings.current.pod_namespace, self._on_queues_changed
        )
        context = ControllerContext(
            cluster,
            self.store,
            settings,
            self._metrics,
            self._leadership.leads,
            self._leadership.permit,
            self._sync,
            self._schema,
            self._queue_watch,
            LivePolicy(settings, self._queue_watch).current,
        )
        self._context = context
        self._namespaces = Namespaces(
            self._sync, self._watch_parts, self._stop_if_failed, self._under_way, self._forget
        )
        self._admitter = Admitter(
            context,
            self._leadership,
            self._enqueue_later,
            self._namespaces.leave,
            lambda: self._queue.urgent,
            lambda uid: self._queued_statuses.request_position(uid),  # noqa: PLW0108 it is made later
        )
        self._cluster = cluster
        self._settings_watch = SettingsWatch(
            cluster, settings.current.pod_namespace, self.take_settings
        )
        waiting = WaitingEvents(
            context.policy, settings.current.pod_namespace, lambda: self._settings_watch.about
        )
        self._tracer = Tracer(settings.current.pod_namespace, self._metrics.count_spans)
        self._tracer.use(settings.current.converter_traces_url)
        recorder = EventRecorder(
            *(cluster, self._metrics, identity, self._leadership.permit),
            *(waiting.find, self._tracer.record),
        )
        callbacks = callbacks or CallbackConfig(CallbackSender(), CALLBACK_SECRET)
        self._callback_loop = CallbackLoop(context, callbacks, recorder.post)
        self._queued_statuses = QueuedStatuses(
            self._admitter.queue, self.store, self._queue, context.leads, cluster.now
        )
        self._queue_status = QueueStatus(
            context, self._admitter.queue, recorder.post, self._admitter.slots_held
        )
        self._profiles = ProfileReader(
            cluster, self._leadership.leads, self._queue.add, self._metrics.errors.inc
        )
        self._worker = Worker(
            context, self._queue, self._admitter, recorder, self._profiles, self._queued_statuses
        )
        self._settings_report = SettingsReport(self._metrics, recorder.post)
        self._shared = SharedNamespaces(
            settings.current.pod_namespace, self._metrics, recorder.post
        )
        self._reflectors: dict[str, list[Reflector]] = {}
        self._kopf_starts = asyncio.Semaphore(1)
        self._started = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set or a termination signal arrives.

        Jobs in the cluster keep running. The next operator continues with them.
        """
        self._stop = stop
        stop_on_signals(stop)
        tasks = self._create_tasks(
            {
                "heartbeat": self._report_health(),
                "loop lag": LoopLag(self._metrics.loop_lag, time.monotonic()).run(),
                "settings": self._settings_watch.run(),
            }
        )
        lead: asyncio.Task[None] | None = None
        try:
            if await self._settings_known():
                # Cancel this task last: it then releases the Lease, and no other part may write
                # after that.
                lead = self._create_tasks({"leadership": self._leadership.run()})[0]
                self._namespaces.serve(self.settings.current.namespaces)
                self._started = True
                parts = {
                    "admission": self._admitter.run(),
                    "reviews": self._reviews.run(),
                    "repair of the queue": repair_queue(self._context, self._admitter),
                    "statuses of waiting conversions": self._queued_statuses.run(),
                    "callbacks": self._callback_loop.run(),
                    "namespaces": self._release_namespaces(),
                    "schema": self._schema.run(),
                    "conversion queues": self._queue_watch.run(),
                    "statuses of queues": self._queue_status.run(),
                    "profiles": self._profiles.run(),
                    **{f"worker {n}": self._worker.run() for n in range(WORKERS)},
                }
                tasks += self._create_tasks(parts)
            await stop.wait()
            # kopf ends by itself. If it were cancelled, too, it would not close its sessions.
            await self._namespaces.wait_for(_KOPF)
        finally:
            self.health.ready = self._started = False
            tasks += self._namespaces.tasks
            await _cancel(tasks)
            # The next leader starts as soon as the Lease is released.
            await self._cluster.finish_writes(_FINISH_SECONDS)
            if lead is not None:
                tasks.append(lead)
                await _cancel([lead])
            # Last, because the next leader does not wait for it.
            await asyncio.to_thread(self._tracer.close)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error

    def _create_tasks(
        self, parts: Mapping[str, Coroutine[Any, Any, None]]
    ) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        for task in tasks:
            task.add_done_callback(self._stop_if_failed)
        return tasks

    async def _settings_known(self) -> bool:
        """Wait for the first answer about the settings. False if the operator stops meanwhile."""
        waits = [
            asyncio.create_task(wait)
            for wait in (self._settings_watch.first_answer(), self._stop.wait())
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._stop.is_set()

    def _watch_parts(self, namespace: str) -> Parts:
        """What watches a namespace, or ALL_NAMESPACES: kopf, and a reflector for each resource."""
        self._shared.begin(namespace, self._cluster.now())
        self._reflectors[namespace] = [self._reflector(each, namespace) for each in Resource]
        kopf = watch_conversions(
            self.store, namespace, self._identity, self._stop, self._kopf_starts, self._login
        )
        return {f"{_KOPF} in {place(namespace)}": kopf} | {
            f"reflector of {reflector.name}": reflector.run()
            for reflector in self._reflectors[namespace]
        }

    def _reflector(self, resource: Resource, namespace: str) -> Reflector:
        self._sync.requested(resource, namespace)  # so that /healthz fails if it never starts
        # kopf watches ConversionJobs. Our lists repair events that kopf misses.
        watching = resource is not Resource.CONVERSIONS
        return Reflector(
            self._cluster, resource, namespace, self.store, self._sync, watching=watching
        )

    def _under_way(self, namespace: str) -> bool:
        """Whether something of ours is under way in a namespace.

        ALL_NAMESPACES stands for those that are not watched by their names.
        """
        accepts = self._scope(namespace)
        return self._admitter.is_starting_in(accepts) or any(
            self._context.is_under_way(uid) for uid in self.store.uids(accepts)
        )

    def _scope(self, namespace: str) -> Callable[[str], bool]:
        """Whether only the watches of ``namespace``, or of ALL_NAMESPACES, show a namespace."""
        if namespace == ALL_NAMESPACES:
            named = frozenset(self._sync.namespaces)
            return lambda name: name not in named
        return lambda name: name == namespace

    def _forget(self, namespace: str) -> None:
        self._shared.forget(namespace)
        self.store.forget_lists(namespace)
        for reflector in self._reflectors.pop(namespace, ()):
            self.health.forget_list(reflector.name)
        if self._sync.lists_known(ALL_NAMESPACES):
            return  # the lists and watches of all namespaces have the same objects
        for uid in self.store.forget_namespaces(self._scope(namespace)):
            self._queue.add(uid)  # the worker forgets it, too
            self._admitter.note_change(uid)
        self._admitter.wake()

    async def _release_namespaces(self) -> None:
        while True:
            await self._namespaces.release()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def _enqueue(self, uid: str, *, low_priority: bool = False) -> None:
        # Thousands of conversions that are created at once do not delay the ends of others.
        self._queue.add(uid, low_priority=low_priority or self.store.is_new(uid))
        if conversion := self.store.conversion(uid):
            self._shared.observe(conversion)
        self._callback_loop.enqueue(uid)
        self._admitter.note_change(uid)

    def _enqueue_later(self, uid: str) -> None:
        """Reconcile a conversion after those that have changed: ends come before positions."""
        self._queue.add(uid, low_priority=True)

    def _on_synced(self, namespace: str) -> None:
        everywhere = namespace == ALL_NAMESPACES
        self._reviews.add(self.store.uids(lambda name: everywhere or name == namespace))
        self._admitter.wake()

    def _review(self, uid: str, low_priority: bool) -> None:
        conversion = self.store.conversion(uid)
        finished = conversion is not None and conversion.finished
        self._enqueue(uid, low_priority=low_priority or finished)

    def _on_queues_changed(self) -> None:
        """Look at what runs: a queue that is drained stops it. The pass tells all that wait.

        Visits all conversions, once for each change of a ConversionQueue.
        """
        self._admitter.wake()
        for conversion in self.store.conversions():
            uid = conversion.key.uid
            if not conversion.finished and self.store.children(uid).live:
                self._queue.add(uid)

    async def _slots_to_record(self) -> Mapping[str, int]:
        return await self._admitter.slots_to_record()

    def _relist(self) -> None:
        for reflector in itertools.chain.from_iterable(self._reflectors.values()):
            if reflector.resource is not Resource.CONVERSIONS:
                reflector.relist()

    def _on_leadership(self, leads: bool) -> None:
        self._metrics.leading.set(leads)
        if not leads:
            self._metrics.forget_term()
            self._worker.end_term()
        self._admitter.wake()

    async def _report_health(self) -> None:
        while True:
            self.health.heartbeat()
            settings = self.settings.problems
            leads = self._leadership.leads()
            self._settings_report.tell(settings, self._settings_watch, leads=leads)
            problems = (
                self._schema.problem,
                self._queue_watch.problem,
                self._tell_refusal(leads=leads),
                self._sync.problem(),
                self._settings_watch.problem,
                self._settings_report.summary(settings),
                self._shared.tell(self._settings_watch.about, leads=leads),
            )
            self.health.unlisted = ". ".join(filter(None, problems))
            ready = self._started and self._sync.ready()
            self.health.ready = ready and not self._schema.problem
            unlisted = [name for name in self._sync.namespaces if not self._sync.synced(name)]
            self._metrics.tell_admission(self._context.admission_causes() if leads else ())
            self._metrics.unlisted.set(len(unlisted))
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def _tell_refusal(self, *, leads: bool) -> str:
        refusal, about = self._sync.refusal_of_all(), self._settings_watch.about
        self._settings_report.tell_refusal(refusal, about, leads=leads)
        return refusal

    def take_settings(self, config: Mapping[str, str] | None = None) -> None:
        """Take the texts of a ConfigMap. If a value has changed, enqueue all conversions."""
        before = self.settings.current
        if not self.settings.take(config):
            return
        settings = self.settings.current
        logger.info("Settings changed", extra=settings.loggable())
        if settings.log_level != before.log_level:
            logs.set_level(settings.log_level)
        if settings.shared_volume_claim != before.shared_volume_claim:
            self._metrics.name_claim(settings.shared_volume_claim)
        self._tracer.use(settings.converter_traces_url)
        if self._started:
            self._namespaces.serve(settings.namespaces)
        self._reviews.add((each.key.uid for each in self.store.conversions()), low_priority=True)

    def _stop_if_failed(self, task: asyncio.Task[None]) -> None:
        """Stop the operator if one of its parts failed. The kubelet then restarts all parts."""
        if not task.cancelled() and not self._stop.is_set():
            logger.error("A part of the operator failed; stopping", extra={"part": task.get_name()})
            self._stop.set()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
