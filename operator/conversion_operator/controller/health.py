"""The operator's own health, for the probes."""

from __future__ import annotations

import time
from typing import Final

LOOP_LIMIT_SECONDS: Final = 60.0
LIST_LIMIT_SECONDS: Final = 150.0
"""Each resource is listed once a minute. A failed list request is not a problem of the operator: a
restart would not make the API server available. A reflector that no longer tries is a problem."""


class Health:
    """What the event loop reports to the probes. The probes' thread may read it at any time.

    ``ready`` is True once the operator can work. ``unlisted`` says which lists it does not know,
    and what the CRD in the cluster lacks. "" if there is nothing to say.
    """

    def __init__(self) -> None:
        self.ready = False
        self.unlisted = ""
        self._heartbeat_at = time.monotonic()
        self._listed_at: dict[str, float] = {}

    def heartbeat(self) -> None:
        """Report that the event loop is running."""
        self._heartbeat_at = time.monotonic()

    def report_list(self, name: str) -> None:
        """Report that ``name``, for example "pods in my-network", is being listed."""
        self._listed_at[name] = time.monotonic()

    def forget_list(self, name: str) -> None:
        """Report that ``name`` is no longer listed."""
        self._listed_at.pop(name, None)

    def problem(self) -> str:
        """What is wrong, as a sentence; "" if nothing is."""
        now = time.monotonic()
        silence = now - self._heartbeat_at
        if silence > LOOP_LIMIT_SECONDS:
            return f"The event loop has been blocked for {silence:.0f} s"
        for name, listed_at in tuple(self._listed_at.items()):
            if now - listed_at > LIST_LIMIT_SECONDS:
                return f"The operator stopped listing {name}"
        return ""
