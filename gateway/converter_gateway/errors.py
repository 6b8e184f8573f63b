"""The errors that become HTTP responses."""

from __future__ import annotations

import re
from typing import Final

from conversion_operator.api import names

# How every API server words the refusal of its authorizers.
_MISSING_RIGHT: Final = re.compile(
    r'User "[^"]*" cannot (?P<verb>[a-z]+) resource "conversionjobs".*'
    r' in the namespace "(?P<namespace>[a-z0-9-]+)"'
)


class ApiError(Exception):
    """Becomes the response ``{"error": message}`` with the HTTP status ``code``.

    ``retry_after`` is the header Retry-After in seconds. None: do not send the header. ``reason``
    is one word for programs, which the response has as ``code``. "": it has none.
    """

    def __init__(
        self, code: int, message: str, retry_after: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.reason = reason


class NameTaken(ApiError):
    """409: a different request has created a ConversionJob with this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            f"ConversionJob {name} already exists, created by another request. Delete it, or wait "
            "until it is deleted after its time to live",
        )
        self.name = name


def explain_forbidden(message: str) -> str:
    """The message for a caller whose request the API server answered with 403.

    The API checked the caller's permission before. So if the server's authorizer refused the
    request, the API itself has no rights in the namespace. If the policy of the caller's annotation
    refused it, the label of the namespace is missing. Other 403 are quotas and policies.
    """
    if names.CALLER_ANNOTATION in message:
        return (
            "the namespace does not name this API's installation in its label "
            f"{names.OPERATOR_NAMESPACE_LABEL}. Apply the component deploy/namespace"
        )
    found = _MISSING_RIGHT.search(message)
    if found is None:
        return message
    return (
        f"namespace {found['namespace']} is not set up for this API, which may not "
        f"{found['verb']} conversionjobs there. Apply the component deploy/namespace"
    )
