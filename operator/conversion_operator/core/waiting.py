"""A conversion that no attempt is under way for: why it waits, and when that is worth a write."""

from __future__ import annotations

from datetime import timedelta

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core import statuses
from conversion_operator.core.endings import end_without_attempt
from conversion_operator.core.model import Children, Conversion
from conversion_operator.core.plan import POSITION_INTERVAL, Block, Context, DeleteJob, Plan
from conversion_operator.core.retry import next_attempt_at


def wait(conversion: Conversion, children: Children, context: Context) -> Plan:
    """The plan for a conversion that waits for its first or its next attempt."""
    if conversion.cancelled:
        return end_without_attempt(
            conversion,
            children,
            context,
            Phase.CANCELLED,
            Reason.CANCELLED,
            "cancelled while it waited",
        )
    strays = tuple(
        DeleteJob(job, foreground=True) for job in children.jobs if job.live and not job.deleting
    )
    at = next_attempt_at(conversion.status)
    old = conversion.status
    if at and at > context.now and old:
        # The status written when the attempt ended already says why it waits.
        return Plan(strays, requeue_after=at - context.now)
    if context.block:
        block, position = context.block, None
    elif context.position is not None:
        position = context.position
        block = Block(Reason.WAITING_FOR_SLOT, _slot_message(context.policy.max_parallel))
    else:
        return Plan(strays)
    if old and old.phase is Phase.QUEUED and old.reason == block.reason:
        wait = _until_position_write(old.queue_position, position, context)
        if wait is None or wait > timedelta(0):
            return Plan(strays, requeue_after=wait)
    status = statuses.next_status(
        conversion, Phase.QUEUED, block.reason, block.message, context.now
    )
    return Plan(strays, status.model_copy(update={"queue_position": position}))


def _slot_message(limit: int) -> str:
    return f"waiting for a slot: at most {limit} conversions run at a time"


def _until_position_write(old: int | None, new: int | None, context: Context) -> timedelta | None:
    """How long until the position is worth a write; None for never.

    Exact positions are computed on read. Stored ones change for the first ten, and when they have
    halved, at most once a minute: a long queue must not write itself to death as it moves.
    """
    if old == new:
        return None
    worthwhile = old is None or new is None or new <= 10 or new * 2 <= old
    if not worthwhile:
        return None
    if context.since_write is None:
        return timedelta(0)
    return max(timedelta(0), POSITION_INTERVAL - context.since_write)
