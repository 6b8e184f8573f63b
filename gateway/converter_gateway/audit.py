"""The audit log: one line for each write that a caller asks for, even if it is refused.

A request that creates several ConversionJobs has several lines.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

from starlette.requests import Request

from conversion_operator.api.trace_context import TraceParent
from conversion_operator.cluster.conversions import Caller
from conversion_operator.cluster.errors import Conflict, NotFound, Rejected
from converter_gateway import limits
from converter_gateway.errors import ApiError

_USER_MAX_LENGTH: Final = 256
_NAME_MAX_LENGTH: Final = 253
_DETAIL_MAX_LENGTH: Final = 512

logger = logging.getLogger(__name__)


class WriteRequest(AbstractContextManager["WriteRequest", None]):
    """One request to write: its sender, its namespace and its outcome.

    Use it as a context manager around the whole request. ``caller`` and ``namespace`` are filled in
    as soon as they are known. With GATEWAY_AUTH=network, the caller stays unknown. ``trace`` is the
    trace of the caller, to which the new conversions will belong.
    """

    def __init__(self, action: str, address: str) -> None:
        """``action`` is create, cancel, content, retry, hold or resume.

        ``address`` is that of the caller.
        """
        self.caller: Caller | None = None
        self.trace: TraceParent | None = None
        self.namespace = ""
        self._action, self._address = action, address
        self._name = ""

    @property
    def user(self) -> str:
        """The user name of the caller for an annotation. "" if unknown."""
        return printable(self.caller.username, _USER_MAX_LENGTH) if self.caller else ""

    def again(self) -> WriteRequest:
        """One more write of the same caller in the same namespace."""
        another = WriteRequest(self._action, self._address)
        another.caller, another.namespace = self.caller, self.namespace
        return another

    def begin(self, name: str) -> None:
        """Begin to write the ConversionJob of this name."""
        self._name = name

    def done(self, outcome: str) -> None:
        """Log that the write has ended."""
        self._log(outcome)
        self._name = ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Log the write that raised ``error``."""
        match error:
            case None:
                return
            case ApiError():
                outcome = "refused" if error.code < 500 else "failed"
                self._log(outcome, code=error.code, detail=error.message)
            case Rejected() | NotFound() | Conflict():
                self._log("refused", detail=str(error))
            case _:
                # The API server may have carried out the write, so nobody knows.
                self._log("unknown", detail=str(error) or type(error).__name__)

    def _log(self, outcome: str, code: int | None = None, detail: str = "") -> None:
        """Write one line. Text of the caller is a JSON value of bounded length."""
        extra: dict[str, object] = {
            "event": "audit",
            "action": self._action,
            "outcome": outcome,
            "user": self.user,
            "user_uid": printable(self.caller.uid, _USER_MAX_LENGTH) if self.caller else "",
            "address": self._address,
            "namespace": self.namespace,
            "job_id": printable(self._name, _NAME_MAX_LENGTH),
        }
        if code is not None:
            extra["code"] = code
        if detail:
            extra["detail"] = printable(detail, _DETAIL_MAX_LENGTH)
        logger.info("%s %s", self._action, outcome, extra=extra)


def address_of(request: Request) -> str:
    """The address of the connection. Behind a proxy, this is the proxy's address."""
    return limits.address_of(request.scope)


def printable(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, with ? instead of control characters."""
    shown = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
