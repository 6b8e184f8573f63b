"""``python -m conversion_operator.gateway``: serve the HTTP API until SIGTERM."""

from __future__ import annotations

import asyncio
import logging

import uvicorn

from conversion_operator.cluster.conversions import KubeConversions
from conversion_operator.cluster.transport import load_configuration
from conversion_operator.gateway.app import create_app
from conversion_operator.gateway.settings import read_settings


async def _serve() -> None:
    settings = read_settings()
    cluster = KubeConversions(await load_configuration(), "my-network-gateway")
    try:
        config = uvicorn.Config(
            create_app(cluster, settings),
            host="0.0.0.0",  # noqa: S104  it is a pod's, behind a Service and a NetworkPolicy
            port=settings.gateway_port,
            access_log=False,
            timeout_graceful_shutdown=20,
        )
        await uvicorn.Server(config).serve()
    finally:
        await cluster.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_serve())
