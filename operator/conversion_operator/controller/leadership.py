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

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound
from conversion_operator.cluster.objects import Body
from conversion_operator.controller.admissions import (
    ANNOTATION,
    format_admissions,
    parse_admissions,
)

NAME: Final = "my-network-converter-operator"
LEASE_SECONDS: Final = 30
# No write may reach the server after a new leader has taken over: a request takes at most
# 8 s (cluster/kube.py), so that one sent at the last moment is over before the Lease is.
_RENEW_DEADLINE_SECONDS: Final = 20
_PERIOD_SECONDS: Final = 5

logger = logging.getLogger(__name__)


class Leadership:
    """Acquires the Lease, renews it, writes admissions on it, and gives it back.

    ``term`` is one more each time leadership was won, 0 before the first. ``inherited`` is what
    was written on the Lease at that moment: attempts, by uid, that a former leader may start.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        identity: str,
        now: Callable[[], datetime],
        on_change: Callable[[bool], None],
    ) -> None:
        self._cluster, self._namespace, self._identity = cluster, namespace, identity
        self._now, self._on_change = now, on_change
        self._leads_until = 0.0
        self._seen_version, self._seen_at = "", 0.0
        self._led = False
        self.term = 0
        self.inherited: Mapping[str, int] = {}
        self._admitted: dict[str, int] = {}
        # The Lease as we last stored it; None if it is not known how it is stored.
        self._stored: Body | None = None
        # Renewals and admissions both replace the Lease: one at a time, or they would conflict
        # with each other as if another operator had come.
        self._writing = asyncio.Lock()

    def leads(self) -> bool:
        """True as long as nobody else can have taken over."""
        return time.monotonic() < self._leads_until

    async def commit(self, admissions: Mapping[str, int], term: int) -> bool:
        """Write on the Lease which attempts, by uid, are about to be started in this term.

        False if that is not known to be stored: then none of them may be started. The write
        fails if anybody else wrote since, which is how one that was paused learns of it.
        """
        async with self._writing:
            if not self.leads() or term != self.term or self._stored is None:
                return False
            stored = self._stored
            self._admitted |= admissions
            try:
                await self._put(stored, stored["spec"].get("leaseTransitions") or 0)
            except ClusterError as error:
                logger.warning("the admissions are not on the Lease: %s", error)
                # One by one: others may have been settled during the request.
                for uid in admissions:
                    self._admitted.pop(uid, None)
                self._report()
                return False
        return True

    def settle(self, uid: str) -> None:
        """What became of an admission is known. It leaves the Lease with the next write."""
        self._admitted.pop(uid, None)

    async def run(self) -> None:
        """Until cancelled; then the Lease is released, so that a successor need not wait."""
        try:
            while True:
                try:
                    async with self._writing:
                        await self._try()
                except ClusterError as error:
                    logger.warning("cannot renew the Lease: %s", error)
                self._report()
                await asyncio.sleep(_PERIOD_SECONDS if self._led else 1.0)
        finally:
            await self._release()

    async def _try(self) -> None:
        try:
            lease = await self._cluster.get_lease(self._namespace, NAME)
        except NotFound:
            started = time.monotonic()
            self._stored = await self._cluster.create_lease(self._namespace, self._body({}, 0))
            self._won_at(started, {})
            return
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self._identity
        if not mine:
            self._leads_until = 0.0
            if not self._expired(lease, spec):
                return
        listed = parse_admissions((lease["metadata"].get("annotations") or {}).get(ANNOTATION))
        # Also under our own name: a container that was started anew has its pod's name again.
        inherits = not mine or not self.leads()
        if inherits:
            self._admitted = listed | self._admitted
        moves = spec.get("leaseTransitions") or 0
        started = await self._put(lease, moves if mine else moves + 1)
        if inherits:
            self._won_at(started, listed)

    async def _put(self, lease: Body, moves: int) -> float:
        """Replace the Lease if it still is as given. Returns when that began."""
        started, self._stored = time.monotonic(), None
        try:
            self._stored = await self._cluster.replace_lease(
                self._namespace, self._body(lease["metadata"], moves)
            )
        except Conflict:
            self._leads_until = 0.0  # somebody else has written it
            raise
        self._leads_until = started + _RENEW_DEADLINE_SECONDS
        return started

    def _won_at(self, started: float, inherited: Mapping[str, int]) -> None:
        self._leads_until = started + _RENEW_DEADLINE_SECONDS
        self.inherited = inherited
        self.term += 1

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
            lease = await self._cluster.get_lease(self._namespace, NAME)
            if (lease.get("spec") or {}).get("holderIdentity") != self._identity:
                return
            spec = {**lease["spec"], "holderIdentity": ""}
            await self._cluster.replace_lease(self._namespace, {**lease, "spec": spec})
        except ClusterError as error:
            logger.warning("cannot release the Lease, a successor will wait for it: %s", error)

    def _body(self, metadata: Mapping[str, Any], moves: int) -> dict[str, Any]:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        version = metadata.get("resourceVersion")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": NAME,
                "namespace": self._namespace,
                "annotations": {ANNOTATION: format_admissions(self._admitted)},
            }
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
