"""Validation of names, labels, annotations and owners, and the fields that the server sets."""

from __future__ import annotations

import re
from typing import Any, Final

from tests.component.support import errors
from tests.component.support.clock import normalize
from tests.component.support.errors import Obj
from tests.component.support.kinds import Kind

Causes = list[tuple[str, str]]
"""Pairs of a field and its error."""

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ANNOTATIONS_MAX: Final = 256 * 1024

FIELDS: Final = frozenset(
    {
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    }
)
SERVER_SET: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def name_error(name: str, *, dns_label: bool) -> str | None:
    """Why this is no name; None for a good one."""
    limit, pattern = (63, _LABEL) if dns_label else (253, _SUBDOMAIN)
    if len(name) > limit:
        return f'Invalid value: "{name}": must be no more than {limit} characters'
    if not pattern.fullmatch(name):
        what = "label" if dns_label else "subdomain"
        return (
            f'Invalid value: "{name}": a lowercase RFC 1123 {what} must consist of lower case '
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
            "character"
        )
    return None


def _key_error(key: str) -> str | None:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        return f'Invalid value: "{key}": prefix part must be a DNS subdomain'
    if not name or len(name) > 63 or not _QUALIFIED.fullmatch(name):
        return (
            f'Invalid value: "{key}": name part must be no more than 63 characters and consist of '
            "alphanumeric characters, '-', '_' or '.'"
        )
    return None


def label_causes(labels: Any, field: str) -> Causes:
    causes: Causes = []
    for key, value in (labels or {}).items():
        if problem := _key_error(key):
            causes.append((field, problem))
        if not isinstance(value, str):
            causes.append((field, f'Invalid value: "{value}": must be a string'))
        elif len(value) > 63:
            problem = f'Invalid value: "{value}": must be no more than 63 characters'
            causes.append((field, problem))
        elif value and not _QUALIFIED.fullmatch(value):
            causes.append(
                (
                    field,
                    f'Invalid value: "{value}": a valid label must be an empty string or consist '
                    "of alphanumeric characters, '-', '_' or '.'",
                )
            )
    return causes


def _annotation_causes(annotations: Any) -> Causes:
    causes: Causes = []
    total = 0
    for key, value in (annotations or {}).items():
        if problem := _key_error(key.lower()):
            causes.append(("metadata.annotations", problem))
        if not isinstance(value, str):
            causes.append(("metadata.annotations", f'Invalid value: "{value}": must be a string'))
        total += len(key) + len(str(value))
    if total > _ANNOTATIONS_MAX:
        limit = f"Too long: may not be more than {_ANNOTATIONS_MAX} bytes"
        causes.append(("metadata.annotations", limit))
    return causes


def _owner_causes(owners: Any) -> Causes:
    causes: Causes = []
    for i, owner in enumerate(owners or []):
        causes += [
            (f"metadata.ownerReferences[{i}].{key}", 'Invalid value: "": must not be empty')
            for key in ("apiVersion", "kind", "name", "uid")
            if not owner.get(key)
        ]
    if sum(bool(owner.get("controller")) for owner in owners or []) > 1:
        problem = "Invalid value: Only one reference can have Controller set to true"
        causes.append(("metadata.ownerReferences", problem))
    return causes


def causes(kind: Kind, obj: Obj) -> Causes:
    """The errors in an object's metadata."""
    meta = obj["metadata"]
    found: Causes = []
    if problem := name_error(meta.get("name", ""), dns_label=kind.dns_label):
        found.append(("metadata.name", problem))
    found += label_causes(meta.get("labels"), "metadata.labels")
    found += _annotation_causes(meta.get("annotations"))
    found += _owner_causes(meta.get("ownerReferences"))
    for finalizer in meta.get("finalizers") or []:
        if problem := _key_error(finalizer):
            found.append(("metadata.finalizers", problem))
    return found


def managed_fields(old: Obj, manager: str) -> list[Obj]:
    """The managers of an object after a write of its status. The fields are not modelled."""
    entry = {"manager": manager, "operation": "Update", "subresource": "status"}
    managed = old["metadata"].get("managedFields", [])
    return [*(other for other in managed if other != entry), entry]


def shape(kind: Kind, obj: Obj) -> Obj:
    """The object with only the known fields of its metadata. Raises 400 for wrong types."""
    meta = obj.get("metadata")
    if meta is None:
        meta = {}
    if not isinstance(meta, dict):
        raise errors.bad_request(f"{kind.kind}.metadata: expected an object")
    kept = {key: value for key, value in meta.items() if key in FIELDS and value is not None}
    kept.pop("managedFields", None)
    kept.pop("selfLink", None)
    for key, expected in (
        ("labels", dict),
        ("annotations", dict),
        ("ownerReferences", list),
        ("finalizers", list),
        ("name", str),
        ("resourceVersion", str),
    ):
        if key in kept and not isinstance(kept[key], expected):
            raise errors.bad_request(f"metadata.{key}: expected {expected.__name__}")
        if key in kept and not kept[key]:
            del kept[key]
    for key in ("creationTimestamp", "deletionTimestamp"):
        if key in kept:
            try:
                kept[key] = normalize(kept[key])
            except (TypeError, ValueError):
                raise errors.bad_request(f"metadata.{key}: not a time") from None
    return obj | {"metadata": kept}


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference with ``controller: true``."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            reference: Obj = owner
            return reference
    return None
