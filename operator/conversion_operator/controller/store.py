"""What is known of the cluster, in memory: fed by kopf and the reflectors, read by the workers.

Nothing older replaces anything newer, whatever order it arrives in; what a list no longer has is
gone. The view only ever says what was seen last: the decisions check what they build on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from conversion_operator.cluster.objects import ObjectList, Resource, WatchEvent
from conversion_operator.cluster.parsing import parse_conversion, parse_job, parse_pod
from conversion_operator.core.model import Children, Conversion, Job, Pod

Body = Mapping[str, Any]
Child = TypeVar("Child", Job, Pod)

_DELETED_KEPT: Final = 10_000
"""Events that old do not come any more: a watch is made anew every minute or so."""


class Store:
    """Conversions, Jobs and pods by uid. ``on_change`` is told the uid of each conversion that
    something happened to."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._conversions: dict[str, Conversion] = {}
        # Uids are never used again. Remembering those that are deleted keeps an old event from
        # bringing a ConversionJob back to life.
        self._deleted: dict[str, None] = {}
        self._jobs: dict[str, Job] = {}
        self._pods: dict[str, Pod] = {}
        self._children: dict[str, set[str]] = defaultdict(set)
        self._listed: set[tuple[Resource, str]] = set()

    # --- reading ---

    def conversions(self) -> Iterable[Conversion]:
        """All ConversionJobs known to exist."""
        return self._conversions.values()

    def conversion(self, uid: str) -> Conversion | None:
        """One ConversionJob; None if it does not exist (any more)."""
        return self._conversions.get(uid)

    def children(self, uid: str) -> Children:
        """The Jobs and pods of one conversion, lowest attempt first."""
        mine = self._children.get(uid, ())
        jobs = (self._jobs[child] for child in mine if child in self._jobs)
        pods = (self._pods[child] for child in mine if child in self._pods)
        return Children(
            tuple(sorted(jobs, key=lambda job: (job.attempt, job.created))),
            tuple(sorted(pods, key=lambda pod: (pod.attempt, pod.version))),
        )

    def all_children(self) -> dict[str, Children]:
        """The Jobs and pods of every conversion that has any, by its uid."""
        return {uid: self.children(uid) for uid in self._children}

    def complete(self, namespaces: Iterable[str]) -> bool:
        """True once each resource of each namespace was listed: before, absence means nothing."""
        return all((r, n) in self._listed for r in Resource for n in namespaces)

    # --- feeding ---

    def replace(self, resource: Resource, namespace: str, listing: ObjectList) -> None:
        """Take over a complete list; what is known and not on it, and not newer, is gone."""
        present = {body["metadata"]["uid"] for body in listing.items}
        version = int(listing.version)
        for body in listing.items:
            self._upsert(resource, body)
        if resource is Resource.CONVERSIONS:
            self._drop_conversions(namespace, present, version)
        elif resource is Resource.JOBS:
            self._drop_children(self._jobs, namespace, present, version)
        else:
            self._drop_children(self._pods, namespace, present, version)
        self._listed.add((resource, namespace))

    def apply(self, resource: Resource, change: WatchEvent) -> None:
        """Take over one event of a watch."""
        if change.kind == "DELETED":
            self._delete(resource, change.body)
        else:
            self._upsert(resource, change.body)

    def forget_deleted(self, uid: str) -> None:
        """Drop the last known states of a conversion's deleted children; they are used up."""
        for child in tuple(self._children.get(uid, ())):
            known = self._jobs.get(child) or self._pods.get(child)
            if known is not None and known.deleted:
                self._jobs.pop(child, None)
                self._pods.pop(child, None)
                self._children[uid].discard(child)
        if not self._children.get(uid):
            self._children.pop(uid, None)

    def _upsert(self, resource: Resource, body: Body) -> None:
        uid, version = body["metadata"]["uid"], int(body["metadata"]["resourceVersion"])
        if resource is Resource.CONVERSIONS:
            known = self._conversions.get(uid)
            if uid in self._deleted or (known and known.version >= version):
                return
            self._conversions[uid] = parse_conversion(body)
            self._on_change(uid)
        elif resource is Resource.JOBS:
            self._put_child(self._jobs, uid, version, lambda: parse_job(body))
        else:
            self._put_child(self._pods, uid, version, lambda: parse_pod(body))

    def _put_child(
        self, store: dict[str, Child], uid: str, version: int, parse: Callable[[], Child]
    ) -> None:
        known = store.get(uid)
        if known and (known.deleted or known.version >= version):
            return
        child = parse()
        store[uid] = child
        self._children[child.conversion_uid].add(uid)
        self._on_change(child.conversion_uid)

    def _delete(self, resource: Resource, body: Body) -> None:
        uid = body["metadata"]["uid"]
        if resource is Resource.CONVERSIONS:
            self._drop_conversion(uid)
            return
        # The event of a deletion carries the last state, which may be the only word of how the
        # container ended: it is kept, as gone.
        self._upsert(resource, body)
        if resource is Resource.JOBS:
            self._mark_deleted(self._jobs, uid)
        else:
            self._mark_deleted(self._pods, uid)

    def _mark_deleted(self, store: dict[str, Child], uid: str) -> None:
        known = store.get(uid)
        if known is None or known.deleted:
            return
        store[uid] = replace(known, deleted=True)
        self._on_change(known.conversion_uid)

    def _drop_conversions(self, namespace: str, present: set[str], version: int) -> None:
        for uid, known in tuple(self._conversions.items()):
            if known.key.namespace == namespace and uid not in present and known.version <= version:
                self._drop_conversion(uid)

    def _drop_conversion(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _DELETED_KEPT:
            del self._deleted[next(iter(self._deleted))]
        if self._conversions.pop(uid, None) is not None:
            self._on_change(uid)

    def _drop_children(
        self, store: dict[str, Child], namespace: str, present: set[str], version: int
    ) -> None:
        for uid, known in tuple(store.items()):
            if known.namespace == namespace and uid not in present and known.version <= version:
                self._mark_deleted(store, uid)
