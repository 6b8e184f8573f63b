"""Parses URLs and bodies of requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from tests.component.support import errors, kinds
from tests.component.support.audit import Request
from tests.component.support.errors import Obj
from tests.component.support.kinds import Kind
from tests.component.support.lifecycle import DeleteOptions

MAX_BODY = 3 * 1024 * 1024
_REVIEWS = ("authentication.k8s.io", "authorization.k8s.io")
PROPAGATIONS = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class Target:
    """The resource that a path names. ``namespace`` None means all namespaces."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str


def parse_path(path: str) -> Target | None:
    """The resource that a path names; None for discovery, health and unknown paths."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return None
    if group in _REVIEWS:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = kinds.by_path(group, version, rest[0])
    if kind is None or len(rest) > 3 or (namespace is not None and not kind.namespaced):
        raise errors.no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in kind.subresources:
        raise errors.no_such_path()
    if name and kind.namespaced and namespace is None:
        raise errors.no_such_path()
    return Target(kind, namespace, name, subresource)


def is_true(query: dict[str, str], key: str) -> bool:
    return query.get(key, "").lower() in ("1", "true")


def verb_of(method: str, target: Target, query: dict[str, str]) -> str:
    """The verb of the request for RBAC and the audit log."""
    single = bool(target.name)
    if method == "GET":
        if is_true(query, "watch"):
            return "watch"
        return "get" if single else "list"
    verbs = {
        ("POST", False): "create",
        ("PUT", True): "update",
        ("PATCH", True): "patch",
        ("DELETE", True): "delete",
        ("DELETE", False): "deletecollection",
    }
    try:
        return verbs[method, single]
    except KeyError:
        raise errors.method_not_allowed() from None


def name_in_body(body: bytes) -> str:
    """The name in the body of a create request; empty if there is none."""
    try:
        return str(orjson.loads(body)["metadata"].get("name", ""))
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return ""


def json_body(request: Request) -> Obj:
    """The object in a body. Raises 4xx if the body holds no object."""
    if request.content_type not in ("application/json", "application/json; charset=utf-8", ""):
        raise errors.unsupported_media_type(request.content_type, ["application/json"])
    if len(request.body) > MAX_BODY:
        message = f"Request entity too large: limit is {MAX_BODY}"
        raise errors.StatusError(413, "RequestEntityTooLarge", message)
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(body, dict):
        raise errors.bad_request("couldn't get version/kind; json parse error: not an object")
    return body


def check_type(kind: Kind, obj: Obj) -> None:
    """Raises 400 if the body is of another type than the URL."""
    given = obj.get("apiVersion", kind.api_version), obj.get("kind", kind.kind)
    if kind.custom and ("apiVersion" not in obj or "kind" not in obj):
        raise errors.bad_request("Object 'Kind' is missing")
    if given != (kind.api_version, kind.kind):
        raise errors.bad_request(
            f"{given[1]} in version {given[0]!r} cannot be handled as a {kind.kind}: the API "
            "version in the data does not match the expected API version"
        )


def check_names(request: Request, obj: Obj) -> None:
    """Raises 400 if the namespace or name in the body differs from the URL."""
    meta: Any = obj.get("metadata") or {}
    namespace, name = meta.get("namespace"), meta.get("name")
    if request.namespace is not None and namespace and namespace != request.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if request.name and name != request.name:
        raise errors.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({request.name})"
        )


def delete_options(request: Request) -> DeleteOptions:
    """The options of a DELETE, from its body and query."""
    body: Obj = json_body(request) if request.body else {}
    if body and body.get("kind") not in (None, "DeleteOptions"):
        raise errors.bad_request("expected DeleteOptions")
    known = {
        "kind",
        "apiVersion",
        "propagationPolicy",
        "gracePeriodSeconds",
        "preconditions",
        "orphanDependents",
        "dryRun",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
    }
    if unknown := sorted(body.keys() - known):
        raise errors.bad_request(f'strict decoding error: unknown field "{unknown[0]}"')
    propagation = body.get("propagationPolicy", request.query.get("propagationPolicy"))
    orphan = body.get("orphanDependents", request.query.get("orphanDependents"))
    if propagation is None and orphan is not None:
        propagation = "Orphan" if str(orphan).lower() == "true" else "Background"
    if propagation is not None and propagation not in PROPAGATIONS:
        message = (
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            f'"{propagation}": supported values: "Foreground", "Background", "Orphan"'
        )
        raise errors.StatusError(422, "Invalid", message)
    grace = body.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        propagation=propagation,
        grace=None if grace is None else int(grace),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )
