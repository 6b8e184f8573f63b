"""Fixtures of the fault tests: a kind cluster with two workers, and shorter time limits."""

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
from tests.e2e.support.watches import Watches
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
def watches(kubectl: Kubectl) -> Iterator[Watches]:
    """Watches of the whole cluster, from the first test on."""
    with Watches(kubectl) as watches:
        yield watches


@pytest.fixture
def operator(kubectl: Kubectl, watches: Watches) -> Iterator[OperatorInCluster]:
    """The operator. After the test it is scaled to one again."""
    operator = OperatorInCluster(kubectl)
    yield operator
    operator.scale(1)


@pytest.fixture
def conversions(kubectl: Kubectl, watches: Watches, volume: Path) -> Iterator[Conversions]:
    """Creates conversions, and deletes them after the test."""
    conversions = Conversions(kubectl, watches, volume, f"output/{uuid.uuid4().hex[:8]}")
    yield conversions
    conversions.remove()


@pytest.fixture
def changes(cluster: str, kubectl: Kubectl) -> AuditLog:
    """The API server's audit log since the start of the test."""
    return AuditLog(f"{cluster}-control-plane", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"))
