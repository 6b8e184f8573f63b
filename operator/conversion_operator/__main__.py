"""``python -m conversion_operator`` runs the operator."""

from __future__ import annotations

import asyncio
import socket
import sys

from conversion_operator.cluster.early_exit import exit_on_sigterm

exit_on_sigterm()

from conversion_operator.api import names
from conversion_operator.api.version import version
from conversion_operator.app import Operator
from conversion_operator.cluster import logs, page_server
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.settings import LiveSettings, read_folder
from conversion_operator.cluster.transport import load_configuration
from conversion_operator.controller import garbage, probes
from conversion_operator.controller.settings import Settings


async def run(settings: LiveSettings[Settings]) -> None:
    """Serve the probes and run the operator until a signal arrives."""
    cluster = Cluster(
        await load_configuration(),
        user_agent="my-network-converter",
        field_manager=names.MANAGER_PREFIX + settings.current.pod_namespace,
    )
    # Outside a pod there is no POD_NAME. The host name is unique enough.
    identity = settings.current.pod_name or socket.gethostname()
    operator = Operator(cluster, settings, identity)
    metrics = page_server.MetricsPage(operator.registry)
    pages = probes.create_application(metrics, operator.health)
    server = page_server.serve(settings.current.probe_port, pages, "probes")
    try:
        await operator.run(asyncio.Event())
    finally:
        server.shutdown()
        await cluster.close()


def main() -> None:
    """Read the environment and run the operator. With --version, prints the version instead."""
    if sys.argv[1:] == ["--version"]:
        print(version())  # noqa: T201
        return
    settings = LiveSettings(Settings)
    # A Deployment of a former release mounts the ConfigMap, and its Role may lack the right
    # to watch it.
    settings.take(read_folder())
    logs.configure(settings.current.log_level)
    garbage.limit_collections()
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
