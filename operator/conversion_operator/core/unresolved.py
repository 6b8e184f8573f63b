"""Plans for conversions whose ConversionProfile is not yet resolved into status.resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from conversion_operator.api.profiles import spec_with
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase, ResolvedProfile
from conversion_operator.core.attempts import awaits_attempt
from conversion_operator.core.children import Children
from conversion_operator.core.holds import PROFILE_UNRESOLVED, hold
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block, Plan, Snapshot
from conversion_operator.core.profiles import ProfileInvalid, resolve
from conversion_operator.core.queued import end_conversion_without_result, plan_queued
from conversion_operator.core.transitions import Transition

_MESSAGE: Final = "the profile is resolved; waiting for a slot"


def wants_profile(conversion: Conversion, children: Children, policy: Policy) -> bool:
    """True if the next decision about this conversion depends on its profile."""
    if conversion.finished or conversion.status_error or conversion.cancel_requested:
        return False
    return awaits_attempt(conversion, children) and hold(conversion, policy) == PROFILE_UNRESOLVED


def plan_unresolved(snapshot: Snapshot) -> Plan:
    """The plan for a conversion whose profile is not resolved.

    The first status with status.resolved is Queued. The queue admits the conversion only when this
    status is stored, so its attempts never depend on what the profile says later.
    """
    answer, spec = snapshot.profile, snapshot.conversion.spec
    if answer is None or spec is None or spec.profile is None:
        return Plan()  # it is reconciled again when there is an answer
    if isinstance(answer, Block):
        return plan_queued(replace(snapshot, block=answer))
    try:
        resolved = resolve(spec.profile, answer, spec.input_file)
    except ProfileInvalid as error:
        failed = Reason.PROFILE_INVALID
        return end_conversion_without_result(snapshot, Phase.FAILED, failed, str(error))
    after = _with_profile(snapshot, resolved)
    plan = plan_queued(after)
    waits = Transition.to(after, Phase.QUEUED, Reason.WAITING_FOR_SLOT, _MESSAGE)
    status = plan.status or waits.status
    return replace(plan, status=status.model_copy(update={"resolved": resolved}))


def _with_profile(snapshot: Snapshot, resolved: ResolvedProfile) -> Snapshot:
    """The snapshot as it will be when the status is stored."""
    conversion = snapshot.conversion
    spec = spec_with(conversion.spec, resolved) if conversion.spec else None
    queue = (spec and spec.queue) or conversion.queue
    after = replace(conversion, spec=spec, queue=queue)
    stays = resolved.queue is None and resolved.priority is None
    return replace(
        snapshot,
        conversion=after,
        block=hold(after, snapshot.policy),
        position=snapshot.position if stays else None,
    )
