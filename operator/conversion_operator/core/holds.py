"""What in a ConversionJob or its ConversionQueue keeps the next attempt from starting: a hold.

A conversion whose spec has something that this release does not know waits for another release of
the operator. A conversion that was restored from a backup without its status waits until the status
is restored, or until the user removes the label of the backup tool. A conversion whose
ConversionProfile is not resolved waits for it. A suspended conversion waits until the user resumes
it, and a conversion whose ConversionQueue is missing or held waits for the queue. While a hold
lasts, no attempt starts. The conversion ends only if the user cancels it, its ConversionProfile is
invalid, or a pod of an earlier attempt is lost with its node. A lost pod does not end it while the
reason of the hold is Suspended or QueueHeld.

A conversion whose status cannot be read waits, too, but for this there is no hold:
``plan_unreadable_status`` leaves it alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from conversion_operator.api.queues import StopPolicy
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import (
    STOP_RECHECK_INTERVAL,
    Block,
    Plan,
    Snapshot,
    delete_live_jobs,
    delete_pods,
)
from conversion_operator.core.transitions import Transition

RESTORED_WRITE_DELAY: Final = timedelta(seconds=10)
"""How long after its creation a restored conversion gets a status. A tool that restores a status
does so in a second request, which fails if the object has changed since the first."""

PROFILE_UNRESOLVED: Final = Block(
    Reason.PROFILE_UNREADABLE, "the ConversionProfile that spec.profile names is not read yet"
)
"""The hold of a conversion whose profile is not resolved. Its status gives the exact cause."""

SUSPENDED: Final = Block(
    Reason.SUSPENDED, "spec.suspend is true. The conversion starts after you set it to false"
)


def hold(conversion: Conversion, policy: Policy) -> Block | None:
    """Why the next attempt of this conversion must wait. None if nothing holds it."""
    label = next((name for name in policy.restore_labels if name in conversion.labels), None)
    if conversion.status is None and label:
        message = (
            f"restored from a backup without its status: it may already have ended. To start it, "
            f"remove the label {label}. If it must not start, delete it or set spec.cancel"
        )
        return Block(Reason.RESTORED, message)
    if conversion.unsupported:
        message = f"{conversion.unsupported}; upgrade the operator"
        return Block(Reason.UNSUPPORTED_FIELD, message)
    if conversion.has_unresolved_profile:
        return PROFILE_UNRESOLVED
    return SUSPENDED if conversion.suspend else _queue_hold(conversion, policy)


def _queue_hold(conversion: Conversion, policy: Policy) -> Block | None:
    """The hold because the ConversionQueue is missing or held. None if it is neither."""
    name, namespace = conversion.queue, conversion.key.namespace
    limits = policy.queues.find(name)
    if limits is None:
        message = f"there is no ConversionQueue {name}. Create it, or change spec.queue"
        return Block(Reason.QUEUE_MISSING, message)
    why = ""
    if limits.unreadable:
        why = f"its spec cannot be read: {limits.unreadable}"
    elif limits.stop is not StopPolicy.NONE:
        why = f"its spec.stopPolicy is {limits.stop}"
    elif limits.max_parallel == 0:
        why = "its spec.maxParallel is 0"
    elif limits.namespaces.get(namespace) == 0:
        why = f"it lets no conversion of the namespace {namespace} run: maxParallel is 0"
    return queue_held(name, why) if why else None


def queue_held(name: str, why: str) -> Block:
    """The block for a ConversionQueue that is held: its conversions must not start or run."""
    return Block(Reason.QUEUE_HELD, f"ConversionQueue {name} is held: {why}")


def plan_restored(snapshot: Snapshot, held: Block) -> Plan:
    """The plan for a restored conversion without a status. It stays Pending."""
    conversion = snapshot.conversion
    if conversion.pending_reason == held.reason:
        return Plan()
    delay = conversion.created + RESTORED_WRITE_DELAY - snapshot.now
    if delay > timedelta(0):
        return Plan(requeue_after=delay)
    return Plan(status=Transition.to(snapshot, Phase.PENDING, held.reason, held.message).status)


def plan_unreadable_status(conversion: Conversion, children: Children) -> Plan:
    """The plan for a conversion whose status cannot be read: leave it alone.

    It may have begun, and its attempts are not known. If somebody cancels it, its Jobs and pods are
    stopped. An operator that can read the status then writes the end.
    """
    if not conversion.cancel_requested:
        return Plan()
    pods_without_job = delete_pods(pod for pod in children.pods_without_job if pod.live)
    actions = delete_live_jobs(children.jobs) + pods_without_job
    return Plan(actions, requeue_after=STOP_RECHECK_INTERVAL if actions else None)
