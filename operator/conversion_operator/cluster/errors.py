"""What can go wrong with a request, by what the caller can conclude from it."""

from __future__ import annotations


class ClusterError(Exception):
    """A request to the API server did not succeed. ``str()`` has the server's own words."""


class NotFound(ClusterError):
    """The object does not exist."""


class Conflict(ClusterError):
    """The object exists already, or is not the one or not the version that was meant."""


class Refused(ClusterError):
    """The server refused for good: nothing was done, and the same request would fare the same.

    ``code`` is its HTTP status: 400 and 422 blame the object, 403 the rights or a quota.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class Expired(ClusterError):
    """The version to watch from is too old (410): list again."""


class Unavailable(ClusterError):
    """No answer, or one that says to try later.

    The request may have been carried out all the same: only looking again tells. ``retry_after``
    is in seconds, None if the server named no time.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
