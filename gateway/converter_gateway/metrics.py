"""The Prometheus metrics of the HTTP API, and a server for them on a port of their own."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conversion_operator.api.version import version
from conversion_operator.cluster import page_server
from converter_gateway.limits import HEALTH_PATHS, kind_of
from converter_gateway.store_watch import StoreWatch

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
UNROUTED: Final = "none"
"""The route of a request that no route of the API has served: refused, or not found."""

InProgress = Mapping[str, Counts[str]]
"""The number of requests in progress, by kind and address."""

FindStores = Callable[[], Iterable[StoreWatch]]
"""Returns the stores of the namespaces in the settings."""


class Metrics:
    """One attribute for each metric. docs/metrics.md is generated from them.

    Labels have routes, codes and the namespaces of the settings. They never have names of objects
    or addresses, which callers choose, or other namespaces.
    """

    def __init__(
        self, registry: CollectorRegistry, in_progress: InProgress, stores: FindStores
    ) -> None:
        self.registry = registry
        self.requests = Counter(
            "converter_api_requests_total",
            "Requests that ended, by route and code. The code is `none` if the caller left first.",
            ("route", "code"),
            registry=registry,
        )
        self.seconds = Histogram(
            "converter_api_request_seconds",
            "Time from the headers of a request to the end of its response, in seconds, by route. "
            "Without streams and long polls.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        build_info = Gauge(
            "converter_api_build_info",
            "Always 1. The label is the version of the HTTP API.",
            ("version",),
            registry=registry,
        )
        build_info.labels(version()).set(1)
        registry.register(_State(in_progress, stores))


class _State(Collector):
    """What the replica is doing when Prometheus asks."""

    def __init__(self, in_progress: InProgress, stores: FindStores) -> None:
        self._in_progress, self._stores = in_progress, stores

    def collect(self) -> Iterator[Metric]:
        """Visits the namespaces, for each request of Prometheus. Runs in a thread."""
        open_now = GaugeMetricFamily(
            "converter_api_in_progress",
            "Requests in progress, by kind: requests, long polls or streams.",
            labels=("kind",),
        )
        for kind, addresses in list(self._in_progress.items()):
            open_now.add_metric((kind,), sum(list(addresses.values())))
        yield open_now
        ages = GaugeMetricFamily(
            "converter_api_store_age_seconds",
            "Seconds since the last list or watch event, bookmarks included, of a namespace of "
            "the settings, or of all: `*`.",
            labels=("namespace",),
        )
        current = GaugeMetricFamily(
            "converter_api_store_current",
            "1 if the store of a namespace of the settings is current. Otherwise 0: reads ask the "
            "API server, or get 503.",
            labels=("namespace",),
        )
        for watch in list(self._stores()):
            ages.add_metric((watch.namespace,), time.monotonic() - watch.heard_at)
            current.add_metric((watch.namespace,), watch.is_current)
        yield ages
        yield current


class Measure:
    """Counts and times the requests. Health checks are not measured."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        begun, code = time.monotonic(), "none"

        async def note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", UNROUTED)
            self._metrics.requests.labels(route, code).inc()
            if kind_of(scope) == "requests":
                self._metrics.seconds.labels(route).observe(time.monotonic() - begun)


def serve(port: int, registry: CollectorRegistry) -> WSGIServer:
    """Serve the metrics on all addresses until ``shutdown()`` of the returned server is called."""
    return page_server.serve(port, page_server.MetricsPage(registry), "metrics")
