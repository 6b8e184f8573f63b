"""Tells that another installation serves a namespace, too.

Both would write the same statuses, and together they would exceed the limits of both. Neither can
prevent this, so both say it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.objects import Event
from conversion_operator.controller.metrics import Metrics
from conversion_operator.core.model import Conversion, Key
from conversion_operator.core.sharing import other_installation

FORGET_SECONDS: Final = 600.0
"""How long after the last evidence a namespace counts as shared."""
NAMESPACE_SHARED: Final = "NamespaceShared"
"""The reason of the Event."""

logger = logging.getLogger(__name__)


class SharedNamespaces:
    """Remembers which namespaces are shared. ``own`` is the namespace of this operator."""

    def __init__(
        self,
        own: str,
        metrics: Metrics,
        post: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own, self._metrics, self._post, self._clock = own, metrics, post, clock
        self._since: dict[str, datetime] = {}
        # The other installation, and when it was last seen.
        self._seen: dict[str, tuple[str, float]] = {}
        self._told: set[tuple[str, str]] = set()

    def begin(self, namespace: str, now: datetime) -> None:
        """Report that the watch of a namespace, or of ALL_NAMESPACES, begins."""
        self._since[namespace] = now

    def forget(self, namespace: str) -> None:
        """Report that a namespace is no longer watched."""
        self._since.pop(namespace, None)
        self._seen.pop(namespace, None)

    def observe(self, conversion: Conversion) -> None:
        """Look at one conversion that has changed."""
        since = self._since.get(conversion.key.namespace, self._since.get(ALL_NAMESPACES))
        if since and (other := other_installation(conversion, self._own, since)):
            self._seen[conversion.key.namespace] = other, self._clock()

    def tell(self, about: Key | None, *, leads: bool) -> str:
        """Set the metric, post Events on the ConfigMap, and return what is wrong as a text.

        Called once a second. Only the leader may post.
        """
        oldest = self._clock() - FORGET_SECONDS
        self._seen = {name: seen for name, seen in self._seen.items() if seen[1] > oldest}
        shared = {(name, other) for name, (other, _) in self._seen.items()}
        self._metrics.shared.set(len(shared))
        if leads and about is not None:
            for namespace, other in sorted(shared - self._told):
                text = self._text(namespace, other)
                logger.error("%s", text)
                kind = names.CONFIG_MAP_KIND
                self._post(Event(about, "Warning", NAMESPACE_SHARED, text, kind=kind))
            self._told = shared
        return ". ".join(self._text(*pair) for pair in sorted(shared))

    def _text(self, namespace: str, other: str) -> str:
        return (
            f"The operator in the namespace {other} serves the namespace {namespace}, too. Remove "
            f"{namespace} from WATCH_NAMESPACES of one of the two installations. One whose "
            "WATCH_NAMESPACES is * serves all namespaces"
        )
