"""Pruning and validation with the OpenAPI schema of a CustomResourceDefinition.

They work as in the API server, ratcheting included: an unchanged invalid value stays accepted. CEL
is not evaluated. Of the CEL rules in the CRD, ``transition_causes`` implements a few in Python.
Tests of other CEL rules need a real cluster.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import yaml

from tests.component.support.errors import Obj
from tests.component.support.metadata import Causes

TERMINAL_PHASES: Final = frozenset({"Succeeded", "Failed", "Cancelled"})
MUTABLE_SPEC: Final = frozenset(
    {"cancel", "priority", "queue", "suspend", "ttlSecondsAfterFinished"}
)

_KEPT: Final = frozenset({"apiVersion", "kind", "metadata"})
_COPIED: Final = (
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "multipleOf",
    "uniqueItems",
    "required",
    "format",
)
_WORDS: Final = {
    "enum": "Unsupported value",
    "required": "Required value",
    "maxLength": "Too long",
    "maxItems": "Too many",
}


_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_FORMATS: Final = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or _DATE_TIME.fullmatch(value) is not None


def _translate_bounds(out: Obj) -> None:
    for bound in ("Minimum", "Maximum"):
        # In OpenAPI 3.0 exclusiveMinimum is a flag; in JSON Schema it is the bound.
        if isinstance(out.get(f"exclusive{bound}"), bool):
            exclusive = out.pop(f"exclusive{bound}")
            if exclusive:
                out[f"exclusive{bound}"] = out.pop(bound.lower())


def _translate_type(schema: Obj, out: Obj) -> None:
    if schema.get("x-kubernetes-int-or-string"):
        out["type"] = ["integer", "string"]
    elif "type" in schema:
        out["type"] = schema["type"]
    if schema.get("nullable") and "type" in out:
        kinds = out["type"] if isinstance(out["type"], list) else [out["type"]]
        out["type"] = [*kinds, "null"]


def _translate(schema: Obj) -> Obj:
    """The JSON Schema (2020-12) that is equivalent to one node of an OpenAPI v3 schema."""
    out: Obj = {key: schema[key] for key in _COPIED if key in schema}
    if out.get("pattern", "").endswith("$"):
        # Python's $ also matches before a final line end; RE2 in the server does not.
        out["pattern"] = out["pattern"][:-1] + r"\Z"
    _translate_bounds(out)
    _translate_type(schema, out)
    if "properties" in schema:
        out["properties"] = {k: _translate(v) for k, v in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        out["items"] = _translate(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _translate(schema["additionalProperties"])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            out[key] = [_translate(part) for part in schema[key]]
    if "not" in schema:
        out["not"] = _translate(schema["not"])
    return out


def _prune(schema: Obj, value: Any, path: str, dropped: list[str]) -> Any:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_prune(schema["items"], v, f"{path}[{i}]", dropped) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    keep_unknown = schema.get("x-kubernetes-preserve-unknown-fields") or additional is True
    out: Obj = {}
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        known = properties.get(key, additional)
        if isinstance(known, dict):
            if item is not None or known.get("nullable") or "default" in known:
                out[key] = _prune(known, item, inner, dropped)
        elif keep_unknown:
            out[key] = item
        else:
            dropped.append(inner)
    return out


def _default(schema: Obj, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _default(schema.get("items", {}), item)
    if not isinstance(value, dict):
        return
    for key, inner in schema.get("properties", {}).items():
        unset = value.get(key) is None and not (key in value and inner.get("nullable"))
        if unset and "default" in inner:
            value[key] = copy.deepcopy(inner["default"])
        if key in value:
            _default(inner, value[key])


def _duplicates(schema: Obj, value: Any, path: str) -> Iterator[str]:
    """The paths of duplicate entries in lists of type map or set."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from _duplicates(inner, value[key], f"{path}.{key}".lstrip("."))
    if not isinstance(value, list):
        return
    keys = schema.get("x-kubernetes-list-map-keys", [])
    unique = schema.get("x-kubernetes-list-type") in ("map", "set")
    seen: list[Any] = []
    for i, item in enumerate(value):
        identity = [item.get(key) for key in keys] if keys and isinstance(item, dict) else item
        if unique and identity in seen:
            yield f"{path}[{i}]"
        seen.append(identity)
        yield from _duplicates(schema.get("items", {}), item, f"{path}[{i}]")


