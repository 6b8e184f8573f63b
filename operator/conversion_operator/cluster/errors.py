"""Errors of requests to the API server, by what the caller may conclude from them.

ClusterError
  ├─ NotFound      the object does not exist
  ├─ Conflict      another object or version has its place
  ├─ Refused       nothing was done; the same request would fail again
  ├─ Expired       list again
  └─ Unavailable   unknown: the request may have been carried out
"""

from __future__ import annotations


class ClusterError(Exception):
    """A request to the API server failed. ``str()`` is the server's own message."""


class NotFound(ClusterError):
    """The object does not exist."""


class Conflict(ClusterError):
    """The object already exists, or it has another uid or version than the request requires."""


class Refused(ClusterError):
    """The server refused the request. Nothing was done, and the same request would fail again.

    ``code`` is the HTTP status: 400 and 422 blame the object, 403 the rights or a quota.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class Expired(ClusterError):
    """The resourceVersion to watch from is too old (410). List again."""


class Unavailable(ClusterError):
    """There was no answer, or one that says to try later.

    The request may have been carried out. Only reading the object again shows whether it was.
    ``retry_after`` is in seconds, None if the server named no time.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
