"""Faults that a test enables between a client and the in-process API server.

Every fault is a context manager. The fields of ``audit.Match`` select the requests it hits, and
``times``, ``skip``, ``share`` and ``seed`` select how many of them. It counts its ``hits``::

    with api.faults.status(503, verb="create", resource="jobs", times=2):
        ...
    with api.faults.drop_answer(verb="create", resource="jobs") as fault:
        await fault.wait_hit()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.component.support import errors
from tests.component.support.audit import Match, Request
from tests.component.support.errors import StatusError
from tests.component.support.fault_types import (
    BlackHole,
    DroppedAnswer,
    Fault,
    Hold,
    Hook,
    Rejection,
    StreamFault,
    Tap,
)

if TYPE_CHECKING:
    from tests.component.support.watch import Watch

F = TypeVar("F", bound=Fault)
_WHEN: Final = ("times", "skip", "share", "seed")

_WORDS: Final = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden by a test"),
    404: ("NotFound", "the server could not find the requested resource"),
    409: ("Conflict", "Operation cannot be fulfilled: the object has been modified"),
    410: ("Expired", "The resourceVersion for the provided watch is too old."),
    422: ("Invalid", "the object is invalid"),
    429: ("TooManyRequests", "too many requests, please try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    502: ("InternalError", "bad gateway"),
    503: ("ServiceUnavailable", "apiserver is shutting down"),
    504: ("Timeout", "request did not complete within requested timeout"),
}


class Faults:
    """The faults that are enabled now."""

    def __init__(self, watches: Callable[[], list[Watch]]) -> None:
        self._watches = watches
        self.active: list[Fault] = []
        self.streams: list[StreamFault] = []

    def struck(self, request: Request) -> list[Fault]:
        """The faults that hit this request, in the order in which they were enabled."""
        return [fault for fault in self.active if fault.strikes(request)]

    def on_stream(self, watch: Watch) -> None:
        """Applies the enabled faults of watches to a watch that opens."""
        for fault in self.streams:
            if fault.match(watch.request):
                fault.watches.append(watch)
                watch.add_fault(fault)

    @contextmanager
    def _on(self, fault: F) -> Iterator[F]:
        self.active.append(fault)
        try:
            yield fault
        finally:
            self.active.remove(fault)

    @contextmanager
    def _on_streams(self, fault: StreamFault) -> Iterator[StreamFault]:
        self.streams.append(fault)
        for watch in self._watches():
            if fault.match(watch.request):
                fault.watches.append(watch)
                watch.add_fault(fault)
        try:
            yield fault
        finally:
            self.streams.remove(fault)
            for watch in fault.watches:
                watch.remove_fault(fault)

    # Requests

    def status(
        self,
        code: int,
        message: str | None = None,
        *,
        reason: str | None = None,
        retry_after: int | None = None,
        carried_out: bool = False,
        **options: Any,
    ) -> AbstractContextManager[Fault]:
        """Requests get ``code``. They are not carried out, unless ``carried_out`` is set.

        ``retry_after`` (seconds) sets the header and the field of the Status, as for a 429.
        """

        def make(request: Request) -> StatusError:
            word, text = _WORDS.get(code, ("InternalError", "an error on the server"))
            details = {"retryAfterSeconds": retry_after} if retry_after is not None else {}
            headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
            return StatusError(code, reason or word, message or text, details, headers)

        return self._on(Rejection(**_split(options), make=make, carried_out=carried_out))

    def conflict(self, **options: Any) -> AbstractContextManager[Fault]:
        """409, as for an outdated resourceVersion."""
        return self._on(Rejection(**_split(options), make=_conflict))

    def quota(self, quota: str = "jobs", **options: Any) -> AbstractContextManager[Fault]:
        """403 on create, with the message of the quota admission plugin."""
        why = (
            f"exceeded quota: {quota}, requested: count/jobs.batch=1, used: count/jobs.batch=5, "
            "limited: count/jobs.batch=5"
        )
        return self._forbid(why, options)

    def admission_denied(
        self, message: str = "violates policy", **options: Any
    ) -> AbstractContextManager[Fault]:
        """400 on create, with the message of an admission webhook."""
        text = f'admission webhook "policy.example.com" denied the request: {message}'
        when = _split({"verb": "create"} | options)
        return self._on(Rejection(**when, make=lambda _: StatusError(400, "BadRequest", text)))

    def forbid(self, **options: Any) -> AbstractContextManager[Fault]:
        """403 with the message of RBAC."""
        return self._on(Rejection(**_split(options), make=_no_right))

    def _forbid(self, why: str, options: dict[str, Any]) -> AbstractContextManager[Fault]:
        when = _split({"verb": "create"} | options)
        return self._on(Rejection(**when, make=lambda request: _forbidden(request, why)))

    def black_hole(self, **options: Any) -> AbstractContextManager[Fault]:
        """Requests are accepted, but neither carried out nor answered. The socket stays open.

        They are not answered after the end of the fault either.
        """
        return self._on(BlackHole(**_split(options)))

    def drop_answer(self, **options: Any) -> AbstractContextManager[Fault]:
        """Requests are carried out, then the connection breaks."""
        return self._on(DroppedAnswer(**_split(options)))

    def tap(
        self, on_arrival: Hook | None = None, on_answer: Hook | None = None, **options: Any
    ) -> AbstractContextManager[Fault]:
        """Calls a function before a request is carried out, or before its answer is sent.

        ``skip=k, times=1`` selects exactly one request, for example to kill the operator there.
        """
        return self._on(Tap(**_split(options), on_arrival=on_arrival, on_answer=on_answer))

    @contextmanager
    def hold(self, **options: Any) -> Iterator[Hold]:
        """Requests wait until ``release()``, or the end of the fault.

        They are then carried out, even if the client has given up.
        """
        with self._on(Hold(**_split(options))) as fault:
            try:
                yield fault
            finally:
                fault.release()

    # Watches

    def delay_watches(self, seconds: float, **match: Any) -> AbstractContextManager[StreamFault]:
        """Events reach the client ``seconds`` late (real time), in order."""
        return self._on_streams(StreamFault(_watching(match), delay=seconds))

    def hold_watches(self, **match: Any) -> AbstractContextManager[StreamFault]:
        """Events are held back until ``release()``, or the end of the fault."""
        return self._on_streams(StreamFault(_watching(match), hold=True))

    @contextmanager
    def partition(self, endpoint: str) -> Iterator[None]:
        """Nothing passes between the server and clients of ``endpoint``, and nothing closes.

        Requests made meanwhile are lost. Watches deliver the missed events afterwards.
        """
        with self.black_hole(endpoint=endpoint), self.hold_watches(endpoint=endpoint):
            yield


def _split(options: dict[str, Any]) -> dict[str, Any]:
    """Splits the options of a fault into its Match and its other arguments."""
    when = {key: options[key] for key in _WHEN if key in options}
    rest_of = {key: value for key, value in options.items() if key not in _WHEN}
    return {"match": Match(**rest_of)} | when


def _watching(match: dict[str, Any]) -> Match:
    return Match(verb="watch", **match)


def _conflict(request: Request) -> StatusError:
    if request.kind is None:
        return StatusError(409, "Conflict", "conflict")
    return errors.conflict(request.kind, request.name)


def _forbidden(request: Request, why: str) -> StatusError:
    if request.kind is None:
        return StatusError(403, "Forbidden", f"forbidden: {why}")
    return errors.forbidden(request.kind, request.name, why)


def _no_right(request: Request) -> StatusError:
    user = "system:serviceaccount:my-network-converter:operator"
    why = f'User "{user}" cannot {request.verb} resource "{request.plural}"'
    if request.kind is not None:
        why += f' in API group "{request.kind.group}"'
    if request.namespace:
        why += f' in the namespace "{request.namespace}"'
    return _forbidden(request, why)
