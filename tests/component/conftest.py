"""Fixtures of the component tests: an API server in this process and the cluster around it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.component.support import FakeApi, FakeCluster


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """A new API server in automatic mode, with the namespace my-network and its claim."""
    server = FakeApi()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def cluster(api: FakeApi) -> FakeCluster:
    """The Job controller, scheduler, kubelets and nodes for ``api``."""
    return FakeCluster(api.storage, api.clock, api.simulation, api.pod_logs)
