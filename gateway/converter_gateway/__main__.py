"""``python -m converter_gateway`` serves the HTTP API until SIGTERM."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from pydantic import ValidationError

from conversion_operator.api.version import version
from conversion_operator.cluster import logs
from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.cluster.transport import load_configuration
from converter_gateway.app import create_app
from converter_gateway.server import GatewayServer, open_listener
from converter_gateway.settings import GatewaySettings

_RELOAD_SECONDS: Final = 30


async def _reload_settings(live: LiveSettings[GatewaySettings]) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        live.reload()


async def _serve(live: LiveSettings[GatewaySettings]) -> None:
    settings = live.current
    cluster = ConversionClient(await load_configuration(), "my-network-gateway")
    reloading = asyncio.create_task(_reload_settings(live))
    try:
        app = create_app(cluster, settings, live=lambda: live.current)
        # All addresses: in a pod, behind a Service and a NetworkPolicy.
        listener = open_listener("0.0.0.0", settings.gateway_port, settings.gateway_stall_seconds)  # noqa: S104
        await GatewayServer(app, settings, listener).serve()
    finally:
        reloading.cancel()
        await cluster.close()


def main() -> None:
    """Read the settings and serve. Exits with a message if a setting is invalid.

    With --version, prints the version instead.
    """
    if sys.argv[1:] == ["--version"]:
        print(version())  # noqa: T201
        return
    try:
        settings = LiveSettings(GatewaySettings)
    except ValidationError as error:
        sys.exit(f"Cannot start because of an invalid setting: {error}")
    logs.configure("INFO")
    asyncio.run(_serve(settings))


if __name__ == "__main__":
    main()
