"""``python -m converter_gateway`` serves the HTTP API until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType
from typing import Final

import uvicorn

from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.cluster.transport import load_configuration
from converter_gateway.app import create_app
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import Shutdown

# How long requests in progress may take after the server has closed its listening socket. This time
# and GATEWAY_DRAIN_SECONDS together fit into a pod's default grace period of 30 s.
GRACEFUL_SECONDS: Final = 20
_RELOAD_SECONDS: Final = 30


class _Server(uvicorn.Server):
    """Reports not ready first, then ends the streams, then stops."""

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, drain_seconds: float) -> None:
        super().__init__(config)
        self._shutdown, self._drain_seconds = shutdown, drain_seconds
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown at the first signal. A second signal skips the drain time."""
        if self._shutdown.draining:
            self._loop.call_soon_threadsafe(self._stop)
            return
        self._shutdown.drain()
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._stop)

    def _stop(self) -> None:
        self._shutdown.end()
        self.should_exit = True


def limit_stalls(listener: socket.socket, seconds: float) -> socket.socket:
    """Make the kernel close connections whose peer acknowledges no data for ``seconds``.

    Without this option, a stream to a vanished peer stays open for about 15 minutes: its heartbeats
    fit into the kernel's send buffer. Accepted connections inherit the option from the listener.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
    return listener


async def _reload_settings(live: LiveSettings[GatewaySettings]) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        live.reload()


async def _serve() -> None:
    live = LiveSettings(GatewaySettings)
    settings = live.current
    cluster = ConversionClient(await load_configuration(), "my-network-gateway")
    reloading = asyncio.create_task(_reload_settings(live))
    try:
        app = create_app(cluster, settings, live=lambda: live.current)
        config = uvicorn.Config(
            app,
            host="0.0.0.0",  # noqa: S104  in a pod, behind a Service and a NetworkPolicy
            port=settings.gateway_port,
            access_log=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
        listener = limit_stalls(config.bind_socket(), settings.gateway_stall_seconds)
        server = _Server(config, app.state.shutdown, settings.gateway_drain_seconds)
        await server.serve([listener])
    finally:
        reloading.cancel()
        await cluster.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_serve())
