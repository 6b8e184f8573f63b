"""Which pods were alive at the same time and which Jobs were created, from the audit log.

The log holds every change with the stored object, so no short-lived object is missed.
resourceVersions give the exact order of changes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.core.manifest import CONTAINER

_ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Life:
    """One pod, with the resourceVersions of its creation and its end.

    ``ended`` is None if its end is not in the log. ``seen`` is its last version in the log.
    """

    uid: str
    conversion: str
    made: int
    seen: int
    ended: int | None = None

    @property
    def until(self) -> int:
        """The version from which on the pod does not count."""
        return self.seen + 1 if self.ended is None else self.ended


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest number of pods alive at the same time: in all, and of one conversion."""

    pods: int
    of_one: int


def changes(lines: Iterable[str]) -> Iterator[Any]:
    """The records of successful changes. The last line of the log may be incomplete."""
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
        # The answer to the final delete of an object has no version, so use its place in the log.
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
    """True if the converter has ended, which frees the slot, or if this change removed the pod."""
    status = pod.get("status", {})
    if status.get("phase") in _ENDED:
        return True
    for container in status.get("containerStatuses") or ():
        if container["name"] == CONTAINER and "terminated" in container.get("state", {}):
            return True
    meta = pod["metadata"]
    return meta.get("deletionGracePeriodSeconds") == 0 and not meta.get("finalizers")


def peak(pods: Iterable[Life]) -> Peak:
    """The largest number of pods alive at the same time."""
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
    """The number of Jobs created with each name. A name stands for one attempt.

    The log reports a create as failed if its client disconnected, but it may have been carried
    out. The owners of pods show such Jobs.
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
