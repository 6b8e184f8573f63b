"""F8 and F10: nodes are drained or lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from conversion_operator.api import names
from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.commands import Kubectl, must
from tests.e2e.support.conversions import LONG_INPUT, Conversion, Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.watches import Watches, converting, live, matching_over_time, owner
from tests.faults.audit_log import AuditLog
from tests.faults.conftest import CLUSTER

FIRST, SECOND = f"{CLUSTER}-worker", f"{CLUSTER}-worker2"


def test_a_conversion_moves_when_its_node_is_drained(
    conversions: Conversions, kubectl: Kubectl, watches: Watches, changes: AuditLog
) -> None:
    """F8: the conversion succeeds on the other node, and uses none of its retries."""
    with cordoned(kubectl, SECOND):
        moved = _half_a_minute(conversions, "moved", maxRetries=0)
        moved.until_phase("Running")
    with cordoned(kubectl, FIRST):
        kubectl(
            *("drain", FIRST, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"),
            f"--pod-selector={names.MANAGED_BY_LABEL}={names.MANAGED_BY}",
            limit=90,
        )
        status = moved.succeeded()
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Evicted", "Completed"]
    assert (status["retries"]["disruptions"], status["retries"]["failures"]) == (1, 0)
    assert _nodes_of(moved, watches) == [FIRST, SECOND]
    assert sorted(moved.output.parent.iterdir()) == [moved.output]
    changes.check()


def test_conversions_on_a_lost_node_fail_and_free_their_slots(
    conversions: Conversions, kubectl: Kubectl, operator: OperatorInCluster, watches: Watches
) -> None:
    """F10: a lost pod may still run, so its conversion is not retried and fails in the end.

    Its slot is then freed exactly once.
    """
    seen = len(watches.snapshot("pods"))
    with cordoned(kubectl, SECOND):
        lost = [conversions.long("lost-long"), _half_a_minute(conversions, "lost-short")]
        for conversion in lost:
            conversion.until_phase("Running")
    with cordoned(kubectl, FIRST), paused(FIRST):
        others = [conversions.long(f"other-{number}") for number in range(LIMIT + 1)]
        others[0].until_phase("Running")
        for conversion in lost:
            conversion.until_reason("NodeUnreachable", seconds=240)
        assert [len(conversion.jobs_made()) for conversion in others] == [1, 0, 0, 0]
        for conversion in lost:
            status = conversion.until_phase("Failed", seconds=120)
            assert status["reason"] == "NodeLost"
        for conversion in others[1:LIMIT]:
            conversion.until_phase("Running")
    # The node is back, and its pods end. Nothing depends on their results any more.
    watches.until(lambda: not any(c.pods() for c in lost), "the lost pods are deleted", 180)
    others.append(conversions.make("last"))
    assert others[-1].until_reason("WaitingForSlot")["queuePosition"] == 2
    assert [len(conversion.jobs_made()) for conversion in others] == [1, 1, 1, 0, 0]
    for conversion in lost:
        assert len(conversion.jobs_made()) == 1
        assert conversion.status["reason"] == "NodeLost"
        # The phase stays Failed after the node has come back.
        assert conversion.statuses()[-1]["phase"] == "Failed"
    _check_slots(lost, watches, seen)
    others[0].cancel()
    others[LIMIT].until_phase("Running")


def _half_a_minute(conversions: Conversions, name: str, **special: object) -> Conversion:
    options = {"duration": 60, "resolution": "480p", "quality": "high"}
    return conversions.make(name, "video_to_mp4", inputFile=LONG_INPUT, options=options, **special)


def _nodes_of(conversion: Conversion, watches: Watches) -> list[str]:
    """The nodes its pods ran on, in order."""
    nodes = [
        event.body["spec"].get("nodeName")
        for event in watches.snapshot("pods")
        if owner(event.body) == conversion.uid
    ]
    return [node for node in dict.fromkeys(nodes) if node]


def _check_slots(lost: list[Conversion], watches: Watches, since: int) -> None:
    """I1 always holds. I2 counts lost pods until their conversions fail, and then no longer."""
    failed_at = {conversion.uid: _version_of_end(conversion, watches) for conversion in lost}
    events = watches.snapshot("pods")[since:]
    for event, running in zip(events, matching_over_time(events, converting), strict=True):
        now = int(event.body["metadata"]["resourceVersion"])
        holding = [uid for uid in running.values() if failed_at.get(uid, now + 1) > now]
        assert len(holding) <= LIMIT, "more converters could run than the limit allows"
    for alive in matching_over_time(events, live):
        assert len(set(alive.values())) == len(alive), "two pods of one conversion were alive"


def _version_of_end(conversion: Conversion, watches: Watches) -> int:
    return next(
        int(event.body["metadata"]["resourceVersion"])
        for event in watches.conversions.of(conversion.uid)
        if event.body.get("status", {}).get("phase") == "Failed"
    )


@contextmanager
def cordoned(kubectl: Kubectl, node: str) -> Iterator[None]:
    """No new pods are scheduled to the node."""
    kubectl("cordon", node)
    try:
        yield
    finally:
        kubectl("uncordon", node)


@contextmanager
def paused(node: str) -> Iterator[None]:
    """The node is frozen with everything that runs on it."""
    must("docker", "pause", node)
    try:
        yield
    finally:
        must("docker", "unpause", node)
