"""What kopf hands to us: every event of a ConversionJob. The only importer of ``kopf``.

on.event and nothing else: it writes nothing to the object and adds no finalizer, so that deleting
a ConversionJob never waits for an operator. It is not retried either, which the work queue and
the repeated lists make up for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

import kopf

from conversion_operator.api import names
from conversion_operator.cluster.objects import EventHandler, WatchEvent
from conversion_operator.cluster.parsing import parse_conversion, parse_event

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0

logger = logging.getLogger(__name__)

Login = Callable[..., kopf.ConnectionInfo | None]


def log_in(**context: Any) -> kopf.ConnectionInfo | None:
    """As the pod's service account, else as kubectl would. kopf asks again after a 401."""
    return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)


async def watch_conversions(
    handler: EventHandler,
    namespaces: Collection[str],
    identity: str,
    stop: asyncio.Event,
    login: Login = log_in,
) -> None:
    """Feed ``sink`` until ``stop`` is set or SIGTERM or SIGINT arrives.

    Each namespace has a kopf of its own: one that may not be watched, or is being deleted, must
    not end the others.
    """
    async with asyncio.TaskGroup() as group:
        for namespace in namespaces:
            group.create_task(_watch(handler, namespace, identity, stop, login))


async def _watch(
    handler: EventHandler, namespace: str, identity: str, stop: asyncio.Event, login: Login
) -> None:
    """Run kopf for one namespace, again and again.

    It gives up as a whole on some answers to its watch, a plain 410 or 403 among them. What is
    missed until it is begun anew is found by the next list.
    """
    pause = _FIRST_PAUSE
    while not stop.is_set():
        try:
            await _run_kopf(handler, namespace, identity, stop, login)
            # A signal reaches the kopf that was started last alone.
            stop.set()
        except Exception:
            logger.exception("kopf gave up on %s and is started again", namespace)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _run_kopf(
    handler: EventHandler, namespace: str, identity: str, stop: asyncio.Event, login: Login
) -> None:
    """Run kopf until it is told to stop.

    Its own ``operator()`` would, at its end, wait for and then cancel every task of the loop that
    is younger than itself, also those that are not its own; hence its two halves here.
    """
    tasks = await kopf.spawn_tasks(
        registry=_registry(handler, login),
        settings=_settings(),
        namespaces=[namespace],
        standalone=True,
        # kopf would look for the user's name, which a container's user does not have.
        identity=identity,  # type: ignore[arg-type]  # a NewType that kopf keeps to itself
        stop_flag=stop,
    )
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _registry(handler: EventHandler, login: Login) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        # The type is None for what was there when kopf started.
        parsed = parse_event(
            parse_conversion, WatchEvent(event["type"] or "ADDED", "", event["object"])
        )
        if parsed.object is not None:
            handler.apply(parsed)

    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Neither CRDs nor namespaces are watched: the operator has no rights beyond its namespaces.
    settings.scanning.disabled = True
    # Events are posted by us, for what is worth one; kopf's would repeat the log.
    settings.posting.enabled = False
    settings.watching.server_timeout = 45
    settings.watching.client_timeout = 60
    settings.watching.connect_timeout = 5
    return settings
