"""Errors of the API server: Status objects with the messages of kube-apiserver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.component.support.kinds import Kind

Obj = dict[str, Any]
"""A Kubernetes object as JSON."""


class StatusError(Exception):
    """A request fails, and its answer is a Status object.

    ``headers`` are sent with the answer (Retry-After). ``details`` is the field of the Status.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Obj | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.headers = headers or {}

    def to_status(self) -> Obj:
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def _details(kind: Kind, name: str) -> Obj:
    details: Obj = {"name": name, "kind": kind.plural}
    if kind.group:
        details["group"] = kind.group
    return details


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def not_found(kind: Kind, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(kind, name))


def conflict(kind: Kind, name: str, why: str | None = None) -> StatusError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try "
        "again"
    )
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(kind, name))


def forbidden(kind: Kind, name: str, why: str, causes: list[Obj] | None = None) -> StatusError:
    details = _details(kind, name)
    if causes:
        details["causes"] = causes
    named = f'{kind.resource} "{name}" is forbidden' if name else f"{kind.resource} is forbidden"
    return StatusError(403, "Forbidden", f"{named}: {why}", details)


def namespace_terminating(kind: Kind, name: str, namespace: str) -> StatusError:
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    return forbidden(kind, name, why, [cause])


def invalid(kind: Kind, name: str, causes: list[tuple[str, str]]) -> StatusError:
    """422 with one cause for each (field, message)."""
    texts = [f"{field}: {message}" for field, message in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details: Obj = {
        "name": name,
        "kind": kind.kind,
        "causes": [
            {"reason": "FieldValueInvalid", "message": message, "field": field}
            for field, message in causes
        ],
    }
    if kind.group:
        details["group"] = kind.group
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def patch_does_not_apply() -> StatusError:
    """The answer to a JSON Patch with a failed ``test`` or a missing path.

    The real server does not say which operation failed either.
    """
    message = "the server rejected our request due to an error in our request"
    return StatusError(422, "Invalid", message)


def expired(since: int, current: int) -> StatusError:
    """410: the version to watch or continue from is no longer stored."""
    return StatusError(410, "Expired", f"too old resource version: {since} ({current})")


def version_too_large(asked: int, current: int) -> StatusError:
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return StatusError(504, "Timeout", message, details)


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message)


def unsupported_media_type(given: str, allowed: list[str]) -> StatusError:
    message = (
        f"the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(allowed)} (was {given!r})"
    )
    return StatusError(415, "UnsupportedMediaType", message)


def unmodelled(what: str) -> StatusError:
    """501 for a feature that this server does not have. No test can rely on it by accident."""
    return StatusError(501, "NotImplemented", f"the in-process API server does not model {what}")
