"""The tests' own cluster, with the operator as it ships.

It has another name and another volume than the demo's, and nothing here touches any other. What an
earlier run left of it is used again, emptied first.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from pytest_kind import KindCluster  # type: ignore[import-untyped]

from tests.e2e.support.commands import ROOT, TOOLS, Kubectl, hack, must
from tests.e2e.support.conversions import LONG_INPUT, Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.world import World, live, together

CLUSTER = "mynetwork-test"
VOLUME = TOOLS / "volume-test"
IMAGE = "my-converter:latest"
LIMIT = 3
"""CONVERTER_MAX_PARALLEL as it ships."""

_LOOPS = 100
"""How often the five seconds of the sample are repeated for a conversion that takes long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's time starts with the test: the first one would else pay for making the cluster."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.fixture(scope="session")
def kind_cluster(request: pytest.FixtureRequest) -> Iterator[KindCluster]:
    """The cluster, adopted by pytest-kind with our kind and kubectl; it would bring old ones."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        hack("docker", limit=600)
        hack("cluster", "up", CLUSTER, str(VOLUME), "--audit", limit=3600)
        hack("images", CLUSTER, limit=3600)
    with chdir(TOOLS):  # it makes a folder where it stands
        cluster = KindCluster(
            CLUSTER,
            kubeconfig=TOOLS / "kube" / f"{CLUSTER}.yaml",
            kind_path=TOOLS / "bin" / "kind",
            kubectl_path=TOOLS / "bin" / "kubectl",
        )
    cluster.create()
    yield cluster
    if request.session.testsfailed:
        hack("cluster", "logs", CLUSTER, str(TOOLS / "logs" / f"kind-{CLUSTER}"), limit=300)
    if not request.config.getoption("keep_cluster"):
        hack("cluster", "down", CLUSTER, limit=300)
        hack("volume", "remove", str(VOLUME), limit=300)


@pytest.fixture(scope="session")
def volume(kind_cluster: KindCluster) -> Path:
    """The shared volume as the host sees it, with the sample media in input/."""
    for path in (ROOT / "deploy/samples/media").iterdir():
        shutil.copy(path, VOLUME / "input")
    long = VOLUME / LONG_INPUT
    if not long.exists():
        # Copied, not encoded: minutes of real video in no time.
        must(
            *("docker", "run", "--rm", "--network=none", f"--volume={VOLUME}:/workspace"),
            *("--entrypoint=ffmpeg", IMAGE, "-v", "error", "-y"),
            *("-stream_loop", str(_LOOPS), "-i", "input/big-buck-bunny.mov"),
            *("-c", "copy", LONG_INPUT),
        )
    return VOLUME


@pytest.fixture(scope="session")
def kubectl(kind_cluster: KindCluster, volume: Path) -> Kubectl:
    """kubectl on the cluster, in which CRD and operator are installed and ready."""
    kubectl = Kubectl(kind_cluster.kubectl_path, kind_cluster.kubeconfig_path)
    overlay = str(ROOT / "tests/e2e/overlay")
    _empty(kubectl, overlay)
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl.wait("condition=Established", "-f", str(ROOT / "crds"), seconds=60)
    kubectl("apply", "-k", overlay)
    OperatorInCluster(kubectl).until_ready()
    return kubectl


def _empty(kubectl: Kubectl, overlay: str) -> None:
    """Take away what an earlier run left in the cluster, its ConversionJobs first."""
    kubectl("delete", "-f", str(ROOT / "crds"), "--ignore-not-found", limit=120)
    late = f"{overlay}/late-claim"
    for folder in (late, overlay):
        kubectl("delete", "-k", folder, "--ignore-not-found", "--timeout=120s", limit=150)


@pytest.fixture(scope="session")
def world(kubectl: Kubectl) -> Iterator[World]:
    """All that happens in the cluster, from the first test on."""
    with World(kubectl) as world:
        yield world


@pytest.fixture(scope="session")
def operator(kubectl: Kubectl) -> OperatorInCluster:
    """The operator."""
    return OperatorInCluster(kubectl)


@pytest.fixture(scope="session")
def run_folder(volume: Path) -> str:
    """A folder of the volume for this run's outputs."""
    return f"output/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def conversions(
    kubectl: Kubectl, world: World, volume: Path, run_folder: str
) -> Iterator[Conversions]:
    """Makes conversions. Afterwards: what must hold at all times did hold during the test."""
    conversions = Conversions(kubectl, world, volume, run_folder)
    start = len(world.snapshot("pods"))
    yield conversions
    conversions.remove()
    for there in together(world.snapshot("pods")[start:], live):
        assert len(there) <= LIMIT, "more pods were alive than the limit allows"
        assert len(set(there.values())) == len(there), "two pods of one conversion were alive"


@pytest.fixture(scope="session", autouse=True)
def _operator_survives(world: World) -> Iterator[None]:
    """No test makes the operator end by itself; the one that kills it leaves exit code 137."""
    yield
    ends = {
        (event.uid, end["containerID"]): (end["exitCode"], end.get("reason"))
        for event in world.snapshot("operators")
        for container in event.body["status"].get("containerStatuses", ())
        for state in (container["state"], container["lastState"])
        if (end := state.get("terminated"))
    }
    by_itself = [end for end in ends.values() if end not in ((0, "Completed"), (137, "Error"))]
    assert by_itself == []
