"""Errors of requests to the API server. The class tells the caller what to conclude.

ClusterError
  ├─ NotFound      the object does not exist
  ├─ Conflict      the stored object is another one, or has another version
  ├─ Rejected      nothing was done; the same request would fail again
  ├─ Expired       the version is too old: list again
  ├─ NotLeader     nothing was sent: the term in which the write was decided is over
  └─ Unavailable   unknown: the server may have carried out the request
       └─ TooLarge   the object exists, but it is too large to read
"""

from __future__ import annotations


class ClusterError(Exception):
    """A request to the API server failed. ``str()`` is the server's own message."""


class NotFound(ClusterError):
    """The object does not exist."""


class Conflict(ClusterError):
    """The object already exists, or it has another uid or version than the request requires."""


class Rejected(ClusterError):
    """The server rejected the request. Nothing was done, and the same request would fail again.

    ``code`` is the HTTP status. 400 and 422: the object is at fault. 403: a right is missing, or a
    quota is exceeded.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class Expired(ClusterError):
    """The resourceVersion to watch from is too old (410). List again."""


class NotLeader(ClusterError):
    """Nothing was sent: the term in which the write was decided is over. Decide again."""


class Unavailable(ClusterError):
    """There was no response, or the response says to try later.

    The server may have carried out the request. The caller must read the object to find out.
    ``retry_after`` is the header Retry-After in seconds, None if absent.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLarge(Unavailable):
    """The response is too large to read. Another try would read the same."""
