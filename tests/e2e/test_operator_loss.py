"""The loss of the operator loses and repeats nothing, and exceeds no limit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import Conversion, Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.watches import Watches

SECOND = "my-network-second"
OVERLAY = ROOT / "tests/e2e/overlay"
# A container that runs for less than ten seconds is never shown as Running.
_SECONDS = 60
_ORDER = ["Pending", "Queued", "Starting", "Running", "Succeeded"]


def test_conversions_survive_a_killed_operator(
    conversions: Conversions, operator: OperatorInCluster, watches: Watches
) -> None:
    made = [
        conversions.make(
            f"survives-{number}",
            "video_to_mp4",
            inputFile="input/long.mp4",
            options={"duration": _SECONDS, "resolution": "360p"},
        )
        for number in range(2 * LIMIT)
    ]
    watches.until(lambda: _count(made, "Running") >= 2, "some are running")
    operator.kill_process()
    watches.until(lambda: _count(made, "Succeeded") >= 2, "some are done", 90)
    # The new pod has another name, and must wait until the Lease expires.
    operator.delete_pod()
    for conversion in made:
        status = conversion.succeeded(seconds=150)
        assert conversion.jobs_that_ran() == 1
        phases = [status["phase"] for status in conversion.statuses()]
        assert len(status["attempts"]) > 1 or phases == sorted(phases, key=_ORDER.index)
    operator.until_ready()


def test_a_restarted_operator_catches_up_with_pods_that_ended(
    conversions: Conversions, operator: OperatorInCluster, kubectl: Kubectl, watches: Watches
) -> None:
    ends = conversions.make(
        "ends-alone",
        "video_to_mp4",
        inputFile="input/long.mp4",
        options={"duration": _SECONDS, "resolution": "360p"},
    )
    dies = conversions.long("deleted-alone")
    for conversion in (ends, dies):
        conversion.until_phase("Running")
    operator.scale(0)
    (pod,) = dies.pods()
    kubectl("-n", "my-network", "delete", "pod", pod["metadata"]["name"])
    watches.until(ends.no_pod_lives, "the conversion has ended")
    operator.scale(1)
    ends.succeeded()
    assert ends.jobs_that_ran() == 1
    # Its pod was deleted, so the next attempt starts.
    status = dies.until(lambda status: len(status.get("attempts", ())) == 2, "tried again")
    assert status["attempts"][0]["reason"] == "PodDeleted"


@pytest.fixture
def second_namespace(kubectl: Kubectl, operator: OperatorInCluster) -> Iterator[str]:
    """The second namespace with its claim. It is recreated after the test."""
    kubectl("apply", "-k", str(OVERLAY / "late-claim"))
    yield SECOND
    kubectl("delete", "-k", str(OVERLAY / "late-claim"), "--ignore-not-found", limit=120)
    kubectl("apply", "-k", str(OVERLAY))
    operator.until_ready()


def test_a_namespace_can_be_deleted_while_the_operator_is_stopped(
    conversions: Conversions,
    operator: OperatorInCluster,
    kubectl: Kubectl,
    watches: Watches,
    second_namespace: str,
) -> None:
    conversions.make("finished", namespace=second_namespace).succeeded()
    running = [conversions.long(f"running-{n}", namespace=second_namespace) for n in range(LIMIT)]
    for conversion in running:
        conversion.until_phase("Running")
    queued = conversions.make("queued", namespace=second_namespace)
    queued.until_reason("WaitingForSlot")

    operator.scale(0)
    started = time.monotonic()
    kubectl("delete", "namespace", second_namespace, "--timeout=60s", limit=70)
    assert time.monotonic() - started < 60
    kubectl("apply", "-k", str(OVERLAY))
    operator.until_ready()
    conversions.make("goes-on").succeeded()


def test_a_namespace_can_be_deleted_while_the_operator_runs(
    conversions: Conversions,
    operator: OperatorInCluster,
    kubectl: Kubectl,
    second_namespace: str,
) -> None:
    """The operator's permissions there are deleted too. The other namespaces are not affected."""
    running = conversions.long("goes-with-it", namespace=second_namespace)
    running.until_phase("Running")
    kubectl("delete", "namespace", second_namespace, "--timeout=60s", limit=70)
    conversions.make("not-concerned").succeeded()
    # An operator that starts now does not wait for a namespace that it may not list.
    operator.delete_pod()
    conversions.make("not-concerned-either").succeeded()
    # With its permissions the namespace is served again, but its released volume is not back.
    kubectl("apply", "-k", str(OVERLAY))
    conversions.make("seen-again", namespace=second_namespace).until_reason("ClaimMissing")


def _count(made: list[Conversion], phase: str) -> int:
    return sum(conversion.phase == phase for conversion in made)
