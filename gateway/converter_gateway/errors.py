"""What a request is answered with when it cannot be carried out."""

from __future__ import annotations


class ApiError(Exception):
    """Answered as ``{"error": message}`` with the status code, and Retry-After in seconds."""

    def __init__(self, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class NameTaken(ApiError):
    """409: there is a ConversionJob of that name, and another request made it."""

    def __init__(self, name: str) -> None:
        super().__init__(409, f"ConversionJob {name} exists already, made by another request")
