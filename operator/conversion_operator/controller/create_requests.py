"""What became of the create requests for Jobs: failures, unknown results, and rejections."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.core.plan import Block

_REJECTION_CACHE_SECONDS: Final = 20.0
_LATE_CREATE_SECONDS: Final = 75.0
"""If a create request got no response, the API server may still create the Job within this time. It
gives up on a request after 60 s; the rest is a margin."""

_GIVE_UP_SECONDS: Final = 30.0
"""If all create requests for a Job fail for this long, no more are sent, and the conversion waits
for its next turn. So a namespace whose webhook fails does not hold slots for ever."""


@dataclass(slots=True)
class CreateRequests:
    """What became of the create requests for one attempt. The times are monotonic.

    ``unresolved_create_at`` is the time of the last create request whose result is unknown, None
    if there is none. ``failing_since`` is the time of the first failure in the current series of
    failures. The series ends when the attempt may not start, or when a list that it needs is
    missing. ``given_up`` is why no more requests are sent.
    """

    unresolved_create_at: float | None
    failing_since: float | None = None
    given_up: Block | None = None

    def record_unknown_result(self) -> None:
        """Record that a request was sent now, and that nobody knows its result."""
        self.unresolved_create_at = time.monotonic()

    def record_failure(self, problem: str) -> bool:
        """Record a failure. True if the operator gives up, because all requests failed for 30 s."""
        now = time.monotonic()
        self.failing_since = now if self.failing_since is None else self.failing_since
        if now - self.failing_since >= _GIVE_UP_SECONDS:
            self.given_up = Block(Reason.POD_REJECTED, problem)
        return self.given_up is not None

    def may_take_effect_late(self) -> bool:
        """True while the API server may still carry out a request whose result is unknown."""
        return (
            self.unresolved_create_at is not None
            and time.monotonic() - self.unresolved_create_at < _LATE_CREATE_SECONDS
        )


class Rejections:
    """Why the Jobs of conversions were not created, for 20 s each."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[Block, float]] = {}

    def add(self, uid: str, block: Block) -> None:
        """Block a conversion for 20 s from now on."""
        self._until[uid] = block, time.monotonic() + _REJECTION_CACHE_SECONDS

    def recent(self) -> Mapping[str, Block]:
        """The blocks of the last 20 s by uid. Visits each of them."""
        now = time.monotonic()
        self._until = {uid: entry for uid, entry in self._until.items() if entry[1] > now}
        return {uid: block for uid, (block, _) in self._until.items()}


def block_for_rejection(message: str) -> Block:
    """The block of a conversion whose Job the API server has rejected with this message."""
    quota = "exceeded quota" in message
    return Block(Reason.QUOTA_EXCEEDED if quota else Reason.POD_REJECTED, message)
