"""What must still be done in a namespace that the operator is told to leave."""

from __future__ import annotations

from conversion_operator.api.status import NotifyState, Phase
from conversion_operator.core.attempts import awaits_attempt
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion
from conversion_operator.core.sharing import other_writer


def is_under_way(
    conversion: Conversion | None, children: Children, own: str, *, marked: bool
) -> bool:
    """Whether something that this operator has begun for a conversion is not over yet.

    A Job or pod of it may run, an attempt has no recorded end, Jobs or pods are left of an ended
    or deleted conversion, or the callback for its end is owed. The Job of an earlier attempt does
    not count: it stays while the conversion is in the queue.

    What another installation has begun does not count, because the namespace may be its own by now.
    The mark of this operator on a Job or pod proves that this operator has begun the attempt
    (``marked``). Without one, nobody else may have written the status. ``own`` is the namespace of
    this operator.
    """
    if not marked and (conversion is None or other_writer(conversion, own)):
        return False
    return _is_not_over(conversion, children)


def _is_not_over(conversion: Conversion | None, children: Children) -> bool:
    if children.live:
        return True
    if conversion is None:
        return _has_leftovers(children)
    status = conversion.status
    if conversion.finished:
        notify = status.notify if status else None
        owed = notify is not None and notify.state is NotifyState.PENDING
        return owed or (_has_leftovers(children) and not conversion.orphans_dependents)
    if conversion.status_error:
        return False  # nothing is decided about its attempts
    if status is not None and status.phase in (Phase.STARTING, Phase.RUNNING):
        return True
    return not awaits_attempt(conversion, children)


def _has_leftovers(children: Children) -> bool:
    """True while there are Jobs and pods that are still to be deleted."""
    objects = (*children.jobs, *children.pods_without_job)
    return any(not (child.deleting or child.deleted) for child in objects)
