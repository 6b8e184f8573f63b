"""What must still be done in a namespace that the operator is told to leave."""

from __future__ import annotations

from conversion_operator.api.status import NotifyState, Phase
from conversion_operator.core.model import Children, Conversion


def is_under_way(conversion: Conversion | None, children: Children) -> bool:
    """Whether something that this operator has begun for a conversion is not over yet.

    It has Jobs or pods, its attempt runs, or the callback for its end is owed.
    """
    if children.jobs or children.pods:
        return True
    status = conversion.status if conversion else None
    if status is None:
        return False
    owed = status.notify is not None and status.notify.state is NotifyState.PENDING
    return status.phase in (Phase.STARTING, Phase.RUNNING) or (status.phase.terminal and owed)
