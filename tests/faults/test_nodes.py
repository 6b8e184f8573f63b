"""Nodes that are drained, and nodes that are lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from conversion_operator.api import names
from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.commands import Kubectl, must
from tests.e2e.support.conversions import LONG_INPUT, Conversion, Conversions
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.world import World, live, owner, together
from tests.faults.audit_log import AuditLog
from tests.faults.conftest import CLUSTER

FIRST, SECOND = f"{CLUSTER}-worker", f"{CLUSTER}-worker2"


def test_a_node_is_drained(
    conversions: Conversions, kubectl: Kubectl, world: World, changes: AuditLog
) -> None:
    """F8: converted on the other node, and no retry of its own is used up."""
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
    assert _nodes_of(moved, world) == [FIRST, SECOND]
    assert sorted(moved.output.parent.iterdir()) == [moved.output]
    changes.check()


def test_a_node_is_lost(
    conversions: Conversions, kubectl: Kubectl, operator: OperatorInCluster, world: World
) -> None:
    """F10: nobody takes its work while it may still do it; then its slots are freed, once."""
    seen = len(world.snapshot("pods"))
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
    # It is back, and ends what it had begun, well or not: nobody waits for it any more.
    world.until(lambda: not any(c.pods() for c in lost), "the lost pods are gone", 180)
    others.append(conversions.make("last"))
    assert others[-1].until_reason("WaitingForSlot")["queuePosition"] == 2
    assert [len(conversion.jobs_made()) for conversion in others] == [1, 1, 1, 0, 0]
    for conversion in lost:
        assert len(conversion.jobs_made()) == 1
        assert conversion.status["reason"] == "NodeLost"
        # One pod's end is not lost on us: it did come back after it had been given up.
        assert conversion.statuses()[-1]["phase"] == "Failed"
    _check_slots(lost, world, seen)
    others[0].cancel()
    others[LIMIT].until_phase("Running")


def _half_a_minute(conversions: Conversions, name: str, **special: object) -> Conversion:
    options = {"duration": 60, "resolution": "480p", "quality": "high"}
    return conversions.make(name, "video_to_mp4", inputFile=LONG_INPUT, options=options, **special)


def _nodes_of(conversion: Conversion, world: World) -> list[str]:
    """The nodes its pods ran on, in order."""
    nodes = [
        event.body["spec"].get("nodeName")
        for event in world.snapshot("pods")
        if owner(event.body) == conversion.uid
    ]
    return [node for node in dict.fromkeys(nodes) if node]


def _check_slots(lost: list[Conversion], world: World, since: int) -> None:
    """I1 all the time; I2 with the lost ones until they are given up, and without them after."""
    given_up = {conversion.uid: _version_of_end(conversion, world) for conversion in lost}
    events = world.snapshot("pods")[since:]
    for event, there in zip(events, together(events, live), strict=True):
        now = int(event.body["metadata"]["resourceVersion"])
        holding = [uid for uid in there.values() if given_up.get(uid, now + 1) > now]
        assert len(holding) <= LIMIT, "more pods were alive than the limit allows"
        assert len(set(there.values())) == len(there), "two pods of one conversion were alive"


def _version_of_end(conversion: Conversion, world: World) -> int:
    return next(
        int(event.body["metadata"]["resourceVersion"])
        for event in world.conversions.of(conversion.uid)
        if event.body.get("status", {}).get("phase") == "Failed"
    )


@contextmanager
def cordoned(kubectl: Kubectl, node: str) -> Iterator[None]:
    """Nothing new is placed on the node."""
    kubectl("cordon", node)
    try:
        yield
    finally:
        kubectl("uncordon", node)


@contextmanager
def paused(node: str) -> Iterator[None]:
    """The node with all that runs on it stands still."""
    must("docker", "pause", node)
    try:
        yield
    finally:
        must("docker", "unpause", node)
