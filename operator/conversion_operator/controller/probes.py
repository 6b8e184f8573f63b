"""/metrics, /healthz and /readyz, on a thread of their own.

On a thread, so that a busy event loop is never taken for a dead one; what counts is the heartbeat
the loop leaves behind, and when each watch last heard something.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from conversion_operator.cluster.reflector import Reflector

LOOP_LIMIT_SECONDS: Final = 60.0
LIST_LIMIT_SECONDS: Final = 150.0
"""Lists are due every minute. An API server that is away is no reason to restart, since that
would not bring it back; a reflector that does not even try any more is."""


class Health:
    """What the event loop leaves behind for the probes, in values a thread may read."""

    def __init__(self) -> None:
        self.beaten_at = time.monotonic()
        self.ready = False
        self.reflectors: list[Reflector] = []

    def beat(self) -> None:
        """The loop turns."""
        self.beaten_at = time.monotonic()

    def problem(self) -> str:
        """What is wrong; "" if nothing is."""
        now = time.monotonic()
        if now - self.beaten_at > LOOP_LIMIT_SECONDS:
            return f"the event loop has not turned for {now - self.beaten_at:.0f} s"
        for reflector in self.reflectors:
            if now - reflector.health.tried_at > LIST_LIMIT_SECONDS:
                return f"{reflector.resource} in {reflector.namespace} are not listed any more"
        return ""


class _Server(ThreadingMixIn, WSGIServer):
    # A thread a connection: one client that connects and says nothing must not hold up the probes.
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 5

    # Probes every few seconds would be most of the log.
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def serve(port: int, registry: CollectorRegistry, health: Health) -> WSGIServer:
    """Serve on all addresses until ``shutdown()`` of the result is called."""
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start)
            return answer
        if path == "/healthz":
            problem = health.problem()
        elif path == "/readyz":
            problem = health.problem() or ("" if health.ready else "not in step yet")
        else:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"try /metrics, /healthz or /readyz\n"]
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        return [(problem or "ok").encode() + b"\n"]

    server = make_server("", port, application, _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
