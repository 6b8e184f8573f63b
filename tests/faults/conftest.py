"""A cluster of its own with two workers, with the operator as it ships but for shorter times."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.commands import ROOT, TOOLS, Kubectl, hack, must
from tests.e2e.support.conversions import LONG_INPUT, NAMESPACE, Conversions
from tests.e2e.support.operator import AUDIT_LOG, OperatorInCluster
from tests.e2e.support.world import World
from tests.load import audit

CLUSTER = "mynetwork-test-faults"
VOLUME = TOOLS / "volume-test-faults"
IMAGE = "my-converter:latest"
LIMIT = 3
"""CONVERTER_MAX_PARALLEL as it ships."""

_LOOPS = 400
"""How often the five seconds of the sample are repeated for a conversion that takes long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's time starts with the test: the first one would else pay for making the cluster."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(420, func_only=True))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the cluster."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        hack("docker", limit=600)
        hack("cluster", "up", CLUSTER, str(VOLUME), "--workers", "2", "--audit", limit=3600)
        hack("images", CLUSTER, limit=3600)
    yield CLUSTER
    if request.session.testsfailed:
        hack("cluster", "logs", CLUSTER, str(TOOLS / "logs" / f"kind-{CLUSTER}"), limit=300)
    if not request.config.getoption("keep_cluster"):
        hack("cluster", "down", CLUSTER, limit=300)
        hack("volume", "remove", str(VOLUME), limit=300)


@pytest.fixture(scope="session")
def volume(cluster: str) -> Path:
    """The shared volume as the host sees it, with the sample media and minutes of video."""
    for path in (ROOT / "deploy/samples/media").iterdir():
        shutil.copy(path, VOLUME / "input")
    must(  # copied, not encoded: minutes of real video in no time
        *("docker", "run", "--rm", "--network=none", f"--volume={VOLUME}:/workspace"),
        *("--entrypoint=ffmpeg", IMAGE, "-v", "error", "-y"),
        *("-stream_loop", str(_LOOPS), "-i", "input/big-buck-bunny.mov", "-c", "copy", LONG_INPUT),
    )
    return VOLUME


@pytest.fixture(scope="session")
def kubectl(cluster: str, volume: Path) -> Kubectl:
    """kubectl on the cluster, in which CRD and operator are installed and ready."""
    kubectl = Kubectl(TOOLS / "bin" / "kubectl", TOOLS / "kube" / f"{cluster}.yaml")
    kubectl("delete", "-f", str(ROOT / "crds"), "--ignore-not-found", limit=120)
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl.wait("condition=Established", "-f", str(ROOT / "crds"), seconds=60)
    kubectl("apply", "-k", str(ROOT / "tests/faults/overlay"))
    OperatorInCluster(kubectl).until_ready()
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


class AuditLog:
    """The changes since a time."""

    def __init__(self, node: str, since: str) -> None:
        self._node, self._since = node, since

    def read(self) -> list[Any]:
        """The records so far, oldest first."""
        text = must("docker", "exec", self._node, "cat", AUDIT_LOG, limit=120)
        found = audit.changes(text.splitlines())
        return [record for record in found if record["stageTimestamp"] >= self._since]

    def check(self, limit: int = LIMIT) -> None:
        """I1, I2, and one Job an attempt, in every moment since."""
        records = self.read()
        most = audit.peak(audit.lives(records, NAMESPACE))
        assert most.pods <= limit, "more pods were alive than the limit allows"
        assert most.of_one <= 1, "two pods of one conversion were alive"
        jobs = audit.jobs_made(records, NAMESPACE)
        twice = {name: count for name, count in jobs.items() if count > 1}
        assert jobs, "the audit log tells of no Job"
        assert not twice, json.dumps(twice)
