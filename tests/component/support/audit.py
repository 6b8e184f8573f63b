"""The audit log: every request to the server, and how it ended."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tests.component.support.kinds import Kind

WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(slots=True, eq=False)
class Request:
    """One request.

    ``verb`` is one of get, list, watch, create, update, patch, delete and deletecollection.
    ``endpoint`` is the name of the URL it came to. ``code`` is the status that was sent, or would
    have been. ``outcome`` is ``answered``, ``dropped`` (carried out, answer discarded), ``hung``
    (never answered) or ``client disconnected``. ``changed`` says that an object was written;
    ``uid`` is the UID of that object, and ``owner`` the UID of its controller. ``warning`` is the
    Warning header of the response.
    """

    number: int
    at: datetime
    endpoint: str
    user_agent: str
    method: str
    path: str
    query: dict[str, str]
    verb: str = ""
    kind: Kind | None = None
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    content_type: str = ""
    token: str | None = None
    body: bytes = b""
    code: int | None = None
    outcome: str = ""
    changed: bool = False
    uid: str = ""
    owner: str = ""
    warning: str = ""

    @property
    def plural(self) -> str:
        return self.kind.plural if self.kind else ""

    def __str__(self) -> str:
        target = "/".join(filter(None, (self.namespace, self.name, self.subresource)))
        what = f"{self.verb} {self.plural} {target}"
        return f"#{self.number} {self.endpoint} {what} {self.code} {self.outcome}"


@dataclass(frozen=True, slots=True)
class Match:
    """Selects requests: every given field must be equal. ``path`` is a regular expression."""

    verb: str | tuple[str, ...] | None = None
    resource: str | tuple[str, ...] | None = None
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    path: str | None = None
    endpoint: str | None = None
    user_agent: str | None = None
    code: int | None = None
    where: Callable[[Any], bool] | None = None

    def __call__(self, request: Request) -> bool:
        pairs = (
            (self.namespace, request.namespace),
            (self.name, request.name),
            (self.subresource, request.subresource),
            (self.endpoint, request.endpoint),
            (self.code, request.code),
        )
        if any(wanted is not None and wanted != actual for wanted, actual in pairs):
            return False
        if not (_one_of(self.verb, request.verb) and _one_of(self.resource, request.plural)):
            return False
        if self.path is not None and not re.search(self.path, request.path):
            return False
        if self.user_agent is not None and self.user_agent not in request.user_agent:
            return False
        return self.where is None or self.where(request)


def _one_of(wanted: str | tuple[str, ...] | None, actual: str) -> bool:
    if wanted is None:
        return True
    return actual == wanted if isinstance(wanted, str) else actual in wanted


@dataclass(slots=True)
class AuditLog:
    """The requests in the order of their arrival.

    Every method that counts takes the fields of a ``Match``:
    ``audit.writes(resource="jobs", verb="create")``.
    """

    requests: list[Request] = field(default_factory=list)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)

    def matching(self, since: int = 0, **match: Any) -> list[Request]:
        matches = Match(**match)
        return [request for request in self.requests[since:] if matches(request)]

    def count(self, since: int = 0, **match: Any) -> int:
        return len(self.matching(since, **match))

    def writes(self, since: int = 0, **match: Any) -> list[Request]:
        """Write requests, successful or not."""
        match.setdefault("verb", tuple(WRITES))
        return self.matching(since, **match)

    def mark(self) -> int:
        """A position to count from: ``n = audit.mark(); …; audit.writes(since=n)``."""
        return len(self.requests)

    def writes_per_conversion(self, jobs_of: dict[str, str]) -> dict[str, list[Request]]:
        """Write requests except those for Events, by UID of their ConversionJob.

        ``jobs_of`` maps the UID of a Job to its owner's: ``History.owners``.
        """
        out: dict[str, list[Request]] = defaultdict(list)
        for request in self.writes():
            if request.plural == "conversionjobs" and request.uid:
                out[request.uid].append(request)
            elif request.plural == "jobs" and (request.owner or request.uid in jobs_of):
                out[request.owner or jobs_of[request.uid]].append(request)
        return dict(out)
