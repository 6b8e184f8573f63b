"""Limits of how many conversions may start at a time, beside the free slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from conversion_operator.core.model import Policy
from conversion_operator.core.suspended import max_suspended

MAX_ADMISSIONS: Final = 1000
MAX_NAMESPACES: Final = 1000
"""The Lease has room for so many admissions, and for the slots of so many namespaces."""


class StartLimits:
    """What one admission pass may still start in each namespace.

    ``failing`` has the namespaces whose last create request failed without a clear answer. A slot
    is held for such a request for up to 105 s. Without a limit, failing namespaces could hold all
    slots in this way, one conversion after the other. So each has at most two reservations, and all
    of them together leave at least one slot for others. The second one shows whether all requests
    in the namespace fail, or only those of one conversion.

    ``suspended`` has the number of suspended Jobs by namespace. Each admission in these namespaces
    may become another one. Other namespaces are not concerned: whoever suspends Jobs in one of them
    must not stop the others.

    ``reserved`` has the namespace of each reservation, and ``holding`` the namespaces whose Jobs
    and pods take slots. The Lease lists both. What it has no room for does not start.
    """

    def __init__(
        self,
        failing: Collection[str],
        suspended: Mapping[str, int],
        reserved: Iterable[str],
        policy: Policy,
        holding: Iterable[str] = (),
    ) -> None:
        reserved = tuple(reserved)
        self._room = MAX_ADMISSIONS - len(reserved)
        self._listed = {*reserved, *holding}
        self._failing, self._suspended = failing, suspended
        self._taken = Counter(name for name in reserved if name in failing)
        self._most_failing = max(1, policy.max_parallel - 1)
        self._suspended_left = max_suspended(policy) - sum(suspended.values())
        self._suspended_left -= sum(name in suspended for name in reserved)

    def allows(self, namespace: str) -> bool:
        """True if one more conversion of the namespace may start."""
        if self._room <= 0:
            return False
        if namespace not in self._listed and len(self._listed) >= MAX_NAMESPACES:
            return False
        if namespace in self._suspended and self._suspended_left <= 0:
            return False
        if namespace not in self._failing:
            return True
        most = self._most_failing
        return self._taken[namespace] < min(2, most) and self._taken.total() < most

    def take(self, namespace: str) -> None:
        """Count the start of a conversion."""
        self._room -= 1
        self._listed.add(namespace)
        if namespace in self._failing:
            self._taken[namespace] += 1
        if namespace in self._suspended:
            self._suspended_left -= 1
