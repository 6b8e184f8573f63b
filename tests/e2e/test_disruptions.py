"""The cluster evicts pods, rejects them, or has no space for their output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import CLUSTER
from tests.e2e.support.commands import Kubectl, must, run, until
from tests.e2e.support.conversions import LONG_INPUT, Conversions
from tests.e2e.support.watches import Watches, runs

NAMESPACE = "my-network"
_NODE = f"{CLUSTER}-control-plane"


def test_an_eviction_uses_no_retry(
    conversions: Conversions, kubectl: Kubectl, watches: Watches
) -> None:
    evicted = conversions.make(
        "evicted",
        "video_to_mp4",
        inputFile=LONG_INPUT,
        options={"duration": 45, "resolution": "360p"},
        maxRetries=0,
    )
    watches.until(lambda: any(map(runs, evicted.pods())), "its container runs")
    (pod,) = evicted.pods()
    name = pod["metadata"]["name"]

    def works() -> bool:
        return "video:" in kubectl.attempt("-n", NAMESPACE, "logs", name).out

    # The status may say Running ten seconds later, when the conversion has ended. While Python
    # starts, nothing handles the signal that ends a pod, and the conversion would go on.
    until(works, "the converter has begun")
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    kubectl("create", "--raw", path, "-f", "-", text=json.dumps(body))
    status = evicted.succeeded()
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Evicted", "Completed"]
    assert (status["retries"]["disruptions"], status["retries"]["failures"]) == (1, 0)


@dataclass(frozen=True, slots=True)
class Disk:
    """A small disk that the node mounts at a folder of the volume."""

    folder: str

    @property
    def _path(self) -> str:
        return f"/var/lib/my-network-shared/{self.folder}"

    def mount(self) -> None:
        must("docker", "exec", _NODE, "mkdir", "--mode=2777", self._path)
        options = "size=64k,mode=1777"
        must("docker", "exec", _NODE, "mount", "-t", "tmpfs", "-o", options, "small", self._path)

    def files(self) -> list[str]:
        """The files on the disk."""
        return must("docker", "exec", _NODE, "ls", "-A", self._path).split()

    def unmount(self) -> bool:
        """Unmount the disk, so that the folder has the space of the volume. False if unmounted."""
        return run("docker", "exec", _NODE, "umount", self._path).code == 0


@pytest.fixture
def small_disk(run_folder: str) -> Iterator[Disk]:
    disk = Disk(f"{run_folder}-small")
    disk.mount()
    yield disk
    disk.unmount()


def test_a_conversion_recovers_when_a_full_disk_has_room_again(
    conversions: Conversions, small_disk: Disk
) -> None:
    waiting = conversions.make(
        "too-large",
        "video_to_mp4",
        outputFile=f"{small_disk.folder}/too-large.mp4",
        maxRetries=5,
    )
    status = waiting.until_reason("RetryBackoff")
    assert status["attempts"][0]["reason"] == "DiskFull"
    assert "DiskFull" in status["message"]
    assert small_disk.files() == [], "a partial output was left on the full disk"
    conversions.make("not-concerned").succeeded()
    assert small_disk.unmount()
    status = waiting.succeeded()
    *before, last = [attempt["reason"] for attempt in status["attempts"]]
    assert (set(before), last) == ({"DiskFull"}, "Completed")
    assert status["retries"]["failures"] == len(before)


@pytest.fixture
def quota(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a ResourceQuota that allows none of a resource, and is in force."""
    name = "nothing-left"
    body = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"hard": {request.param: "0"}},
    }
    kubectl.create(body)
    kubectl.wait("jsonpath={.status.used}", "-n", NAMESPACE, f"resourcequota/{name}", seconds=30)
    yield name
    kubectl("-n", NAMESPACE, "delete", "resourcequota", name, "--ignore-not-found")


@pytest.mark.parametrize("quota", ["pods", "count/jobs.batch"], indirect=True)
def test_a_conversion_recovers_when_its_quota_is_removed(
    conversions: Conversions, kubectl: Kubectl, quota: str, request: pytest.FixtureRequest
) -> None:
    """A quota of pods appears in the Job's Events, and a quota of Jobs in the create answer."""
    of_pods = request.node.callspec.params["quota"] == "pods"
    waiting = conversions.make(f"no-quota-{request.node.callspec.indices['quota']}")
    status = waiting.until_reason("QuotaExceeded", seconds=30)
    assert status["phase"] in ("Queued", "Starting")
    assert quota in status["message"]
    if of_pods:  # the slot is free
        assert waiting.until_phase("Queued", seconds=30)["reason"] == "QuotaExceeded"
    kubectl("-n", NAMESPACE, "delete", "resourcequota", quota)
    status = waiting.succeeded(seconds=30)
    refused, completed = status["attempts"][:-1], status["attempts"][-1]
    assert completed["reason"] == "Completed"
    assert {attempt["reason"] for attempt in refused} == ({"QuotaExceeded"} if of_pods else set())
