"""Compares the schema that the API server serves with the status that this release writes.

The API server drops the fields that its CRD does not have, without an error. So an operator under
an older CRD would lose what it writes, such as the uids of its Jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from conversion_operator.api import names
from conversion_operator.api.crd import structural_schema
from conversion_operator.api.status import ConversionJobStatus


def served_schema(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a ConversionJob in an OpenAPI v3 document. None if it has none."""
    kind = {"group": names.GROUP, "version": names.VERSION, "kind": names.KIND}
    schemas = (document.get("components") or {}).get("schemas") or {}
    return next(
        (s for s in schemas.values() if kind in (s.get("x-kubernetes-group-version-kind") or ())),
        None,
    )


def dropped_fields(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """What this release writes to the status, and the served schema of a ConversionJob lacks."""
    served = (schema.get("properties") or {}).get("status")
    return ("status",) if served is None else tuple(_missing(_own_status(), served, "status"))


@cache
def _own_status() -> dict[str, Any]:
    return structural_schema(ConversionJobStatus)


def _missing(own: Mapping[str, Any], served: Mapping[str, Any], path: str) -> Iterator[str]:
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, child in (own.get("properties") or {}).items():
        found = (served.get("properties") or {}).get(name)
        if found is None:
            yield f"{path}.{name}"
        else:
            yield from _missing(child, found, f"{path}.{name}")
    if "items" in own:
        yield from _missing(own["items"], served.get("items") or {}, f"{path}[]")
    if "enum" in served:
        for value in own.get("enum", ()):
            if value not in served["enum"]:
                yield f"{path}: {value}"
