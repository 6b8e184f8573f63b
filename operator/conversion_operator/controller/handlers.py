"""What kopf hands to us: every event of a ConversionJob. The only importer of ``kopf``.

on.event and nothing else: it writes nothing to the object and adds no finalizer, so that deleting
a ConversionJob never waits for an operator. It is not retried either, which the work queue and
the repeated lists make up for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import kopf

from conversion_operator.api import names
from conversion_operator.cluster.interface import Change, Resource, Sink


async def watch_conversions(sink: Sink, namespaces: Collection[str], stop: asyncio.Event) -> None:
    """Feed ``sink`` until ``stop`` is set, SIGTERM or SIGINT arrives, or kopf gives up."""
    await kopf.operator(
        registry=build_registry(sink),
        settings=_settings(),
        namespaces=namespaces,
        standalone=True,
        stop_flag=stop,
    )


def build_registry(sink: Sink) -> kopf.OperatorRegistry:
    """A registry that feeds ``sink``."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def log_in(**context: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        # The type is None for what was there when kopf started.
        sink.apply(Resource.CONVERSIONS, Change(event["type"] or "ADDED", event["object"]))

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
