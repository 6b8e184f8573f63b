"""Fixtures of the end-to-end tests: a kind cluster of their own, with the operator as shipped.

The tests use no other cluster. They empty and reuse a cluster that an earlier run left.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from pytest_kind import KindCluster  # type: ignore[import-untyped]

from tests.e2e.support.cluster import LIMIT, fill_volume, kind_cluster, limit_tests
from tests.e2e.support.commands import ROOT, TOOLS, Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions
from tests.e2e.support.operator import OperatorInCluster, install
from tests.e2e.support.watches import Watches, converting, live, matching_over_time

CLUSTER = "mynetwork-test"
VOLUME = TOOLS / "volume-test"

_LOOPS = 100
"""How many times the long input repeats the five-second sample."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    limit_tests(items, Path(__file__).parent, 300)


@pytest.fixture(scope="session", name="kind_cluster")
def _kind_cluster(request: pytest.FixtureRequest) -> Iterator[KindCluster]:
    """The cluster. pytest-kind adopts it with our kind and kubectl; its own are older."""
    with kind_cluster(request, CLUSTER, VOLUME):
        with chdir(TOOLS):  # pytest-kind creates a folder in the working directory
            cluster = KindCluster(
                CLUSTER,
                kubeconfig=TOOLS / "kube" / f"{CLUSTER}.yaml",
                kind_path=TOOLS / "bin" / "kind",
                kubectl_path=TOOLS / "bin" / "kubectl",
            )
        cluster.create()
        yield cluster


@pytest.fixture(scope="session")
def volume(kind_cluster: KindCluster) -> Path:
    """The shared volume as the host sees it, with the sample media in input/."""
    fill_volume(VOLUME, _LOOPS)
    return VOLUME


@pytest.fixture(scope="session")
def kubectl(kind_cluster: KindCluster, volume: Path) -> Kubectl:
    """kubectl on the cluster. The CRD and the operator are installed and ready."""
    kubectl = Kubectl(kind_cluster.kubectl_path, kind_cluster.kubeconfig_path)
    overlay = ROOT / "tests/e2e/overlay"
    _remove(kubectl, overlay)
    install(kubectl, overlay)
    return kubectl


def _remove(kubectl: Kubectl, overlay: Path) -> None:
    """Remove what an earlier run left in the cluster, its ConversionJobs first."""
    kubectl("delete", "-f", str(ROOT / "crds"), "--ignore-not-found", limit=120)
    for folder in (overlay / "late-claim", overlay):
        kubectl("delete", "-k", str(folder), "--ignore-not-found", "--timeout=120s", limit=150)


@pytest.fixture(scope="session")
def file_server(kubectl: Kubectl) -> str:
    """The file server of the namespace of conversions, with the secret of the API. Its name."""
    name, home, secret = "my-network-converter-files", "my-network-converter", secrets.token_hex(32)
    for namespace in (home, NAMESPACE):
        made = kubectl(
            *(
                "-n",
                namespace,
                "create",
                "secret",
                "generic",
                name,
                "--dry-run=client",
                "-o",
                "yaml",
            ),
            f"--from-literal=secret={secret}",
        )
        kubectl("apply", "-f", "-", "-n", namespace, text=made)
    # Otherwise the pods that run get the secret after up to two minutes.
    restarted = ((home, "my-network-converter-gateway"), (NAMESPACE, name))
    for namespace, deployment in restarted:
        kubectl("-n", namespace, "rollout", "restart", f"deployment/{deployment}")
    for namespace, deployment in restarted:
        status = ("rollout", "status", f"deployment/{deployment}", "--timeout=120s")
        kubectl("-n", namespace, *status, limit=130)
    return name


@pytest.fixture(scope="session")
def watches(kubectl: Kubectl) -> Iterator[Watches]:
    """Watches of the whole cluster, from the first test on."""
    with Watches(kubectl) as watches:
        yield watches


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
    kubectl: Kubectl, watches: Watches, volume: Path, run_folder: str
) -> Iterator[Conversions]:
    """Creates conversions. Afterwards it checks I1 and I2 for the whole test."""
    conversions = Conversions(kubectl, watches, volume, run_folder)
    start = len(watches.snapshot("pods"))
    yield conversions
    conversions.remove()
    pods = watches.snapshot("pods")[start:]
    for running in matching_over_time(pods, converting):
        assert len(running) <= LIMIT, "more converters could run than the limit allows"
    for alive in matching_over_time(pods, live):
        assert len(set(alive.values())) == len(alive), "two pods of one conversion were alive"


@pytest.fixture(scope="session", autouse=True)
def _operator_survives(watches: Watches) -> Iterator[None]:
    """The operator never exits on its own. Exit code 137 is from the test that kills it."""
    yield
    ends = {
        (event.uid, end["containerID"]): (end["exitCode"], end.get("reason"))
        for event in watches.snapshot("operators")
        for container in event.body["status"].get("containerStatuses", ())
        for state in (container["state"], container["lastState"])
        if (end := state.get("terminated"))
    }
    unexpected = [end for end in ends.values() if end not in ((0, "Completed"), (137, "Error"))]
    assert unexpected == []