def _at(obj: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        try:
            obj = obj[key]
        except (KeyError, IndexError, TypeError):
            return None
    return obj


class CustomSchema:
    """The schema of one version of a CustomResourceDefinition."""

    def __init__(self, crd: Obj, version: str) -> None:
        found = [v for v in crd["spec"]["versions"] if v["name"] == version]
        if not found:
            raise LookupError(f"the CRD has no version {version}")
        self.definition: Obj = found[0]
        self.root: Obj = self.definition["schema"]["openAPIV3Schema"]
        properties = {k: v for k, v in self.root["properties"].items() if k not in _KEPT}
        self._validator = jsonschema.Draft202012Validator(
            _translate(self.root | {"properties": properties}), format_checker=_FORMATS
        )

    @classmethod
    @cache
    def load(cls, path: Path, version: str) -> CustomSchema:
        """Reads a CRD. Cached, because every test has a server of its own."""
        return cls(yaml.safe_load(path.read_text(encoding="utf-8")), version)

    def prune(self, obj: Obj) -> tuple[Obj, list[str]]:
        """The object with defaults and without unknown fields, and the paths of those fields."""
        dropped: list[str] = []
        kept = {key: obj[key] for key in _KEPT if key in obj}
        body = {key: value for key, value in obj.items() if key not in _KEPT}
        pruned = _prune(self.root, body, "", dropped)
        _default(self.root, pruned)
        return kept | pruned, dropped

    def set_defaults(self, obj: Obj) -> None:
        """Sets the defaults of missing fields, in place."""
        _default(self.root, obj)

    def causes(self, obj: Obj, old: Obj | None = None) -> Causes:
        """The errors in ``obj``, except those of values that are the same in ``old``."""
        found: Causes = []
        for error in self._validator.iter_errors(obj):
            path = tuple(error.absolute_path)
            if old is not None and path and _at(old, path) == _at(obj, path):
                continue
            if error.validator == "required" and isinstance(error.instance, dict):
                missing = [k for k in error.validator_value if k not in error.instance]
                found += [(_dotted((*path, key)), "Required value") for key in missing]
                continue
            word = _WORDS.get(str(error.validator), "Invalid value")
            found.append((_dotted(path) or "<nil>", f"{word}: {error.message}"))
        for where in _duplicates(self.root, obj, ""):
            found.append((where, "Duplicate value"))
        # jsonschema reports one error per missing key, and each error names all keys.
        return sorted(set(found))


def _dotted(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def transition_causes(old: Obj, new: Obj) -> Causes:
    """The violations of the CRD's rules about changes, which are CEL in the real server."""
    causes: Causes = []
    old_spec, new_spec = old.get("spec", {}), new.get("spec", {})
    fixed = (set(old_spec) | set(new_spec)) - MUTABLE_SPEC
    changed = sorted(key for key in fixed if old_spec.get(key) != new_spec.get(key))
    if changed:
        problem = f'Invalid value: "object": immutable: {", ".join(changed)}'
        causes.append(("spec", problem))
    resolved = (old.get("status") or {}).get("resolved")
    if resolved is not None and (new.get("status") or {}).get("resolved") != resolved:
        causes.append(("status", 'Invalid value: "object": status.resolved never changes'))
    waits = (old.get("status") or {}).get("phase", "Pending") in ("Pending", "Queued")
    queue = (resolved or {}).get("queue", "default")
    if not waits and old_spec.get("queue", queue) != new_spec.get("queue", queue):
        causes.append(("spec.queue", 'Invalid value: "string": queue can only be changed while'))
    if old_spec.get("cancel") and not new_spec.get("cancel"):
        causes.append(("spec", 'Invalid value: "object": a cancelled job stays cancelled'))
    old_status, new_status = old.get("status"), new.get("status")
    old_phase = (old_status or {}).get("phase", "Pending")
    if old_phase != "Pending" and (new_status or {}).get("phase", "Pending") == "Pending":
        causes.append(("<nil>", 'Invalid value: "object": status may not be removed'))
    if old_phase in TERMINAL_PHASES and (new_status or {}).get("phase") != old_phase:
        causes.append(("status", 'Invalid value: "object": a terminal phase never changes'))
    old_note = (old_status or {}).get("notify")
    note = (new_status or {}).get("notify") or {}
    if old_note and note.get("attempts", -1) < old_note["attempts"]:
        causes.append(("status", 'Invalid value: "object": a callback is never taken back'))
    if old_note and old_note["state"] not in ("Pending", note.get("state")):
        causes.append(("status", 'Invalid value: "object": what came of a callback stays'))
    return causes
