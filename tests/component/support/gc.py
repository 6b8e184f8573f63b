"""The garbage collector and the namespace controller, one pass at a time."""

from __future__ import annotations

from tests.component.support import kinds
from tests.component.support.errors import Obj
from tests.component.support.kinds import NAMESPACES, STORED, Kind
from tests.component.support.lifecycle import FOREGROUND, ORPHAN, DeleteOptions
from tests.component.support.storage import Key, ObjectStorage, StoredChange, Version

_ACTOR = "gc"


class GarbageCollector:
    """Deletes objects whose owners are deleted, and does foreground and orphan deletion.

    ``step`` visits the objects that changed since the last step.
    """

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._dirty: dict[tuple[Kind, Key], None] = {}
        storage.listeners.append(self._on_change)

    def _on_change(self, change: StoredChange) -> None:
        self._dirty[change.kind, change.key] = None
        if change.type == "DELETED":
            self._dirty |= dict.fromkeys(self._dependents(change.uid))
            for owner in change.new.obj["metadata"].get("ownerReferences") or []:
                kind = kinds.by_type(owner["apiVersion"], owner["kind"])
                if kind is not None:
                    namespace = change.key[0] if kind.namespaced else ""
                    self._dirty[kind, (namespace, owner["name"])] = None

    def _dependents(self, uid: str) -> list[tuple[Kind, Key]]:
        return sorted(self._storage.dependents.get(uid, ()), key=lambda d: (d[0].resource, d[1]))

    def step(self) -> int:
        """Number of objects written."""
        dirty, self._dirty = self._dirty, {}
        before = self._storage.rv
        for kind, key in dirty:
            version = self._storage.find(kind, *key)
            if version is not None:
                self._collect(kind, key, version)
        return self._storage.rv - before

    def next_due(self) -> None:
        """None: only changes give it work."""

    def _collect(self, kind: Kind, key: Key, version: Version) -> None:
        meta = version.obj["metadata"]
        finalizers = meta.get("finalizers") or []
        if "deletionTimestamp" in meta:
            if ORPHAN in finalizers:
                self._orphan(kind, key, meta["uid"])
            elif FOREGROUND in finalizers:
                self._foreground(kind, key, meta["uid"])
            return
        if meta.get("ownerReferences"):
            self._check_owners(kind, key, version)

    def _orphan(self, kind: Kind, key: Key, uid: str) -> None:
        for dependent_kind, dependent in self._dependents(uid):
            self._drop_owners(dependent_kind, dependent, {uid})
        self._release(kind, key, ORPHAN)

    def _foreground(self, kind: Kind, key: Key, uid: str) -> None:
        blocking = [(k, d) for k, d in self._dependents(uid) if self._blocks(k, d, uid)]
        if not blocking:
            self._release(kind, key, FOREGROUND)
        for dependent_kind, dependent in blocking:
            version = self._storage.get(dependent_kind, *dependent)
            if "deletionTimestamp" not in version.obj["metadata"]:
                self._check_owners(dependent_kind, dependent, version)

    def _blocks(self, kind: Kind, key: Key, uid: str) -> bool:
        owners = self._storage.get(kind, *key).obj["metadata"]["ownerReferences"]
        return any(o["uid"] == uid and o.get("blockOwnerDeletion") for o in owners)

    def _check_owners(self, kind: Kind, key: Key, version: Version) -> None:
        meta = version.obj["metadata"]
        states = {o["uid"]: self._owner_state(key[0], o) for o in meta["ownerReferences"]}
        unsolid = {uid for uid, state in states.items() if state != "solid"}
        if len(unsolid) < len(states):
            if unsolid:
                self._drop_owners(kind, key, unsolid)
            return
        own = self._dependents(meta["uid"])
        waiting = "waiting" in states.values()
        foreground = waiting and any(self._blocks(k, d, meta["uid"]) for k, d in own)
        policy = "Foreground" if foreground else "Background"
        options = DeleteOptions(propagation=policy, uid=meta["uid"])
        self._storage.delete(kind, *key, options, _ACTOR)

    def _owner_state(self, namespace: str, reference: Obj) -> str:
        kind = kinds.by_type(reference["apiVersion"], reference["kind"])
        if kind is None:
            return "solid"  # The real collector cannot resolve the type either.
        owner = self._storage.find(kind, namespace, reference["name"])
        if owner is None or owner.obj["metadata"]["uid"] != reference["uid"]:
            return "absent"
        meta = owner.obj["metadata"]
        if "deletionTimestamp" in meta and FOREGROUND in (meta.get("finalizers") or []):
            return "waiting"
        return "solid"

    def _drop_owners(self, kind: Kind, key: Key, uids: set[str]) -> None:
        def drop(obj: Obj) -> None:
            meta = obj["metadata"]
            kept = [o for o in meta.get("ownerReferences", []) if o["uid"] not in uids]
            if kept:
                meta["ownerReferences"] = kept
            else:
                meta.pop("ownerReferences", None)

        self._storage.mutate(kind, *key, drop, _ACTOR)

    def _release(self, kind: Kind, key: Key, finalizer: str) -> None:
        def drop(obj: Obj) -> None:
            obj["metadata"]["finalizers"].remove(finalizer)

        self._storage.mutate(kind, *key, drop, _ACTOR)


class NamespaceController:
    """Empties terminating namespaces, and removes them once they are empty."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def step(self) -> int:
        """Number of objects written."""
        before = self._storage.rv
        for namespace in self._storage.objects(NAMESPACES):
            if namespace.obj["status"]["phase"] == "Terminating":
                self._empty(namespace.obj["metadata"]["name"])
        return self._storage.rv - before

    def next_due(self) -> None:
        """None: only changes give it work."""

    def _empty(self, name: str) -> None:
        left = False
        for kind in STORED:
            if not kind.namespaced:
                continue
            for version in self._storage.objects(kind, name):
                left = True
                meta = version.obj["metadata"]
                if "deletionTimestamp" not in meta:
                    options = DeleteOptions(propagation="Background")
                    self._storage.delete(kind, name, meta["name"], options, _ACTOR)
        if not left:
            self._storage.remove(NAMESPACES, "", name, _ACTOR)
