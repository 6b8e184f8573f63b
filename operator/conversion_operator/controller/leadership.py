"""Leadership by a coordination.k8s.io Lease: of several operators, one writes.

The official client's own leader election cannot be used: in 37.0.2 creating the Lease fails
and a lost connection ends it. This one measures by the monotonic clock alone and never compares
its clock with another machine's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from conversion_operator.cluster.errors import ClusterError, NotFound
from conversion_operator.cluster.interface import Leases

NAME: Final = "my-network-converter-operator"
LEASE_SECONDS: Final = 30
# No write may reach the server after a new leader has taken over: a request takes at most
# 8 s (cluster/kube.py), so that one sent at the last moment is over before the Lease is.
_RENEW_DEADLINE_SECONDS: Final = 20
_PERIOD_SECONDS: Final = 5

logger = logging.getLogger(__name__)


class Leadership:
    """Acquires the Lease, renews it, and gives it back."""

    def __init__(
        self,
        leases: Leases,
        namespace: str,
        identity: str,
        now: Callable[[], datetime],
        on_change: Callable[[bool], None],
    ) -> None:
        self._leases, self._namespace, self._identity = leases, namespace, identity
        self._now, self._on_change = now, on_change
        self._leads_until = 0.0
        self._seen_version, self._seen_at = "", 0.0
        self._led = False

    def leads(self) -> bool:
        """True as long as nobody else can have taken over."""
        return time.monotonic() < self._leads_until

    async def run(self) -> None:
        """Until cancelled; then the Lease is released, so that a successor need not wait."""
        try:
            while True:
                try:
                    await self._try()
                except ClusterError as error:
                    logger.warning("cannot renew the Lease: %s", error)
                self._report()
                await asyncio.sleep(_PERIOD_SECONDS if self._led else 1.0)
        finally:
            await self._release()

    async def _try(self) -> None:
        started = time.monotonic()
        try:
            lease: Mapping[str, Any] = await self._leases.get_lease(self._namespace, NAME)
        except NotFound:
            await self._leases.create_lease(self._namespace, self._body({}, 0))
            self._leads_until = started + _RENEW_DEADLINE_SECONDS
            return
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self._identity
        if not mine and not self._expired(lease, spec):
            return
        moves = spec.get("leaseTransitions") or 0
        await self._leases.replace_lease(
            self._namespace, self._body(lease["metadata"], moves if mine else moves + 1)
        )
        self._leads_until = started + _RENEW_DEADLINE_SECONDS

    def _expired(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
        """True if the holder released it, or did not renew it for a whole term of our watching."""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, time.monotonic()
        term = spec.get("leaseDurationSeconds") or LEASE_SECONDS
        return not spec.get("holderIdentity") or time.monotonic() - self._seen_at > term

    async def _release(self) -> None:
        if not self.leads():
            return
        self._leads_until = 0.0
        try:
            lease = await self._leases.get_lease(self._namespace, NAME)
            if (lease.get("spec") or {}).get("holderIdentity") != self._identity:
                return
            spec = {**lease["spec"], "holderIdentity": ""}
            await self._leases.replace_lease(self._namespace, {**lease, "spec": spec})
        except ClusterError as error:
            logger.warning("cannot release the Lease, a successor will wait for it: %s", error)

    def _body(self, metadata: Mapping[str, Any], moves: int) -> dict[str, Any]:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        version = metadata.get("resourceVersion")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self._namespace}
            | ({"resourceVersion": version} if version else {}),
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": stamp,
                "leaseTransitions": moves,
            },
        }

    def _report(self) -> None:
        leads = self.leads()
        if leads != self._led:
            self._led = leads
            logger.info("leading" if leads else "not leading", extra={"identity": self._identity})
            self._on_change(leads)
