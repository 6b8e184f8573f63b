"""The objects that were observed in the cluster, in memory.

kopf and the reflectors write to the store. The workers read from it. An older version of an object
never replaces a newer one, whichever arrives first. An object that a complete list does not contain
is deleted. A live Job or pod may also have lost its label, so it counts until a worker has asked
for it by name. The store says only what was observed last, so the workers ask the API server before
they conclude anything from a missing object.

Jobs and pods are kept by the namespace and the uid of their conversion, and only the conversion's
own ones are returned: see :mod:`conversion_operator.core.identity`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.objects import Object, ObjectList, Resource, WatchEvent
from conversion_operator.controller.families import Families, attempts_of
from conversion_operator.controller.family import Family
from conversion_operator.controller.list_history import ListHistory, slices, uid_of
from conversion_operator.controller.output_index import OutputIndex
from conversion_operator.core.children import NO_CHILDREN, Children, Job, Pod
from conversion_operator.core.identity import MarkKey, attempt_of_name, identify_job
from conversion_operator.core.model import Conversion, Key

_DELETED_KEPT: Final = 30_000
"""How many deleted uids to remember. A watch lasts about a minute, so no older events arrive."""


class Store:
    """Conversions by uid, and their Jobs and pods by namespace and uid.

    The store calls ``on_change`` with the uid of each conversion that changes, or whose Job or pod
    changes.
    """

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._key: MarkKey | None = None
        self._history = ListHistory(self.find_known)
        self._conversions: dict[str, Conversion] = {}
        self._outputs = OutputIndex()
        # Uids are never reused. Without these uids, a late event would add a deleted object again.
        # A dict is slow to find its oldest key after many deletions, an OrderedDict is not.
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._families = Families()
        # The family of each Job and of each pod that is known, by the uid of the Job or pod.
        self._jobs: dict[str, Family] = {}
        self._pods: dict[str, Family] = {}

    def conversions(self) -> Iterable[Conversion]:
        """All ConversionJobs that are known to exist."""
        return self._conversions.values()

    def conversion(self, uid: str) -> Conversion | None:
        """One ConversionJob. None if it does not exist or no longer exists."""
        return self._conversions.get(uid)

    def is_new(self, uid: str) -> bool:
        """True if a conversion has no status, Job or pod, and needs no reconcile to be admitted."""
        known = self._conversions.get(uid)
        if known is None or known.status or known.cancel_requested or known.has_unresolved_profile:
            return False
        return self.children(uid) == NO_CHILDREN

    def writers(self, namespace: str, path: str) -> list[Conversion]:
        """The ConversionJobs of a namespace that have this output, ended ones too."""
        return [self._conversions[uid] for uid in self._outputs.uids(namespace, path)]

    def children(self, uid: str) -> Children:
        """The own Jobs and pods of one conversion, lowest attempt first.

        These may exist although the conversion no longer does.
        """
        for family in self._families_of(uid):
            if (children := family.children) != NO_CHILDREN:
                return children
        return NO_CHILDREN

    def all_children(self) -> dict[str, Children]:
        """The own Jobs and pods of every conversion that has any, by uid of the conversion.

        Walks all families.
        """
        return {
            family.evidence.uid: family.children
            for family in self._families
            if family.children != NO_CHILDREN
        }

    def is_marked(self, uid: str) -> bool:
        """True if our mark proves that this installation runs, or ran, the latest attempt."""
        return any(family.marked for family in self._families_of(uid))

    def missing(self, uid: str) -> tuple[Job | Pod, ...]:
        """The live children of a conversion that look deleted, Jobs first. They still count."""
        return tuple(child for f in self._families_of(uid) for child in f.missing)

    def foreign(self, uid: str) -> tuple[Job | Pod, ...]:
        """The Jobs and pods that have the label of this conversion but do not belong to it."""
        return tuple(child for f in self._families_of(uid) for child in f.foreign.values())

    def foreign_count(self) -> int:
        """The number of all foreign Jobs and pods. Walks all families, at most once a second."""
        return sum(len(family.foreign) for family in self._families)

    def uids(self, accepts: Callable[[str], bool]) -> set[str]:
        """The uids of conversions in some namespaces, and of those that left Jobs or pods there.

        Walks everything known. Runs when the lists of a namespace become known.
        """
        owners = {
            uid
            for uid, own in self.all_children().items()
            if any(accepts(child.namespace) for child in (*own.jobs, *own.pods))
        }
        return owners | {c.key.uid for c in self.conversions() if accepts(c.key.namespace)}

    def all_uids(self) -> list[str]:
        """The uids of all conversions, and of those of which only Jobs or pods are left.

        Visits everything known: after a change of the settings, and once a minute.
        """
        owners = (family.evidence.uid for family in self._families)
        return [*self._conversions, *(uid for uid in owners if uid not in self._conversions)]

    def find_known(self, resource: Resource, uid: str) -> Object | None:
        """The newest known value of an object that exists. None if there is none."""
        if resource is Resource.CONVERSIONS:
            return self._conversions.get(uid)
        family = self._index(resource).get(uid)
        child = family.find(uid) if family else None
        return None if child is None or child.deleted else child

    async def replace(
        self, resource: Resource, namespace: str, objects: ObjectList[Object]
    ) -> None:
        """Take a complete list. Known objects that are neither in the list nor newer are deleted.

        ``namespace`` may be ALL_NAMESPACES.
        Visits all known objects of the resource, in slices. Each reflector calls it once a minute.
        Other tasks run between the slices, and watch events may arrive. Each step compares the
        version of the list with what is known then, as for events that arrive in any order. So an
        object that is newer than the list is never taken for deleted. Raises HistoryWentBack.
        """
        version = int(objects.version)
        await self._history.check(resource, namespace, objects.items, version)
        for part in slices(objects.items):
            for item in part:
                self.update(item)
            await asyncio.sleep(0)
        present = {uid_of(item) for item in objects.items}
        if resource is Resource.CONVERSIONS:
            await self._delete_missing_conversions(namespace, present, version)
        else:
            await self._delete_missing(self._index(resource), namespace, present, version)

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
        else:
            self._update_child(item)

    def forget_namespaces(self, accepts: Callable[[str], bool]) -> set[str]:
        """Forget all of the namespaces that are no longer watched. Returns the uids of conversions.

        Walks everything known. Nothing counts as deleted: if a namespace is watched again, its
        objects are new.
        """
        uids = self.uids(accepts)
        for uid in uids:
            known = self._conversions.get(uid)
            if known and accepts(known.key.namespace):
                self._outputs.replace(known, None)
                del self._conversions[uid]
        for family in [f for f in self._families if accepts(f.evidence.namespace)]:
            self._families.drop(family)
        for index in (self._jobs, self._pods):
            for uid in [u for u, f in index.items() if accepts(f.evidence.namespace)]:
                del index[uid]
        return uids

    def forget_lists(self, namespace: str) -> None:
        """Forget the versions of the lists of a namespace, or of ALL_NAMESPACES."""
        self._history.forget(namespace)

    def use_key(self, key: MarkKey) -> None:
        """Check marks with this key. Walks all families, when this operator becomes the leader."""
        if key == self._key:
            return
        self._key = key
        for family in self._families:
            family.use_key(key)
            self._on_change(family.evidence.uid)

    def mark(self, conversion: Key, attempt: int) -> str:
        """The mark for the Job of an attempt. Raises RuntimeError before there is a key."""
        if self._key is None:
            raise RuntimeError("there is no key for marks before this operator leads")
        return self._key.mark(conversion.namespace, conversion.uid, attempt)

    def adopt(self, conversion: Key, attempt: int, job: Job) -> None:
        """Take a Job that a create request has just returned. Its uid is the proof.

        The watch may have shown a newer version of it, or its deletion.
        """
        if job.uid in self._deleted:
            return
        job = replace(job, conversion_uid=conversion.uid, attempt=attempt)
        family = self._family(conversion.namespace, conversion.uid)
        self._jobs[job.uid] = family
        family.adopt(job)
        self._on_change(conversion.uid)

    def adopt_if_own(self, conversion: Key, job: Job) -> bool:
        """Take a Job that was just read if it belongs to this conversion. False if it does not."""
        family = self._family(conversion.namespace, conversion.uid)
        attempt = family.evidence.attempts_by_job_uid().get(job.uid)
        if attempt is not None:  # its labels may have been removed
            job = replace(job, conversion_uid=conversion.uid, attempt=attempt_of_name(job, attempt))
        if identify_job(job, family.evidence) is None:
            self._families.drop_if_empty(family)
            return False
        self._adopt_read(job)
        return True

    def adopt_recorded_pod(self, conversion: Key, attempt: int, pod: Pod) -> None:
        """Take a pod that was just read. The status of the conversion has its uid."""
        self._adopt_read(replace(pod, conversion_uid=conversion.uid, attempt=attempt))

    def _adopt_read(self, child: Job | Pod) -> None:
        self.update(child)
        family = (self._jobs if isinstance(child, Job) else self._pods).get(child.uid)
        if family is not None and child.live and not child.managed:
            family.mark_missing(child.uid)  # no list and no watch contains it

    def confirm(self, child: Job | Pod, read: Job | Pod | None) -> None:
        """Record what the API server said about the name of a child that looks deleted.

        None: no object has the name. If another object has it, the child was deleted too.
        """
        index = self._jobs if isinstance(child, Job) else self._pods
        family = index.get(child.uid)
        if family is None:
            return
        if read is None or read.uid != child.uid:
            family.mark_deleted(child.uid)
            return
        self.update(read)
        if read.managed or not read.live:
            family.mark_found(child.uid)

    def confirm_no_pod_left(self, job: Job) -> None:
        """Record that a list of pods had no live pod of this suspended Job.

        Nothing is confirmed if the Job has changed since it was ``job``: a pod of it may be newer
        than the list.
        """
        family = self._jobs.get(job.uid)
        known = family.find(job.uid) if family else None
        if family and known and known.version == job.version:
            family.confirm_no_pod_left(job.uid)

    def forget_deleted(self, uid: str, before: int | None = None) -> None:
        """Forget the deleted children of a conversion, whose last states are no longer needed.

        With ``before``, only those of attempts with a lower number.
        """
        for family in self._families_of(uid):
            for child in family.forget_deleted(before):
                self._jobs.pop(child, None)
                self._pods.pop(child, None)
                self._remember_deleted(child)
            self._families.drop_if_empty(family)

    def _index(self, resource: Resource) -> dict[str, Family]:
        return self._jobs if resource is Resource.JOBS else self._pods

    def _families_of(self, uid: str) -> tuple[Family, ...]:
        """The family of a conversion that exists. All families of its uid if it does not exist."""
        conversion = self._conversions.get(uid)
        if conversion is not None:
            family = self._families.find(conversion.key.namespace, uid)
            return (family,) if family else ()
        return self._families.of_uid(uid)

    def _family(self, namespace: str, uid: str) -> Family:
        return self._families.find_or_make(namespace, uid, self._conversions.get(uid), self._key)

    def _update_conversion(self, item: Conversion) -> None:
        uid = item.key.uid
        known = self._conversions.get(uid)
        if uid in self._deleted or (known and known.version >= item.version):
            return
        if known and known.arrival < item.arrival:
            item = replace(item, arrival=known.arrival)  # its status does not have it yet
        self._outputs.replace(known, item)
        self._conversions[uid] = item
        family = self._families.find(item.key.namespace, uid)
        if family is not None:
            family.use_attempts(True, attempts_of(item))
        self._on_change(uid)

    def _update_child(self, item: Job | Pod) -> None:
        index = self._jobs if isinstance(item, Job) else self._pods
        family = index.get(item.uid)
        known = family.find(item.uid) if family else None
        if item.uid in self._deleted or (family and known is None):
            return  # it was deleted
        if known and (known.deleted or known.version >= item.version):
            return
        # An object stays in the family in which it was first seen, whatever its labels say later.
        family = family or self._family(item.namespace, item.conversion_uid)
        index[item.uid] = family
        if family.take(item):
            self._on_change(family.evidence.uid)

    def _delete(self, item: Object) -> None:
        if isinstance(item, Conversion):
            self._delete_conversion(item.key.uid)
            return
        # A DELETED event carries the last state of the object. It may be the only record of how
        # the container ended, so it is kept. If the object has ended, it is marked as deleted.
        self.update(item)
        self._mark_deleted(self._jobs if isinstance(item, Job) else self._pods, item.uid)

    def _mark_deleted(self, index: dict[str, Family], uid: str) -> None:
        family = index.get(uid)
        known = family.find(uid) if family else None
        if family is None or known is None or known.deleted:
            return
        family.mark_missing(uid)
        if family.find(uid) is None:  # a foreign one or a duplicate is not kept
            del index[uid]
            self._remember_deleted(uid)
            self._families.drop_if_empty(family)
        self._on_change(family.evidence.uid)

    async def _delete_missing_conversions(
        self, namespace: str, present: set[str], version: int
    ) -> None:
        for part in slices(tuple(self._conversions)):
            for uid in part:
                known = self._conversions.get(uid)
                if known is None or uid in present or known.version > version:
                    continue
                if namespace in (ALL_NAMESPACES, known.key.namespace):
                    self._delete_conversion(uid)
            await asyncio.sleep(0)

    def _delete_conversion(self, uid: str) -> None:
        self._remember_deleted(uid)
        known = self._conversions.pop(uid, None)
        if known is None:
            return
        self._outputs.replace(known, None)
        family = self._families.find(known.key.namespace, uid)
        if family is not None:
            family.use_attempts(False, {})
        self._on_change(uid)

    def _remember_deleted(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _DELETED_KEPT:
            self._deleted.popitem(last=False)

    async def _delete_missing(
        self, index: dict[str, Family], namespace: str, present: set[str], version: int
    ) -> None:
        for part in slices(tuple(index)):
            for uid in part:
                family = index.get(uid)
                if family is None or uid in present:
                    continue
                if namespace not in (ALL_NAMESPACES, family.evidence.namespace):
                    continue
                known = family.find(uid)
                if known is None:  # the family has forgotten a deleted pod that could not count
                    del index[uid]
                    self._remember_deleted(uid)
                elif known.version <= version:
                    self._mark_deleted(index, uid)
            await asyncio.sleep(0)
