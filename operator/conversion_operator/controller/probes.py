"""Serves /metrics, /healthz and /readyz from threads of their own.

The threads respond even while the event loop is busy, so a busy event loop does not fail a probe.
:class:`~conversion_operator.controller.health.Health` decides when the loop has been busy for too
long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from conversion_operator.cluster import page_server
from conversion_operator.controller.health import Health


def serve(port: int, registry: CollectorRegistry, health: Health) -> WSGIServer:
    """Serve on all addresses until ``shutdown()`` of the returned server is called."""
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            exposition: Iterable[bytes] = metrics(environ, start)
            return exposition
        if path not in ("/healthz", "/readyz"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Try /metrics, /healthz or /readyz\n"]
        problem = health.problem()
        if path == "/readyz" and not problem and not health.ready:
            problem = f"Not ready. {health.unlisted}"
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        text = problem or (f"ok. {health.unlisted}" if health.unlisted else "ok")
        return [text.encode() + b"\n"]

    return page_server.serve(port, application, "probes")
