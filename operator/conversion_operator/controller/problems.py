"""Conversions that the operator cannot continue until a person does something.

The problem cannot be in the status, so an Event on the object tells it, once, and a metric counts
such conversions.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from conversion_operator.cluster.objects import Event
from conversion_operator.controller.metrics import Metrics
from conversion_operator.core.model import Conversion
from conversion_operator.core.text import head

REJECTIONS_BEFORE_REPORT: Final = 5
"""So many status writes in a row are rejected before it is a problem. The first ones are repeated
within some seconds: another program may have changed the object meanwhile."""

REJECTED_RETRY_SECONDS: Final = 300.0
"""How often to write a status again that the API server rejects."""

_MESSAGE_MAX_BYTES: Final = 1024


class Problem(StrEnum):
    """The kinds of problems. The values are reasons of Events, and labels of the metric."""

    STATUS_UNREADABLE = "StatusUnreadable"
    STATUS_REJECTED = "StatusRejected"


_CURES: Final = {
    Problem.STATUS_UNREADABLE: (
        "The operator cannot read the status of this conversion, and leaves the conversion alone. "
        "Upgrade the operator to the release that wrote the status, or delete the ConversionJob. "
        "The problem is: "
    ),
    Problem.STATUS_REJECTED: (
        "The API server rejects the status of this conversion, so its state and its end are not "
        "shown. The operator tries again every five minutes. Check the output file. Then delete "
        "the ConversionJob and create it again with a spec that the CRD accepts. The response is: "
    ),
}


class Problems:
    """Remembers which problems were told. ``post`` posts an Event in the background.

    Only a leader has problems: the next one finds them again.
    """

    def __init__(
        self, metrics: Metrics, post: Callable[[Event], None], leads: Callable[[], bool]
    ) -> None:
        self._post, self._leads = post, leads
        self._gauges = {problem: metrics.stuck.labels(problem) for problem in Problem}
        self._uids: dict[Problem, set[str]] = {problem: set() for problem in Problem}
        self._rejections: dict[str, int] = {}

    def report(self, conversion: Conversion, problem: Problem, why: str) -> None:
        """Count a problem. If it is new and the conversion has not ended, post an Event."""
        uids = self._uids[problem]
        # A reconcile that began before the end of the term may end after it.
        if conversion.key.uid in uids or not self._leads():
            return
        uids.add(conversion.key.uid)
        self._gauges[problem].set(len(uids))
        if not conversion.finished:
            text = head(_CURES[problem] + why, _MESSAGE_MAX_BYTES)
            # The name keeps another process from posting the same Event again.
            name = f"{conversion.key.uid}.{problem.lower()}"
            self._post(Event(conversion.key, "Warning", problem, text, name))

    def clear(self, uid: str, problem: Problem) -> None:
        """Forget a problem that is over."""
        self._uids[problem].discard(uid)
        self._gauges[problem].set(len(self._uids[problem]))

    def count_rejection(self, uid: str) -> bool:
        """Count a status write that was rejected. True if there were many in a row."""
        self._rejections[uid] = self._rejections.get(uid, 0) + 1
        return self._rejections[uid] >= REJECTIONS_BEFORE_REPORT

    def forget_rejections(self, uid: str) -> None:
        """Report a status write that succeeded."""
        if self._rejections.pop(uid, 0):
            self.clear(uid, Problem.STATUS_REJECTED)

    def end_term(self) -> None:
        """Forget all problems. Called when this operator no longer leads."""
        self._rejections.clear()
        for problem, uids in self._uids.items():
            uids.clear()
            self._gauges[problem].set(0)

    def forget(self, uid: str) -> None:
        """Forget a conversion that no longer exists."""
        self.forget_rejections(uid)
        self.clear(uid, Problem.STATUS_UNREADABLE)
