"""F17: two operators, and the one that leads is frozen in the middle of its work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from conversion_operator.controller.leadership import NAME as LEASE
from tests.e2e.support.commands import Kubectl, must
from tests.e2e.support.conversions import LONG_INPUT, Conversions
from tests.e2e.support.operator import NAME, NAMESPACE, OperatorInCluster
from tests.e2e.support.world import World
from tests.faults.audit_log import AuditLog

COUNT = 24
ROUNDS = 2


class Frozen:
    """Stops and wakes the processes of operators, from outside of their containers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopped: list[tuple[str, str]] = []

    def stop(self, pod: str) -> None:
        """SIGSTOP for the operator in this pod."""
        body = next(
            event.body
            for event in reversed(self._world.snapshot("operators"))
            if event.body["metadata"]["name"] == pod
        )
        node = body["spec"]["nodeName"]
        container = body["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        # container, process, state
        tasks = must("docker", "exec", node, "ctr", "--namespace=k8s.io", "tasks", "ls")
        (process,) = [t.split()[1] for t in tasks.splitlines() if t.startswith(container)]
        must("docker", "exec", node, "kill", "-STOP", process)
        self._stopped.append((node, process))

    def wake(self) -> None:
        """SIGCONT for all that were stopped."""
        while self._stopped:
            node, process = self._stopped.pop()
            must("docker", "exec", node, "kill", "-CONT", process)


@pytest.fixture
def frozen(world: World) -> Iterator[Frozen]:
    frozen = Frozen(world)
    yield frozen
    frozen.wake()


def test_the_leader_is_frozen_and_wakes_when_another_leads(
    conversions: Conversions,
    operator: OperatorInCluster,
    frozen: Frozen,
    kubectl: Kubectl,
    world: World,
    changes: AuditLog,
) -> None:
    operator.scale(2)
    restarts = _restarts(kubectl)
    made = [
        conversions.make(
            f"frozen-{number:02}",
            "video_to_mp4",
            inputFile=LONG_INPUT,
            options={"duration": 15, "resolution": "360p"},
        )
        for number in range(COUNT)
    ]

    def begun() -> int:
        return sum(bool(conversion.jobs_made()) for conversion in made)

    def until_one_more_begins() -> None:
        before = begun()
        world.until(lambda: begun() > before, "one more is admitted")

    for _ in range(ROUNDS):
        leader = _holder(kubectl)
        until_one_more_begins()
        frozen.stop(leader)
        _until_another_leads(kubectl, leader)
        until_one_more_begins()
        frozen.wake()
        assert begun() < COUNT, "nothing was left for the one that woke up"
    for conversion in made:
        conversion.succeeded(seconds=180)
        assert len(conversion.status["attempts"]) == 1 + _not_started(conversion.status)
    changes.check()
    assert _restarts(kubectl) == restarts


def _not_started(status: dict[str, list[dict[str, str]]]) -> int:
    return sum(attempt.get("reason") == "StartError" for attempt in status["attempts"])


def _holder(kubectl: Kubectl) -> str:
    """The name of the pod that leads."""
    return str(kubectl.get("-n", NAMESPACE, "lease", LEASE)["spec"]["holderIdentity"])


def _until_another_leads(kubectl: Kubectl, former: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while _holder(kubectl) in (former, ""):
        assert time.monotonic() < deadline, f"nobody took over from {former}"
        time.sleep(0.5)


def _restarts(kubectl: Kubectl) -> int:
    """How often the operators' containers were restarted."""
    pods = kubectl.get("-n", NAMESPACE, "pods", "-l", f"app.kubernetes.io/name={NAME}")["items"]
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods)
