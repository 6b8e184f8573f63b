"""Merge patch (RFC 7396) and JSON Patch (RFC 6902), as the API server applies them."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer
import orjson

from tests.component.support import errors
from tests.component.support.errors import Obj

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

MAX_OPERATIONS = 10_000


def copy(value: Any) -> Any:
    """A deep copy of a JSON value; an order of magnitude faster than copy.deepcopy."""
    return orjson.loads(orjson.dumps(value))


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396; ``target`` is not changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def apply(content_type: str, old: Obj, body: bytes, *, custom: bool) -> Obj:
    """The object after the patch. Raises the server's error if the patch does not apply."""
    allowed = [JSON, MERGE] if custom else [JSON, MERGE, STRATEGIC]
    if content_type == APPLY or (content_type == STRATEGIC and not custom):
        raise errors.unmodelled(f"patches of type {content_type}")
    if content_type not in allowed:
        raise errors.unsupported_media_type(content_type, allowed)
    try:
        patch = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from None
    if content_type == MERGE:
        if not isinstance(patch, dict):
            raise errors.bad_request("error decoding patch: a merge patch is an object")
        merged: Obj = copy(merge(old, patch))
        return merged
    if not isinstance(patch, list):
        raise errors.bad_request("error decoding patch: a JSON patch is an array")
    if len(patch) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}"
        raise errors.StatusError(413, "RequestEntityTooLarge", message)
    return _json_patch(old, patch)


def _json_patch(old: Obj, patch: list[Any]) -> Obj:
    try:
        result = jsonpatch.apply_patch(old, patch)
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        TypeError,
        KeyError,
    ):
        raise errors.patch_does_not_apply() from None
    if not isinstance(result, dict):
        raise errors.bad_request("the patch does not leave an object")
    return result
