"""F17: the leader of two operators is frozen while it works."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from conversion_operator.controller.leadership import NAME as LEASE
from tests.e2e.support.commands import Kubectl, must
from tests.e2e.support.conversions import LONG_INPUT, Conversions
from tests.e2e.support.operator import NAME, NAMESPACE, OperatorInCluster
from tests.e2e.support.watches import Watches
from tests.faults.audit_log import AuditLog

COUNT = 24
ROUNDS = 2


class Freezer:
    """Freezes and resumes operator processes from outside their containers."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._stopped: list[tuple[str, str]] = []

    def freeze(self, pod: str) -> None:
        """Send SIGSTOP to the operator in this pod."""
        body = next(
            event.body
            for event in reversed(self._watches.snapshot("operators"))
            if event.body["metadata"]["name"] == pod
        )
        node = body["spec"]["nodeName"]
        container = body["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        # container, process, state
        tasks = must("docker", "exec", node, "ctr", "--namespace=k8s.io", "tasks", "ls")
        (process,) = [t.split()[1] for t in tasks.splitlines() if t.startswith(container)]
        must("docker", "exec", node, "kill", "-STOP", process)
        self._stopped.append((node, process))

    def resume(self) -> None:
        """Send SIGCONT to all frozen operators."""
        while self._stopped:
            node, process = self._stopped.pop()
            must("docker", "exec", node, "kill", "-CONT", process)


@pytest.fixture
def freezer(watches: Watches) -> Iterator[Freezer]:
    freezer = Freezer(watches)
    yield freezer
    freezer.resume()


def test_a_leader_that_resumes_after_losing_its_lease_starts_nothing_twice(
    conversions: Conversions,
    operator: OperatorInCluster,
    freezer: Freezer,
    kubectl: Kubectl,
    watches: Watches,
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

    def started() -> int:
        return sum(bool(conversion.jobs_made()) for conversion in made)

    def until_one_more_starts() -> None:
        before = started()
        watches.until(lambda: started() > before, "another conversion starts")

    for _ in range(ROUNDS):
        leader = _holder(kubectl)
        until_one_more_starts()
        freezer.freeze(leader)
        _until_another_leads(kubectl, leader)
        until_one_more_starts()
        freezer.resume()
        assert started() < COUNT, "nothing was left for the resumed operator to start"
    for conversion in made:
        conversion.succeeded(seconds=180)
        assert len(conversion.status["attempts"]) == 1 + _not_started(conversion.status)
    changes.check()
    assert _restarts(kubectl) == restarts


def _not_started(status: dict[str, list[dict[str, str]]]) -> int:
    return sum(attempt.get("reason") == "StartError" for attempt in status["attempts"])


def _holder(kubectl: Kubectl) -> str:
    """The name of the leader's pod."""
    return str(kubectl.get("-n", NAMESPACE, "lease", LEASE)["spec"]["holderIdentity"])


def _until_another_leads(kubectl: Kubectl, former: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while _holder(kubectl) in (former, ""):
        assert time.monotonic() < deadline, f"no other operator took over from {former}"
        time.sleep(0.5)


def _restarts(kubectl: Kubectl) -> int:
    """How often the operators' containers were restarted."""
    pods = kubectl.get("-n", NAMESPACE, "pods", "-l", f"app.kubernetes.io/name={NAME}")["items"]
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods)
