"""Finds the family of a conversion, and makes one when its first Job or pod is seen.

A family is kept by the namespace and the uid of its conversion. Everybody may create a Job with the
label of a uid, so families of one uid may exist in several namespaces.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from conversion_operator.api.status import Attempt
from conversion_operator.controller.family import Family
from conversion_operator.core.identity import Bound, Evidence, MarkKey
from conversion_operator.core.model import Conversion

_BOUND_KEPT: Final = 10_000
"""For how many conversions without Jobs and pods to remember which Jobs and pods were theirs. A
copy of one of their marks is then worth nothing."""

_FamilyKey = tuple[str, str]
"""The namespace and the uid of a conversion."""


class Families:
    """The families of all conversions, and what is remembered of those without Jobs and pods."""

    def __init__(self) -> None:
        self._families: dict[_FamilyKey, Family] = {}
        self._namespaces: dict[str, set[str]] = defaultdict(set)
        self._bound: OrderedDict[_FamilyKey, dict[int, Bound]] = OrderedDict()

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families.values())

    def find(self, namespace: str, uid: str) -> Family | None:
        """The family of a conversion. None if there is none."""
        return self._families.get((namespace, uid))

    def of_uid(self, uid: str) -> tuple[Family, ...]:
        """The families of a uid in all namespaces."""
        return tuple(self._families[n, uid] for n in sorted(self._namespaces.get(uid, ())))

    def find_or_make(
        self, namespace: str, uid: str, conversion: Conversion | None, key: MarkKey | None
    ) -> Family:
        """The family of a conversion. Makes one if there is none.

        ``conversion`` is the ConversionJob that has this uid, perhaps in another namespace. A new
        family checks marks with ``key``.
        """
        family = self._families.get((namespace, uid))
        if family is None:
            exists = conversion is not None and conversion.key.namespace == namespace
            attempts = attempts_of(conversion) if exists else {}
            bound = self._bound.pop((namespace, uid), {})
            family = Family(Evidence(namespace, uid, exists, attempts, bound, key))
            self._families[namespace, uid] = family
            self._namespaces[uid].add(namespace)
        return family

    def drop_if_empty(self, family: Family) -> None:
        """Drop a family without Jobs and pods. Remembers which ones were its own."""
        if not family.empty:
            return
        self.drop(family)
        if family.evidence.bound:
            key = family.evidence.namespace, family.evidence.uid
            self._bound[key] = dict(family.evidence.bound)
            if len(self._bound) > _BOUND_KEPT:
                self._bound.popitem(last=False)

    def drop(self, family: Family) -> None:
        """Drop a family, and remember nothing of it."""
        namespace, uid = family.evidence.namespace, family.evidence.uid
        self._families.pop((namespace, uid), None)
        self._namespaces[uid].discard(namespace)
        if not self._namespaces[uid]:
            del self._namespaces[uid]


def attempts_of(conversion: Conversion | None) -> Mapping[int, Attempt]:
    """The attempts in the status of a conversion, by number."""
    recorded = (conversion.status.attempts if conversion and conversion.status else None) or ()
    return {attempt.number: attempt for attempt in recorded}
