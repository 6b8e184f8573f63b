"""Which pods were alive at the same time and which Jobs were created, from the audit log.

The log holds every change with the stored object, so no short-lived object is missed.
resourceVersions give the exact order of changes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.core.manifest import CONTAINER
from tests.e2e.support.commands import must
from tests.e2e.support.operator import AUDIT_LOG

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
    queue: str = ""
    namespace: str = ""

    @property
    def until(self) -> int:
        """The version from which on the pod does not count."""
        return self.seen + 1 if self.ended is None else self.ended


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest number of pods alive at the same time.

    In all, of one conversion, in each queue, and in each namespace of a queue.
    """

    pods: int
    of_one: int
    queues: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[tuple[str, str], int] = field(default_factory=dict)


def read(node: str, since: str) -> list[Any]:
    """The changes that the API server on a node of kind has logged since a time, oldest first."""
    text = must("docker", "exec", node, "cat", AUDIT_LOG, limit=120)
    return list(changes(text.splitlines(), since))


def changes(lines: Iterable[str], since: str) -> Iterator[Any]:
    """The records of successful changes since a time, in the order of the log.

    ``since`` is in UTC, like 2026-01-31T09:05:00.000000. The cluster may have been used before. The
    last line of the log may be incomplete.
    """
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        code = record.get("responseStatus", {}).get("code", 0)
        complete = record.get("stage") == "ResponseComplete" and 200 <= code < 300
        if complete and record["stageTimestamp"] >= since:
            yield record


def lives(records: Iterable[Any], namespaces: tuple[str, ...]) -> list[Life]:
    """The lives of the converter pods in some namespaces."""
    found: dict[str, Life] = {}
    latest = 0
    for record in records:
        target = record.get("objectRef", {})
        if target.get("resource") != "pods" or target.get("namespace") not in namespaces:
            continue
        body = record.get("responseObject") or {}
        conversion = body.get("metadata", {}).get("labels", {}).get(names.UID_LABEL)
        if body.get("kind") != "Pod" or conversion is None:
            continue
        # The answer to the final delete of an object has no version, so use its place in the log.
        latest = max(latest, int(body["metadata"].get("resourceVersion", 0)))
        uid = body["metadata"]["uid"]
        version = int(body["metadata"].get("resourceVersion", latest + 1))
        queue = body["metadata"].get("annotations", {}).get(names.QUEUE_ANNOTATION, "")
        life = found.get(uid) or Life(
            uid, conversion, version, version, queue=queue, namespace=target["namespace"]
        )
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
    steps = [(life.made, 1, life) for life in pods]
    steps += [(life.until, -1, life) for life in pods]
    alive: Counter[str] = Counter()
    queues: Counter[str] = Counter()
    shares: Counter[tuple[str, str]] = Counter()
    most = of_one = 0
    most_queues, most_shares = queues.copy(), shares.copy()
    for _, step, life in sorted(steps, key=lambda entry: entry[:2]):
        alive[life.conversion] += step
        queues[life.queue] += step
        shares[life.queue, life.namespace] += step
        most = max(most, alive.total())
        of_one = max(of_one, alive[life.conversion])
        most_queues |= queues
        most_shares |= shares
    return Peak(most, of_one, most_queues, most_shares)


def jobs_made(records: Iterable[Any], namespaces: tuple[str, ...]) -> Counter[str]:
    """The number of Jobs created with each name. A name stands for one attempt.

    The log reports a create as failed if its client disconnected, but it may have been carried
    out. The owners of pods show such Jobs.
    """
    created: Counter[str] = Counter()
    owners: dict[str, set[str]] = defaultdict(set)
    for record in records:
        target = record.get("objectRef", {})
        if target.get("namespace") not in namespaces:
            continue
        if target.get("resource") == "jobs" and record["verb"] == "create":
            created[target["name"]] += 1
        if target.get("resource") == "pods":
            meta = (record.get("responseObject") or {}).get("metadata", {})
            for owner in meta.get("ownerReferences", ()):
                owners[owner["name"]].add(owner["uid"])
    return created | Counter({name: len(uids) for name, uids in owners.items()})
