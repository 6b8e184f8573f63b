"""Which pods were alive together, and which Jobs were made, from the API server's audit log.

The log has every change with the object as it was stored, so nothing that lived for a short while
is overlooked, and resourceVersions give the exact order of changes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from conversion_operator.api import names

_ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Life:
    """One pod: the version it was first stored at, and the one at which it ran no more.

    ``ended`` is None where the log tells of no end; ``seen`` is its last version in the log.
    """

    uid: str
    conversion: str
    made: int
    seen: int
    ended: int | None = None

    @property
    def until(self) -> int:
        """The version at which it counts no more."""
        return self.seen + 1 if self.ended is None else self.ended


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest number of pods alive together: in all, and of one conversion."""

    pods: int
    of_one: int


def changes(lines: Iterable[str]) -> Iterator[Any]:
    """The records of changes that were made, of a log whose last line may be cut off."""
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        code = record.get("responseStatus", {}).get("code", 0)
        if record.get("stage") == "ResponseComplete" and 200 <= code < 300:
            yield record


def lives(records: Iterable[Any], namespace: str) -> list[Life]:
    """The lives of the converter pods in a namespace."""
    found: dict[str, Life] = {}
    latest = 0
    for record in records:
        target = record.get("objectRef", {})
        if (target.get("resource"), target.get("namespace")) != ("pods", namespace):
            continue
        body = record.get("responseObject") or {}
        conversion = body.get("metadata", {}).get("labels", {}).get(names.UID_LABEL)
        if body.get("kind") != "Pod" or conversion is None:
            continue
        # The answer to the delete that removes an object has no version; the log's order places it.
        latest = max(latest, int(body["metadata"].get("resourceVersion", 0)))
        uid = body["metadata"]["uid"]
        version = int(body["metadata"].get("resourceVersion", latest + 1))
        life = found.get(uid) or Life(uid, conversion, version, version)
        life = replace(life, made=min(life.made, version), seen=max(life.seen, version))
        if _over(body):
            life = replace(life, ended=min(version, life.ended or version))
        found[uid] = life
    return list(found.values())


def _over(pod: Mapping[str, Any]) -> bool:
    """True if the pod has ended, or if this change took the last that kept it."""
    if pod.get("status", {}).get("phase") in _ENDED:
        return True
    meta = pod["metadata"]
    return meta.get("deletionGracePeriodSeconds") == 0 and not meta.get("finalizers")


def peak(pods: Iterable[Life]) -> Peak:
    """The most of them that were alive together."""
    steps = [(life.made, 1, life.conversion) for life in pods]
    steps += [(life.until, -1, life.conversion) for life in pods]
    alive: Counter[str] = Counter()
    most = of_one = 0
    for _, step, conversion in sorted(steps):
        alive[conversion] += step
        most = max(most, alive.total())
        of_one = max(of_one, alive[conversion])
    return Peak(most, of_one)


def jobs_made(records: Iterable[Any], namespace: str) -> Counter[str]:
    """How many Jobs of each name were made; a name stands for one attempt of one conversion.

    A create whose client went away is logged as failed and may have been carried out nevertheless:
    the owners of pods tell of those.
    """
    created: Counter[str] = Counter()
    owners: dict[str, set[str]] = defaultdict(set)
    for record in records:
        target = record.get("objectRef", {})
        if target.get("namespace") != namespace:
            continue
        if target.get("resource") == "jobs" and record["verb"] == "create":
            created[target["name"]] += 1
        if target.get("resource") == "pods":
            meta = (record.get("responseObject") or {}).get("metadata", {})
            for owner in meta.get("ownerReferences", ()):
                owners[owner["name"]].add(owner["uid"])
    return created | Counter({name: len(uids) for name, uids in owners.items()})
