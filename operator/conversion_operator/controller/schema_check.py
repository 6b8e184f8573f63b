"""Checks that the CRD in the cluster has all that this release writes.

In an upgrade, the CRD may be older than the operator for a while. No conversion starts then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from conversion_operator.api.served import dropped_fields
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError

INTERVAL_SECONDS: Final = 15.0
_FIRST_INTERVAL_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 30.0
"""How long to wait for the first response. If there is none, for example because somebody took the
right to read the schema away, the operator works without the check."""

_NAMED: Final = 3

logger = logging.getLogger(__name__)


class SchemaCheck:
    """Reads the served schema again and again.

    ``problem`` says what it lacks, "" if it lacks nothing, or if it could not be read.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known = False
        self._warned = False
        self._started_at = time.monotonic()
        self.problem = ""

    @property
    def must_wait(self) -> bool:
        """True while it is not known yet what the CRD has."""
        return not self._known and time.monotonic() - self._started_at < GRACE_SECONDS

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(INTERVAL_SECONDS if self._known else _FIRST_INTERVAL_SECONDS)

    async def check(self) -> None:
        """Read the served schema once. If it cannot be read, what was known stays known."""
        try:
            schema = await self._cluster.served_schema()
        except ClusterError as error:
            if not self._known and not self.must_wait and not self._warned:
                self._warned = True
                logger.warning("Cannot check the CRD; working without the check: %s", error)
            return
        self._known = True
        problem = _describe(dropped_fields(schema))
        if problem != self.problem:
            logger.warning(problem or "The CRD in the cluster is up to date; conversions start")
        self.problem = problem


def _describe(dropped: tuple[str, ...]) -> str:
    if not dropped:
        return ""
    named = ", ".join(dropped[:_NAMED]) + (", ..." if len(dropped) > _NAMED else "")
    return (
        f"The CRD in the cluster is older than the operator: it lacks {named}. No conversion "
        "starts until you apply the CRD of this release (crds/)"
    )
