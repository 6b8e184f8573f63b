"""The objects that were observed in the cluster, in memory.

kopf and the reflectors write to the store. The workers read from it. An older version of an object
never replaces a newer one, whichever arrives first. An object that a complete list does not contain
is deleted. The store says only what was observed last, so the workers ask the API server before
they conclude anything from a missing object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from conversion_operator.cluster.objects import Object, ObjectList, Resource, WatchEvent
from conversion_operator.core.model import Children, Conversion, Job, Pod

Child = TypeVar("Child", Job, Pod)

_DELETED_KEPT: Final = 10_000
"""How many deleted uids to remember. A watch lasts about a minute, so no older events arrive."""


class Store:
    """Conversions, Jobs and pods by uid.

    The store calls ``on_change`` with the uid of each conversion that changes, or whose Job or pod
    changes.
    """

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._conversions: dict[str, Conversion] = {}
        # Uids are never reused. Without these uids, a late event would add a deleted ConversionJob
        # again.
        self._deleted: dict[str, None] = {}
        self._jobs: dict[str, Job] = {}
        self._pods: dict[str, Pod] = {}
        self._children: dict[str, set[str]] = defaultdict(set)

    def conversions(self) -> Iterable[Conversion]:
        """All ConversionJobs that are known to exist."""
        return self._conversions.values()

    def conversion(self, uid: str) -> Conversion | None:
        """One ConversionJob. None if it does not exist or no longer exists."""
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
        """The Jobs and pods of every conversion that has any, by uid of the conversion.

        Builds a value for each conversion. The admitter calls it once or twice a pass.
        """
        return {uid: self.children(uid) for uid in self._children}

    def uids(self, namespace: str) -> set[str]:
        """The uids of all conversions of a namespace, and of those that left Jobs or pods there.

        Walks everything known. Runs when the lists of a namespace become known.
        """
        owners = {
            uid
            for uid, own in self.all_children().items()
            if any(child.namespace == namespace for child in (*own.jobs, *own.pods))
        }
        return owners | {c.key.uid for c in self.conversions() if c.key.namespace == namespace}

    def find_known(self, resource: Resource, uid: str) -> Object | None:
        """The newest known value of an object that exists. None if there is none."""
        if resource is Resource.CONVERSIONS:
            return self._conversions.get(uid)
        child = self._jobs.get(uid) if resource is Resource.JOBS else self._pods.get(uid)
        return None if child is None or child.deleted else child

    def replace(self, resource: Resource, namespace: str, objects: ObjectList[Object]) -> None:
        """Take a complete list. Known objects that are neither in the list nor newer are deleted.

        Walks all known objects of the resource. Each reflector calls it once a minute.
        """
        present = {_uid(item) for item in objects.items}
        version = int(objects.version)
        for item in objects.items:
            self.update(item)
        if resource is Resource.CONVERSIONS:
            self._delete_missing_conversions(namespace, present, version)
        elif resource is Resource.JOBS:
            self._delete_missing(self._jobs, namespace, present, version)
        else:
            self._delete_missing(self._pods, namespace, present, version)

    def apply(self, event: WatchEvent[Object]) -> None:
        """Take one watch event. An event without an object changes nothing."""
        if event.object is None:
            return
        if event.type == "DELETED":
            self._delete(event.object)
        else:
            self.update(event.object)

    def update(self, item: Object) -> None:
        """Take one object that was just read or written."""
        if isinstance(item, Conversion):
            self._update_conversion(item)
        elif isinstance(item, Job):
            self._update_child(self._jobs, item)
        else:
            self._update_child(self._pods, item)

    def forget_deleted(self, uid: str) -> None:
        """Forget the deleted children of a conversion, whose last states are no longer needed."""
        for child in tuple(self._children.get(uid, ())):
            known = self._jobs.get(child) or self._pods.get(child)
            if known is not None and known.deleted:
                self._jobs.pop(child, None)
                self._pods.pop(child, None)
                self._children[uid].discard(child)
        if not self._children.get(uid):
            self._children.pop(uid, None)

    def _update_conversion(self, item: Conversion) -> None:
        uid = item.key.uid
        known = self._conversions.get(uid)
        if uid in self._deleted or (known and known.version >= item.version):
            return
        self._conversions[uid] = item
        self._on_change(uid)

    def _update_child(self, children: dict[str, Child], item: Child) -> None:
        known = children.get(item.uid)
        if known and (known.deleted or known.version >= item.version):
            return
        children[item.uid] = item
        self._children[item.conversion_uid].add(item.uid)
        self._on_change(item.conversion_uid)

    def _delete(self, item: Object) -> None:
        if isinstance(item, Conversion):
            self._delete_conversion(item.key.uid)
            return
        # A DELETED event carries the last state of the object. It may be the only record of how
        # the container ended, so it is kept and marked as deleted.
        self.update(item)
        if isinstance(item, Job):
            self._mark_deleted(self._jobs, item.uid)
        else:
            self._mark_deleted(self._pods, item.uid)

    def _mark_deleted(self, children: dict[str, Child], uid: str) -> None:
        known = children.get(uid)
        if known is None or known.deleted:
            return
        children[uid] = replace(known, deleted=True)
        self._on_change(known.conversion_uid)

    def _delete_missing_conversions(self, namespace: str, present: set[str], version: int) -> None:
        for uid, known in tuple(self._conversions.items()):
            if known.key.namespace == namespace and uid not in present and known.version <= version:
                self._delete_conversion(uid)

    def _delete_conversion(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _DELETED_KEPT:
            del self._deleted[next(iter(self._deleted))]
        if self._conversions.pop(uid, None) is not None:
            self._on_change(uid)

    def _delete_missing(
        self, children: dict[str, Child], namespace: str, present: set[str], version: int
    ) -> None:
        for uid, known in tuple(children.items()):
            if known.namespace == namespace and uid not in present and known.version <= version:
                self._mark_deleted(children, uid)


def _uid(item: Object) -> str:
    return item.key.uid if isinstance(item, Conversion) else item.uid
