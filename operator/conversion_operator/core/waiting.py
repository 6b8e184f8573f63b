"""Conversions without an attempt in progress: they wait, or they end without another attempt."""

from __future__ import annotations

from datetime import timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.attempts import next_attempt_at
from conversion_operator.core.plan import (
    FORCE_AFTER,
    POSITION_INTERVAL,
    Block,
    Plan,
    Snapshot,
    stop_jobs,
)
from conversion_operator.core.transitions import Transition


def wait(snapshot: Snapshot) -> Plan:
    """The plan for a conversion that waits for its first or its next attempt."""
    if snapshot.conversion.cancelled:
        return end_without_attempt(
            snapshot, Phase.CANCELLED, Reason.CANCELLED, "cancelled while it was waiting"
        )
    stop_orphans = stop_jobs(snapshot.children.orphan_jobs(None))
    status, retry_at = snapshot.status, next_attempt_at(snapshot.status)
    if retry_at and retry_at > snapshot.now:
        # The status written at the end of the last attempt already says why it waits.
        return Plan(stop_orphans, requeue_after=retry_at - snapshot.now)
    block = snapshot.block or _slot_block(snapshot)
    if block is None:
        return Plan(stop_orphans)
    position = None if snapshot.block else snapshot.position
    if status and status.phase is Phase.QUEUED and status.reason == block.reason:
        due = _until_position_write(status.queue_position, position, snapshot)
        if due is None or due > timedelta(0):
            return Plan(stop_orphans, requeue_after=due)
    queued = Transition.to(snapshot, Phase.QUEUED, block.reason, block.message)
    return Plan(stop_orphans, queued.with_queue_position(position).status)


def end_without_attempt(snapshot: Snapshot, phase: Phase, reason: str, message: str) -> Plan:
    """The plan for a conversion that ends while no attempt is in progress.

    A late create request may have started an orphan. It is stopped before the end is stored.
    """
    if snapshot.children.live:
        orphans = snapshot.children.orphan_jobs(None)
        return Plan(stop_jobs(orphans), requeue_after=FORCE_AFTER)
    return Plan(status=Transition.to(snapshot, phase, reason, message).status)


def _slot_block(snapshot: Snapshot) -> Block | None:
    """The block of a conversion that waits for a slot only. None if it has no position yet."""
    if snapshot.position is None:
        return None
    limit = snapshot.policy.max_parallel
    message = f"waiting for a slot: at most {limit} conversions run at a time"
    return Block(Reason.WAITING_FOR_SLOT, message)


def _until_position_write(old: int | None, new: int | None, snapshot: Snapshot) -> timedelta | None:
    """How long until the new position should be written. None for never.

    Readers compute the exact position. The stored one changes within the first ten and when it
    has halved, at most once a minute. Otherwise a long queue would cause a write for each of its
    conversions whenever it moves.
    """
    if old == new:
        return None
    worth_a_write = old is None or new is None or new <= 10 or new * 2 <= old
    if not worth_a_write:
        return None
    if snapshot.since_write is None:
        return timedelta(0)
    return max(timedelta(0), POSITION_INTERVAL - snapshot.since_write)
