"""``python -m converter_gateway``: serve the HTTP API until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType
from typing import Final

import uvicorn

from conversion_operator.cluster.conversions import Conversions
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.cluster.transport import load_configuration
from converter_gateway.app import create_app
from converter_gateway.closing import Closing
from converter_gateway.settings import GatewaySettings

# For the requests under way once nobody new is let in. With the time to drain before it this is
# within a pod's usual grace period of 30 s.
GRACEFUL_SECONDS: Final = 20
_RELOAD_SECONDS: Final = 30


class _Server(uvicorn.Server):
    """One that goes out of service in steps: not ready, then streams end, then the rest."""

    def __init__(self, config: uvicorn.Config, closing: Closing, drain_seconds: float) -> None:
        super().__init__(config)
        self._closing, self._drain_seconds = closing, drain_seconds
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the way out, a second one cuts the time to drain short."""
        if self._closing.draining:
            self._loop.call_soon_threadsafe(self._stop)
            return
        self._closing.drain()
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._stop)

    def _stop(self) -> None:
        self._closing.end()
        self.should_exit = True


def watched(listener: socket.socket, seconds: float) -> socket.socket:
    """Have connections end whose peer has vanished, or takes nothing, for that long.

    A heartbeat alone does not show it for a quarter of an hour: it fits into the kernel's buffer.
    Connections that are accepted inherit it.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
    return listener


async def _keep_reading(live: LiveSettings[GatewaySettings]) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        live.reload()


async def _serve() -> None:
    live = LiveSettings(GatewaySettings)
    settings = live.current
    cluster = Conversions(await load_configuration(), "my-network-gateway")
    reloading = asyncio.create_task(_keep_reading(live))
    try:
        app = create_app(cluster, settings, live=lambda: live.current)
        config = uvicorn.Config(
            app,
            host="0.0.0.0",  # noqa: S104  it is a pod's, behind a Service and a NetworkPolicy
            port=settings.gateway_port,
            access_log=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
        listener = watched(config.bind_socket(), settings.gateway_stall_seconds)
        server = _Server(config, app.state.closing, settings.gateway_drain_seconds)
        await server.serve([listener])
    finally:
        reloading.cancel()
        await cluster.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_serve())
