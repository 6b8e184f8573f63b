"""Leader election with a coordination.k8s.io Lease: only one operator writes.

The leader election of the official client cannot be used: in 37.0.2 it fails to create the Lease,
and a lost connection ends it. This module uses only the monotonic clock. It never compares the
clocks of two machines.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from conversion_operator.cluster.admissions import Admission
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, NotLeader
from conversion_operator.cluster.objects import Lease
from conversion_operator.core.identity import KEY_BYTES, MarkKey

NAME: Final = "my-network-converter-operator"
LEASE_SECONDS: Final = 30
# No write may reach the server after a new leader has taken over. A write takes at most 8 s (see
# cluster/transport.py), so a write sent at the last moment ends before the Lease does. A request
# for the Lease takes at most 5 s (see cluster/client.py). So the term does not end if one request
# gets no response.
_RENEW_DEADLINE_SECONDS: Final = 20
_RENEW_SECONDS: Final = 5
_ACQUIRE_SECONDS: Final = 1
# The API server may carry out the last create requests of a leader without marks for this long: see
# _LATE_CREATE_SECONDS in controller/create_requests.py. It also covers the error of our estimate of
# the server's time.
_LATE_UNMARKED: Final = timedelta(seconds=75)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TermPermit:
    """The right to write in one term."""

    leadership: Leadership
    term: int

    def check(self) -> None:
        """Raise NotLeader if the term is over."""
        if not self.leadership.leads() or self.leadership.term != self.term:
            raise NotLeader(f"term {self.term} of this operator is over, nothing was written")


async def _no_slots() -> Mapping[str, int]:
    return {}


class Leadership:
    """Acquires, renews and releases the Lease, and records admissions on it.

    ``term`` counts how often this operator became leader, 0 before the first time.
    ``inherited_admissions`` are the admissions on the Lease when the term began: the attempts, by
    uid, that a former leader may still start. ``inherited_slots`` are the slots by namespace that
    the Lease had then, and ``inherited_times`` the virtual times. ``slots`` returns the slots to
    record now. ``on_key`` gets the key of the marks when a term begins. The key stays on the Lease
    for all later leaders.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        identity: str,
        on_change: Callable[[bool], None],
        on_key: Callable[[MarkKey], None],
        slots: Callable[[], Awaitable[Mapping[str, int]]] = _no_slots,
    ) -> None:
        self._cluster, self._namespace, self._identity = cluster, namespace, identity
        self._on_change, self._on_key, self._slots = on_change, on_key, slots
        self._key: MarkKey | None = None
        self._leads_until = 0.0
        self._observed_version, self._observed_at = "", 0.0
        # Whether there was a Lease, and since when there is none.
        self._has_seen = False
        self._absent_since: float | None = None
        self._reported = False
        self.term = 0
        self.inherited_admissions: Mapping[str, Admission] = {}
        self.inherited_slots: Mapping[str, int] = {}
        self.inherited_times: Mapping[str, int] = {}
        self._times: Mapping[str, int] = {}
        self._admissions: dict[str, Admission] = {}
        # The Lease as we last wrote it. None if we do not know whether our last write was stored.
        self._stored: Lease | None = None
        # Renewals and admissions both replace the Lease. Without the lock they would conflict with
        # each other, as if another operator had written the Lease.
        self._lock = asyncio.Lock()

    def leads(self) -> bool:
        """True while no other operator can have become leader."""
        return time.monotonic() < self._leads_until

    def permit(self) -> TermPermit:
        """The permit for what is decided now."""
        return TermPermit(self, self.term)

    async def record_admissions(
        self, admissions: Mapping[str, Admission], term: int, times: Mapping[str, int]
    ) -> bool:
        """Write to the Lease which attempts, by uid, are about to start in this term.

        ``times`` are the virtual times of namespaces after these admissions.

        If this returns False, it is not known whether the record is stored, and none of the
        attempts may start. The write fails if another operator has written the Lease in the
        meantime. An operator whose process was suspended learns in this way that it no longer
        leads.
        """
        async with self._lock:
            slots = await self._slots()
            if not self.leads() or term != self.term or self._stored is None:
                return False
            stored, before = self._stored, self._times
            self._admissions |= admissions
            self._times = times
            try:
                await self._replace(stored.version, stored.transitions, slots)
            except ClusterError as error:
                logger.warning("Cannot record admissions on the Lease: %s", error)
                # Remove only these: other admissions may have been removed during the request.
                for uid in admissions:
                    self._admissions.pop(uid, None)
                self._times = before
                self._report_change()
                return False
        return True

    def remove_admission(self, uid: str) -> None:
        """Remove an admission whose outcome is known. The next write removes it from the Lease."""
        self._admissions.pop(uid, None)

    async def run(self) -> None:
        """Run until cancelled. Then release the Lease, so that the next leader need not wait."""
        try:
            while True:
                delay = _RENEW_SECONDS
                try:
                    async with self._lock:
                        await self._acquire_or_renew()
                except ClusterError as error:
                    logger.warning("Cannot acquire or renew the Lease: %s", error)
                    delay = _ACQUIRE_SECONDS
                self._report_change()
                await asyncio.sleep(delay if self._reported else _ACQUIRE_SECONDS)
        finally:
            await self._release()

    async def _acquire_or_renew(self) -> None:
        try:
            lease = await self._cluster.get_lease(self._namespace, NAME)
        except NotFound:
            if not self._may_create():
                return
            self._key = self._key or MarkKey(secrets.token_bytes(KEY_BYTES))
            slots = await self._slots()
            started = time.monotonic()
            ours = self._our_lease("", 0, slots)
            self._stored = await self._cluster.create_lease(self._namespace, NAME, ours)
            self._leads_until = started + _RENEW_DEADLINE_SECONDS
            self._begin_term({}, slots, {})
            self._has_seen, self._absent_since = True, None
            return
        self._has_seen, self._absent_since = True, None
        self._key = lease.key or self._key  # also for the case that the Lease is deleted
        is_ours = lease.holder == self._identity
        if not is_ours:
            self._leads_until = 0.0
            if not self._has_expired(lease):
                return
        # A restarted container has the same identity, the name of its pod. So the Lease may name us
        # as the holder from before the restart. In this case too, a new term begins.
        is_new_term = not is_ours or not self.leads()
        if is_new_term:
            self._admissions = {**lease.admissions, **self._admissions}
            self._times = lease.times
            # A Lease without a key is the Lease of a release that made no marks.
            self._key = self._key or self._new_key_after_upgrade()
        # At the start of a term, our store is not up to date. The record of the last leader is.
        slots = lease.slots if is_new_term else await self._slots()
        await self._replace(lease.version, lease.transitions + (not is_ours), slots)
        if is_new_term:
            self._begin_term(lease.admissions, lease.slots, lease.times)

    def _may_create(self) -> bool:
        """True if no other operator can lead now, although there is no Lease.

        If somebody has deleted the Lease, its holder may still write: it notices within seconds,
        and creates the Lease again, with the same key. The others wait as long as for a holder that
        does not renew. An operator that never saw a Lease does not wait: it may be the first one.
        """
        if self.leads() or not self._has_seen:
            return True
        now = time.monotonic()
        if self._absent_since is None:
            self._absent_since = now
        return now - self._absent_since > LEASE_SECONDS

    async def _replace(self, version: str, transitions: int, slots: Mapping[str, int]) -> None:
        """Replace the Lease if it still has this version."""
        started, self._stored = time.monotonic(), None
        try:
            ours = self._our_lease(version, transitions, slots)
            self._stored = await self._cluster.replace_lease(self._namespace, NAME, ours)
        except Conflict:
            self._leads_until = 0.0  # another operator has written it
            raise
        # The duration of the Lease counts from before the request: it may have been stored at once.
        self._leads_until = started + _RENEW_DEADLINE_SECONDS

    def _begin_term(
        self,
        admissions: Mapping[str, Admission],
        slots: Mapping[str, int],
        times: Mapping[str, int],
    ) -> None:
        self.inherited_admissions, self.inherited_slots = admissions, slots
        self.inherited_times = times
        if self._key is not None:
            self._on_key(self._key)
        self.term += 1

    def _new_key_after_upgrade(self) -> MarkKey:
        # The Lease stores whole seconds. So later leaders read the same time.
        before = (self._cluster.now() + _LATE_UNMARKED).replace(microsecond=0)
        return MarkKey(secrets.token_bytes(KEY_BYTES), unmarked_before=before)

    def _has_expired(self, lease: Lease) -> bool:
        """True if the holder released the Lease, or did not renew it for its whole duration.

        The duration counts from when we first observed this version.
        """
        if lease.version != self._observed_version:
            self._observed_version, self._observed_at = lease.version, time.monotonic()
        duration = lease.duration or LEASE_SECONDS
        return not lease.holder or time.monotonic() - self._observed_at > duration

    async def _release(self) -> None:
        if not self.leads():
            return
        self._leads_until = 0.0
        try:
            lease = await self._cluster.get_lease(self._namespace, NAME)
            if lease.holder == self._identity:
                released = replace(lease, holder="")
                await self._cluster.replace_lease(self._namespace, NAME, released)
        except ClusterError as error:
            logger.warning("Cannot release the Lease; the next leader must wait for it: %s", error)

    def _our_lease(self, version: str, transitions: int, slots: Mapping[str, int]) -> Lease:
        admissions = dict(self._admissions)
        return Lease(
            self._identity,
            version,
            LEASE_SECONDS,
            transitions,
            admissions,
            self._key,
            slots,
            self._times,
        )

    def _report_change(self) -> None:
        leads = self.leads()
        if leads != self._reported:
            self._reported = leads
            message = "This operator leads" if leads else "This operator no longer leads"
            logger.info(message, extra={"identity": self._identity})
            self._on_change(leads)
