"""Serves /metrics, /healthz and /readyz from a thread of their own.

The thread responds even while the event loop is busy, so a busy event loop does not fail a probe.
:class:`~conversion_operator.controller.health.Health` decides when the loop has been busy for too
long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from conversion_operator.controller.health import Health


class _Server(ThreadingMixIn, WSGIServer):
    # One thread per connection: a client that connects and sends nothing must not block probes.
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 5

    # Probes come every few seconds and would fill the log.
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


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

    server = make_server("", port, application, _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
