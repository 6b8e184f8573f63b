"""Fixtures of the component tests: an API server in this process and a world around it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.component.support import FakeApi, World


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """A fresh API server with namespace my-network and its claim, in automatic mode."""
    server = FakeApi()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def world(api: FakeApi) -> World:
    """Job controller, scheduler and kubelets for ``api``."""
    return World(api.store, api.clock, api.machinery, api.pod_logs)
