"""Fixtures of the component tests: an API server and the cluster around it.

By default the API server is the fake one, in this process. With ``--real-api`` the tests marked
``judged`` run against a real one instead, and the others are deselected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from kubernetes.aio.client import ApiClient, BatchV1Api, CoreV1Api, CustomObjectsApi

from tests.component.support import FakeApi, FakeCluster
from tests.component.support.real.api import RealApi, install_crd
from tests.component.support.real.cluster import RealCluster
from tests.component.support.real.processes import ControlPlane
from tests.component.support.real.waits import shorten
from tests.component.support.tools import client
from tests.component.volume_files import make_volume


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane | None]:
    """The processes of the real control plane. None if the tests use the fake API server."""
    if not pytestconfig.getoption("real_api"):
        yield None
        return
    plane = ControlPlane()
    try:
        plane.start_api_server()
        install_crd(plane)
        plane.start_controllers()
        yield plane
    finally:
        plane.stop()


@pytest.fixture(autouse=True)
def _short_waits(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    if pytestconfig.getoption("real_api"):
        shorten(monkeypatch)


@pytest.fixture
async def api(control_plane: ControlPlane | None) -> AsyncIterator[FakeApi]:
    """A new API server in automatic mode, with the namespace my-network and its claim."""
    server = FakeApi() if control_plane is None else RealApi(control_plane)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def cluster(api: FakeApi) -> FakeCluster:
    """The Job controller, scheduler, kubelets and nodes for ``api``."""
    made = RealCluster if isinstance(api, RealApi) else FakeCluster
    return made(api.storage, api.clock, api.simulation, api.pod_logs)


@pytest.fixture
async def http(api: FakeApi) -> AsyncIterator[ApiClient]:
    async with client(api.url) as made:
        yield made


@pytest.fixture
def custom(http: ApiClient) -> CustomObjectsApi:
    return CustomObjectsApi(http)


@pytest.fixture
def batch(http: ApiClient) -> BatchV1Api:
    return BatchV1Api(http)


@pytest.fixture
def core(http: ApiClient) -> CoreV1Api:
    return CoreV1Api(http)


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume with an output. The HTTP API and the file server have the same secret."""
    return make_volume(tmp_path, monkeypatch)
