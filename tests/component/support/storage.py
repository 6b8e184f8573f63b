"""The object storage of the API server: versions, preconditions, finalizers, the log of changes.

It is synchronous and does no I/O: one call is one transaction. Stored objects are never changed in
place. Callers get the stored dictionaries and must copy one (``patching.copy``) to change it.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from tests.component.support import errors, lifecycle, metadata, patching
from tests.component.support.clock import ServerClock, Signal
from tests.component.support.errors import Obj
from tests.component.support.kinds import NAMESPACES, STORED, Kind
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.strategies import Strategy

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"
_MAX_OBJECT: Final = 1_572_864


class Version:
    """One version of one object, encoded at most once."""

    __slots__ = ("_items", "_raw", "kind", "obj", "rv")

    def __init__(self, kind: Kind, obj: Obj, rv: int) -> None:
        self.kind, self.obj, self.rv = kind, obj, rv
        self._raw: bytes | None = None
        self._items: bytes | None = None

    @property
    def raw(self) -> bytes:
        if self._raw is None:
            self._raw = orjson.dumps(self.obj)
        return self._raw

    @property
    def as_item(self) -> bytes:
        """As an item of a list: built-in items carry neither apiVersion nor kind there."""
        if self.kind.custom:
            return self.raw
        if self._items is None:
            bare = {k: v for k, v in self.obj.items() if k not in ("apiVersion", "kind")}
            self._items = orjson.dumps(bare)
        return self._items


@dataclass(frozen=True, slots=True, eq=False)
class StoredChange:
    """One write that changed an object. ``type`` is ADDED, MODIFIED or DELETED.

    ``at`` is the server's time. ``actor`` is who wrote: the endpoint of a request, or ``cluster``,
    ``gc`` or ``test`` for writes without a request.
    """

    rv: int
    at: datetime
    type: str
    kind: Kind
    key: Key
    uid: str
    old: Version | None
    new: Version
    actor: str


@dataclass(slots=True)
class Table:
    """All objects of one kind and the log of their changes."""

    live: dict[Key, Version] = field(default_factory=dict)
    log: list[StoredChange] = field(default_factory=list)
    compacted: int = 0


class ObjectStorage:
    """Objects of every kind, with one version counter, as in etcd."""

    def __init__(self, clock: ServerClock, strategy: Strategy) -> None:
        self.clock = clock
        self.strategy = strategy
        self.tables: dict[Kind, Table] = {kind: Table() for kind in STORED}
        self.changes: list[StoredChange] = []
        self.dependents: dict[str, set[tuple[Kind, Key]]] = {}
        self.listeners: list[Callable[[StoredChange], None]] = []
        self.mutators: list[Callable[[Kind, Obj], None]] = []
        """Mutating admission of create requests: each changes the object in place."""
        self.changed = Signal()
        self.rv = 0
        self._names = 0

    # Reading

    def find(self, kind: Kind, namespace: str, name: str) -> Version | None:
        return self.tables[kind].live.get((namespace if kind.namespaced else "", name))

    def get(self, kind: Kind, namespace: str, name: str) -> Version:
        version = self.find(kind, namespace, name)
        if version is None:
            raise errors.not_found(kind, name)
        return version

    def objects(self, kind: Kind, namespace: str | None = None) -> list[Version]:
        """Objects in the order of their keys. ``namespace`` None means all namespaces."""
        live = self.tables[kind].live
        return [live[key] for key in sorted(live) if namespace is None or key[0] == namespace]

    def since(self, kind: Kind, rv: int) -> list[StoredChange]:
        """Changes after version ``rv``. Raises 410 if they are compacted."""
        table = self.tables[kind]
        if rv < table.compacted:
            raise errors.expired(rv, self.rv)
        return table.log[bisect_right(table.log, rv, key=lambda change: change.rv) :]

    def objects_at(self, kind: Kind, rv: int, namespace: str | None = None) -> list[Version]:
        """The objects at version ``rv``. Raises 410 if it is compacted."""
        later = self.since(kind, rv)
        live = dict(self.tables[kind].live)
        for change in reversed(later):
            if change.old is None:
                del live[change.key]
            else:
                live[change.key] = change.old
        return [live[key] for key in sorted(live) if namespace is None or key[0] == namespace]

    def compact(self, kinds: Iterable[Kind] = STORED) -> None:
        """Forgets history: watches from an earlier version get 410."""
        for kind in kinds:
            self.tables[kind].compacted = self.rv + 1
        # Otherwise a list taken now would already be too old to watch from.
        self.rv += 1

    # Writing

    def create(
        self, kind: Kind, namespace: str, obj: Obj, actor: str, *, check: bool = True
    ) -> Version:
        """Stores a new object. ``check=False`` skips validation, as under an older CRD."""
        obj = patching.copy(obj)
        meta: Obj = obj["metadata"]
        if meta.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not meta.get("name"):
            self._generate_name(kind, meta)
        name = meta["name"]
        if kind.namespaced:
            meta["namespace"] = namespace
            self._check_namespace(kind, namespace, name)
        for field_name in (*metadata.SERVER_SET, "generation"):
            meta.pop(field_name, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = self.clock.stamp()
        if kind.has_generation:
            meta["generation"] = 1
        self.strategy.prepare_create(kind, obj)
        for mutate in self.mutators:
            mutate(kind, obj)
        if check and (causes := self.strategy.causes(kind, obj)):
            raise errors.invalid(kind, name, causes)
        key = (namespace if kind.namespaced else "", name)
        if key in self.tables[kind].live:
            raise errors.already_exists(kind, name)
        return self._write("ADDED", kind, key, obj, None, actor)

    def update(
        self, kind: Kind, namespace: str, name: str, new: Obj, actor: str, subresource: str = ""
    ) -> Version:
        """Replaces an object: a PUT, or the result of a PATCH."""
        old = self.get(kind, namespace, name)
        self._check_version(kind, new, old)
        new = patching.copy(self.strategy.prepare_update(kind, new, old.obj, subresource))
        lifecycle.keep_system_fields(kind, new, old.obj)
        causes = lifecycle.update_causes(new, old.obj) + self.strategy.causes(kind, new, old.obj)
        if causes:
            raise errors.invalid(kind, name, causes)
        return self._settle(kind, old, new, actor)

    def mutate(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Obj], Any], actor: str
    ) -> Version:
        """Changes an object without validation; for controllers and tests.

        It may change spec and status together.
        """
        old = self.get(kind, namespace, name)
        new = patching.copy(old.obj)
        change(new)
        return self._settle(kind, old, new, actor)

    def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions, actor: str
    ) -> tuple[Version, bool]:
        """Deletes an object. Returns its last state, and whether it is removed already."""
        old = self.get(kind, namespace, name)
        lifecycle.check_preconditions(kind, old.obj, options)
        if kind is NAMESPACES:
            return self._terminate_namespace(old, actor), False
        new = patching.copy(old.obj)
        meta = new["metadata"]
        present = meta.get("finalizers", [])
        meta["finalizers"] = lifecycle.finalizers(kind, present, options.propagation)
        if not meta["finalizers"]:
            del meta["finalizers"]
        grace = lifecycle.grace(kind, old.obj, options)
        if grace == 0 and not meta.get("finalizers"):
            return self.remove(kind, namespace, name, actor, new), True
        if "deletionTimestamp" not in meta:
            meta["generation"] = meta.get("generation", 0) + 1
            meta["deletionTimestamp"] = self.clock.stamp(shift=grace)
            meta["deletionGracePeriodSeconds"] = grace
            if not kind.has_generation:
                del meta["generation"]
        elif grace < meta.get("deletionGracePeriodSeconds", 0):
            meta["deletionGracePeriodSeconds"] = grace
            meta["deletionTimestamp"] = self.clock.stamp(shift=grace)
        return self._settle(kind, old, new, actor), False

    def remove(
        self, kind: Kind, namespace: str, name: str, actor: str, last: Obj | None = None
    ) -> Version:
        """Removes an object at once, whatever its finalizers."""
        old = self.get(kind, namespace, name)
        key = (namespace if kind.namespaced else "", name)
        return self._write("DELETED", kind, key, patching.copy(last or old.obj), old, actor)

    # Inside

    def _settle(self, kind: Kind, old: Version, new: Obj, actor: str) -> Version:
        if not new["metadata"].get("finalizers"):
            new["metadata"].pop("finalizers", None)
        new["metadata"]["resourceVersion"] = old.obj["metadata"]["resourceVersion"]
        if new == old.obj:
            return old
        meta = new["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        released = "deletionTimestamp" in meta and not meta.get("finalizers")
        # A pod in its grace period stays until its kubelet reports that it has stopped.
        if released and not meta.get("deletionGracePeriodSeconds") and kind is not NAMESPACES:
            return self._write("DELETED", kind, key, new, old, actor)
        return self._write("MODIFIED", kind, key, new, old, actor)

    def _write(
        self, event: str, kind: Kind, key: Key, obj: Obj, old: Version | None, actor: str
    ) -> Version:
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
        self.strategy.set_defaults(kind, obj)
        obj["metadata"]["resourceVersion"] = str(self.rv + 1)
        version = Version(kind, obj, self.rv + 1)
        if len(version.raw) > _MAX_OBJECT:
            raise errors.StatusError(500, "InternalError", "etcdserver: request is too large")
        self.rv += 1
        table = self.tables[kind]
        if event == "DELETED":
            del table.live[key]
        else:
            table.live[key] = version
        self._index(kind, key, old if old else None, None if event == "DELETED" else version)
        uid = obj["metadata"]["uid"]
        change = StoredChange(self.rv, self.clock.now(), event, kind, key, uid, old, version, actor)
        table.log.append(change)
        self.changes.append(change)
        for listener in list(self.listeners):
            listener(change)
        self.changed.fire()
        return version

    def _index(self, kind: Kind, key: Key, old: Version | None, new: Version | None) -> None:
        for uid in _owner_uids(old):
            self.dependents[uid].discard((kind, key))
        for uid in _owner_uids(new):
            self.dependents.setdefault(uid, set()).add((kind, key))

    def _generate_name(self, kind: Kind, meta: Obj) -> None:
        prefix = meta.get("generateName", "")
        if not prefix:
            problem = "Required value: name or generateName is required"
            raise errors.invalid(kind, "", [("metadata.name", problem)])
        self._names += 1
        number, suffix = self._names * 7919 + 104729, ""
        for _ in range(5):
            number, digit = divmod(number, len(_SUFFIX))
            suffix += _SUFFIX[digit]
        meta["name"] = prefix[:58] + suffix

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self.find(NAMESPACES, "", namespace)
        if found is None:
            raise errors.not_found(NAMESPACES, namespace)
        if found.obj["status"]["phase"] == "Terminating":
            raise errors.namespace_terminating(kind, name, namespace)

    def _check_version(self, kind: Kind, new: Obj, old: Version) -> None:
        given = new["metadata"].get("resourceVersion")
        name = old.obj["metadata"]["name"]
        if not given and not kind.unconditional_update:
            problem = "Invalid value: 0x0: must be specified for an update"
            raise errors.invalid(kind, name, [("metadata.resourceVersion", problem)])
        if given and given != old.obj["metadata"]["resourceVersion"]:
            raise errors.conflict(kind, name)

    def _terminate_namespace(self, old: Version, actor: str) -> Version:
        new = patching.copy(old.obj)
        new["metadata"].setdefault("deletionTimestamp", self.clock.stamp())
        new["status"]["phase"] = "Terminating"
        return self._settle(NAMESPACES, old, new, actor)


def _owner_uids(version: Version | None) -> list[str]:
    if version is None:
        return []
    return [owner["uid"] for owner in version.obj["metadata"].get("ownerReferences") or []]
