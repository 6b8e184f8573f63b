"""Answers requests for /metrics, /healthz and /readyz.

The server runs this in threads of its own, which respond even while the event loop is busy. So a
busy event loop does not fail a probe.
:class:`~conversion_operator.controller.health.Health` decides when the loop has been busy for too
long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from conversion_operator.controller.health import Health

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def create_application(metrics: Application, health: Health) -> Application:
    """A WSGI application. ``metrics`` is the one that answers for /metrics."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            return metrics(environ, start)
        if path not in ("/healthz", "/readyz"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Try /metrics, /healthz or /readyz\n"]
        problem = health.problem()
        if path == "/readyz" and not problem and not health.ready:
            problem = f"Not ready. {health.unlisted}"
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        text = problem or (f"ok. {health.unlisted}" if health.unlisted else "ok")
        return [text.encode() + b"\n"]

    return application
