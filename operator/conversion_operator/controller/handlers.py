"""Watches ConversionJobs with kopf. The only module that imports ``kopf``.

``kopf.on.event`` is the only kind of handler here. It writes nothing to the object and adds no
finalizer, so deleting a ConversionJob never waits for an operator. kopf does not retry such a
handler. The work queue retries failed reconciliations, and relists repair missed events.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, cast

import kopf

from conversion_operator.api import names
from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.objects import Body, EventHandler, Resource, WatchEvent
from conversion_operator.cluster.parsing import parse_event, parse_used
from conversion_operator.cluster.reflector import place, watch_cure
from conversion_operator.controller.task_scope import task_scope

_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 60.0
# kopf repeats a request for about a minute before it fails. If it ran longer, it worked.
_WORKED_SECONDS: Final = 120.0
_PAGE_OBJECTS: Final = 20
_IDLE_WORKER_SECONDS: Final = 0.1

logger = logging.getLogger(__name__)

Login = Callable[..., kopf.ConnectionInfo | None]


def log_in(**context: Any) -> kopf.ConnectionInfo | None:
    """Log in with the pod's service account, else the kubeconfig. kopf calls this after a 401."""
    return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set ``stop`` when SIGTERM or SIGINT arrives.

    Each kopf takes the signals when it starts, also from one that still runs. So this is called
    again after each start.
    """
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)


async def watch_conversions(
    handler: EventHandler,
    namespace: str,
    identity: str,
    stop: asyncio.Event,
    starts: asyncio.Semaphore,
    login: Login = log_in,
) -> None:
    """Give ``handler`` every watch event of a scope until ``stop`` is set.

    A scope is one namespace, or ALL_NAMESPACES. Each has its own kopf, which is restarted when it
    fails. If the operator has no rights in a namespace, or the namespace is being deleted, the
    others must continue.

    ``starts`` is for one at a time: the start of a kopf takes some milliseconds, in which nothing
    else runs. Hundreds together would take seconds.

    Some responses to its watch stop kopf completely, for example 410 and 403. The next relist
    repairs the events that were missed during the restart.
    """
    backoff, logged = Backoff(_FIRST_DELAY, _LONGEST_DELAY), ""
    while not stop.is_set():
        started = time.monotonic()
        try:
            await _run_kopf(handler, namespace, identity, stop, starts, login)
            # kopf ends without an error only if it is told to.
            stop.set()
        except Exception as error:
            if time.monotonic() - started > _WORKED_SECONDS:
                backoff.reset()
                logged = ""
            delay = backoff.next()
            logged = _log_failure(namespace, error, delay, logged)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay)


def _log_failure(namespace: str, error: Exception, delay: float, logged: str) -> str:
    """Log a failure in one line, and the same one in a row only once. Returns what was logged.

    A namespace that the operator may not watch would fill the log: kopf fails there every minute.
    """
    problem = f"{type(error).__name__}: {error.args[0] if error.args else error}"
    cure = f". {watch_cure(namespace)}" if getattr(error, "status", None) == 403 else ""
    logger.log(
        logging.DEBUG if problem == logged else logging.ERROR,
        "The watch of conversionjobs in %s failed; restarting kopf in %.1f s: %s%s",
        *(place(namespace), delay, problem, cure),
    )
    logger.debug("The failure of kopf in %s", place(namespace), exc_info=error)
    return problem


async def _run_kopf(
    handler: EventHandler,
    namespace: str,
    identity: str,
    stop: asyncio.Event,
    starts: asyncio.Semaphore,
    login: Login,
) -> None:
    """Run kopf until ``stop`` is set.

    ``kopf.operator()`` is not used: when it ends, it cancels every task of the event loop that was
    created after it, including tasks of ours. This function starts and stops kopf's tasks alone.
    """
    async with task_scope() as outside:
        async with starts:
            tasks = await kopf.spawn_tasks(
                registry=_registry(handler, login, outside),
                settings=_settings(),
                clusterwide=namespace == ALL_NAMESPACES,
                namespaces=[] if namespace == ALL_NAMESPACES else [namespace],
                standalone=True,
                # kopf's default is the name of the user. The user of a container has no name.
                identity=identity,  # type: ignore[arg-type]  # a NewType that kopf does not export
                stop_flag=stop,
            )
            await asyncio.sleep(0)
        stop_on_signals(stop)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # First kopf's own tasks: they end those that they have created. Some of these must not
            # be cancelled before, for example the cleaner of a scheduler that is being closed.
            for task in tasks:
                task.cancel()
            # Not gather(): it would cancel them again if this task is cancelled meanwhile, and then
            # kopf does not close its session.
            await asyncio.wait(tasks)


def _registry(handler: EventHandler, login: Login, outside: Context) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)

    # kopf asks `when` before it prepares the call of the handler, which costs more than the rest.
    @kopf.on.event(
        *(names.GROUP, names.VERSION, names.PLURAL),
        registry=registry,
        when=lambda event, **_: not is_known(handler, _watch_event(event)),
    )
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        outside.run(handler.apply, parse_event(parse_used, _watch_event(event)))

    return registry


def _watch_event(event: kopf.RawEvent) -> WatchEvent[Body]:
    # The type is None for an object that existed when kopf started.
    return WatchEvent(event["type"] or "ADDED", "", event["object"])


def is_known(handler: EventHandler, event: WatchEvent[Body]) -> bool:
    """True if this version is known already.

    When the operator starts, our list shows all objects, too. The answer to a write of a status
    comes before its event.
    """
    if event.object is None or event.type == "DELETED":
        return False
    # An error here would stop kopf.
    meta = event.object.get("metadata") or {}
    known = handler.find_known(Resource.CONVERSIONS, meta.get("uid", ""))
    return known is not None and str(known.version) == meta.get("resourceVersion")


class _NothingKept(kopf.DiffBaseStorage):
    """What kopf compares with the last handled state of an object: nothing, as no handler here
    needs the difference. By default, kopf copies the whole object for each event."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Part of the interface."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Part of the interface."""
        return None

    def store(self, **_: Any) -> None:
        """Part of the interface."""


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Watch neither CRDs nor namespaces: the operator has no rights outside its namespaces.
    settings.scanning.disabled = True
    # If a kopf is ended while the operator runs on, kopf would kill the process after 10 minutes.
    settings.process.ultimate_exiting_timeout = None
    # The EventRecorder posts Events. Those of kopf would repeat the log.
    settings.posting.enabled = False
    settings.watching.server_timeout = 45
    settings.watching.client_timeout = 60
    settings.watching.connect_timeout = 5
    # kopf holds a page of its list in memory three times, and the last event of an object until
    # the object's worker ends. An object may have 1.5 MB, and many may change at the same time.
    settings.watching.chunk_size = _PAGE_OBJECTS
    settings.queueing.idle_timeout = _IDLE_WORKER_SECONDS
    settings.persistence.diffbase_storage = _NothingKept()
    return settings
