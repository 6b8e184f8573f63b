"""The metadata that only the server sets when an object is updated or deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.component.support import errors
from tests.component.support.errors import Obj
from tests.component.support.kinds import PODS, Kind
from tests.component.support.metadata import Causes

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
_KEPT: Final = ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """The options of a DELETE. ``grace`` is in seconds; ``uid`` and version are preconditions."""

    propagation: str | None = None
    grace: int | None = None
    uid: str | None = None
    resource_version: str | None = None


def _spec_part(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def keep_system_fields(kind: Kind, new: Obj, old: Obj) -> None:
    """Restores the fields that clients cannot write, and increments the generation, in place."""
    meta, before = new["metadata"], old["metadata"]
    for key in ("uid", "creationTimestamp"):
        meta.setdefault(key, before[key])
    for key in _KEPT:
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]
    new["apiVersion"], new["kind"] = kind.api_version, kind.kind
    if kind.has_generation and _spec_part(new) != _spec_part(old):
        meta["generation"] = before["generation"] + 1


def update_causes(new: Obj, old: Obj) -> Causes:
    """The errors in an update of the metadata."""
    meta, before = new["metadata"], old["metadata"]
    causes = [
        (f"metadata.{key}", f'Invalid value: "{meta[key]}": field is immutable')
        for key in ("uid", "creationTimestamp")
        if meta[key] != before[key]
    ]
    added = set(meta.get("finalizers") or []) - set(before.get("finalizers") or [])
    if "deletionTimestamp" in before and added:
        problem = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found "
            f"new finalizers {sorted(added)}"
        )
        causes.append(("metadata.finalizers", problem))
    return causes


def check_preconditions(kind: Kind, obj: Obj, options: DeleteOptions) -> None:
    """Raises 409 unless the object has the UID and the version of the preconditions."""
    meta = obj["metadata"]
    for word, given, actual in (
        ("UID", options.uid, meta["uid"]),
        ("ResourceVersion", options.resource_version, meta["resourceVersion"]),
    ):
        if given is not None and given != actual:
            why = (
                f"Precondition failed: {word} in precondition: {given}, {word} in object meta: "
                f"{actual}"
            )
            raise errors.conflict(kind, meta["name"], why)


def finalizers(kind: Kind, present: list[str], propagation: str | None) -> list[str]:
    """The finalizers of a deleted object. Policy None is the kind's default."""
    others = [name for name in present if name not in (FOREGROUND, ORPHAN)]
    if propagation is None:
        if len(others) != len(present):
            return present
        propagation = kind.default_propagation
    by_policy = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN], "Background": []}
    return others + by_policy[propagation]


def grace(kind: Kind, obj: Obj, options: DeleteOptions) -> int:
    """The grace period of a deleted object in seconds. Only pods have one."""
    if kind is not PODS:
        return 0
    spec, status = obj.get("spec", {}), obj.get("status", {})
    # Nothing runs, so there is no kubelet to wait for.
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace is not None:
        return options.grace
    seconds: int = spec.get("terminationGracePeriodSeconds", 30)
    return seconds
