"""``python -m converter_gateway`` serves the HTTP API until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import Final

from conversion_operator.cluster.early_exit import exit_on_sigterm

exit_on_sigterm()

from conversion_operator.api.version import version
from conversion_operator.cluster import logs
from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.settings import LiveSettings, read_folder
from conversion_operator.cluster.transport import load_configuration
from converter_gateway import metrics
from converter_gateway.app import create_app
from converter_gateway.file_client import FileClient
from converter_gateway.server import GatewayServer, open_listener
from converter_gateway.settings import GatewaySettings, own_problems
from converter_gateway.stores import Stores

_RELOAD_SECONDS: Final = 30

logger = logging.getLogger(__name__)


async def _reload_settings(live: LiveSettings[GatewaySettings]) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        try:
            live.take(read_folder())
        except OSError as error:
            logger.warning("Cannot read the settings; keeping those in force: %s", error)


async def _freeze(stores: Stores) -> None:
    """Leave what the process has when it is ready to the end of the process.

    Most of it stays. Each full garbage collection would visit it all, and stop the event loop for
    80 ms with 20 000 records.
    """
    await stores.first_tries()
    gc.collect()
    gc.freeze()


async def _serve(live: LiveSettings[GatewaySettings]) -> None:
    settings = live.current
    cluster = ConversionClient(await load_configuration(), "my-network-gateway")
    files: FileClient | None = None
    reloading = asyncio.create_task(_reload_settings(live))
    try:
        app = create_app(cluster, settings, live=lambda: live.current)
        files = app.state.files
        app.state.stores.open_configured()
        cluster.start(_freeze(app.state.stores))
        metrics_server = metrics.serve(settings.gateway_metrics_port, app.state.metrics.registry)
        logger.info("Metrics are served", extra={"metrics_port": metrics_server.server_port})
        # All addresses: in a pod, behind a Service and a NetworkPolicy.
        listener = open_listener("0.0.0.0", settings.gateway_port, settings.gateway_stall_seconds)  # noqa: S104
        await GatewayServer(app, settings, listener).serve()
    finally:
        reloading.cancel()
        if files:
            await files.close()
        await cluster.close()


def main() -> None:
    """Read the settings and serve. With --version, prints the version instead.

    Exits with a message if a setting of the HTTP API is invalid: the replicas that run go on, and a
    default would be dangerous, for example another namespace. An invalid setting of the operator is
    only logged.
    """
    if sys.argv[1:] == ["--version"]:
        print(version())  # noqa: T201
        return
    logs.configure("INFO")
    settings = LiveSettings(GatewaySettings)
    settings.take(read_folder())
    if invalid := own_problems(settings.problems):
        sys.exit(f"Cannot start because of an invalid setting: {invalid}")
    asyncio.run(_serve(settings))


if __name__ == "__main__":
    main()
