"""A cluster of its own with two workers, with the operator as it ships but for shorter times."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.support.cluster import fill_volume, kind_cluster, limit_tests
from tests.e2e.support.commands import ROOT, TOOLS, Kubectl
from tests.e2e.support.conversions import Conversions
from tests.e2e.support.operator import OperatorInCluster, install
from tests.e2e.support.world import World
from tests.faults.audit_log import AuditLog

CLUSTER = "mynetwork-test-faults"
VOLUME = TOOLS / "volume-test-faults"

_LOOPS = 400
"""How many times the long input repeats the five-second sample."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    limit_tests(items, Path(__file__).parent, 420)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the cluster."""
    with kind_cluster(request, CLUSTER, VOLUME, "--workers", "2"):
        yield CLUSTER


@pytest.fixture(scope="session")
def volume(cluster: str) -> Path:
    """The shared volume as the host sees it, with the sample media and minutes of video."""
    fill_volume(VOLUME, _LOOPS)
    return VOLUME


@pytest.fixture(scope="session")
def kubectl(cluster: str, volume: Path) -> Kubectl:
    """kubectl on the cluster. The CRD and the operator are installed and ready."""
    kubectl = Kubectl(TOOLS / "bin" / "kubectl", TOOLS / "kube" / f"{cluster}.yaml")
    kubectl("delete", "-f", str(ROOT / "crds"), "--ignore-not-found", limit=120)
    install(kubectl, ROOT / "tests/faults/overlay")
    return kubectl


@pytest.fixture(scope="session")
def world(kubectl: Kubectl) -> Iterator[World]:
    """All that happens in the cluster, from the first test on."""
    with World(kubectl) as world:
        yield world


@pytest.fixture
def operator(kubectl: Kubectl, world: World) -> Iterator[OperatorInCluster]:
    """The operator; afterwards there is one of it, whatever the test did."""
    operator = OperatorInCluster(kubectl)
    yield operator
    operator.scale(1)


@pytest.fixture
def conversions(kubectl: Kubectl, world: World, volume: Path) -> Iterator[Conversions]:
    """Makes conversions, and removes them."""
    conversions = Conversions(kubectl, world, volume, f"output/{uuid.uuid4().hex[:8]}")
    yield conversions
    conversions.remove()


@pytest.fixture
def changes(cluster: str, kubectl: Kubectl) -> AuditLog:
    """What the API server's audit log says of the time since the test began."""
    return AuditLog(f"{cluster}-control-plane", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"))
