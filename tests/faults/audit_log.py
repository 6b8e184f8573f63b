"""Checks the limits of the operator with the API server's audit log."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.support.cluster import LIMIT
from tests.e2e.support.conversions import NAMESPACE
from tests.load import audit


class AuditLog:
    """The changes in the audit log since a time."""

    def __init__(self, node: str, since: str) -> None:
        self._node, self._since = node, since

    def read(self) -> list[Any]:
        """The records so far, oldest first."""
        return audit.read(self._node, self._since)

    def check(self, limit: int = LIMIT) -> None:
        """Check I1, I2 and one Job per attempt, at every moment since then."""
        records = self.read()
        most = audit.peak(audit.lives(records, (NAMESPACE,)))
        assert most.pods <= limit, "more pods were alive than the limit allows"
        assert most.of_one <= 1, "two pods of one conversion were alive"
        jobs = audit.jobs_made(records, (NAMESPACE,))
        twice = {name: count for name, count in jobs.items() if count > 1}
        assert jobs, "the audit log has no Job"
        assert not twice, json.dumps(twice)
