"""Checks whether the claim of the shared volume exists in a namespace."""

from __future__ import annotations

import logging
import time
from typing import Final

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError

CACHE_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Claims:
    """Answers from a cache. Sends one request for each namespace and claim every few seconds."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Whether a claim exists, each answer with its expiry by the monotonic clock.
        self._answers: dict[str, tuple[bool, float]] = {}

    async def exists(self, namespace: str, claim: str) -> bool:
        """Whether the claim exists. The last known answer if the API server cannot say."""
        key, now = f"{namespace}/{claim}", time.monotonic()
        exists, expiry = self._answers.get(key, (True, 0.0))
        if expiry > now:
            return exists
        try:
            exists = await self._cluster.claim_exists(namespace, claim)
        except ClusterError as error:
            # Keep the last known value, or True if there is none. If True is wrong, the
            # conversion starts, its pod stays Pending, and the pod's Events say why.
            logger.warning("Cannot check the claim %s: %s", key, error)
        self._answers[key] = exists, now + CACHE_SECONDS
        return exists
