"""The errors that become HTTP responses."""

from __future__ import annotations


class ApiError(Exception):
    """Becomes the response ``{"error": message}`` with the HTTP status ``code``.

    ``retry_after`` is the header Retry-After in seconds. None: do not send the header.
    """

    def __init__(self, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class NameTaken(ApiError):
    """409: a different request has created a ConversionJob with this name."""

    def __init__(self, name: str) -> None:
        super().__init__(409, f"ConversionJob {name} already exists, created by another request")
