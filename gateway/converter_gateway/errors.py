"""The errors that become HTTP answers."""

from __future__ import annotations


class ApiError(Exception):
    """An answer ``{"error": message}`` with status ``code``. ``retry_after`` is in seconds."""

    def __init__(self, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class NameTaken(ApiError):
    """409: another request has created a ConversionJob of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(409, f"ConversionJob {name} already exists, created by another request")
