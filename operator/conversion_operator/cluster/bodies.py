"""The bodies of requests that create or replace a Lease or an Event."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from conversion_operator.api import names
from conversion_operator.cluster.admissions import (
    ANNOTATION,
    SLOTS_ANNOTATION,
    TIMES_ANNOTATION,
    format_admissions,
    format_slots,
    format_times,
)
from conversion_operator.cluster.mark_key import format_key
from conversion_operator.cluster.objects import Body, Event, Lease

_OUR_KINDS: Final = (names.KIND, names.QUEUE_KIND, names.PROFILE_KIND)


def lease_body(namespace: str, name: str, lease: Lease, now: datetime) -> Body:
    """A Lease as the API server stores it, renewed ``now``. Its annotations have the admissions."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "annotations": {
            ANNOTATION: format_admissions(lease.admissions),
            **format_key(lease.key),
            SLOTS_ANNOTATION: format_slots(lease.slots),
            TIMES_ANNOTATION: format_times(lease.times),
        },
    }
    if lease.version:
        metadata["resourceVersion"] = lease.version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.duration,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "leaseTransitions": lease.transitions,
        },
    }


def event_body(event: Event, reporter: str, now: datetime) -> Body:
    """An Event that happens ``now``. ``reporter`` is the identity of this operator."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {"name": event.name} if event.name else {"generateName": f"{event.kind.lower()}-"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": event.about.namespace} | named,
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "involvedObject": {
            "apiVersion": names.API_VERSION if event.kind in _OUR_KINDS else "v1",
            "kind": event.kind,
            "namespace": event.about.namespace,
            "name": event.about.name,
            "uid": event.about.uid,
        },
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": names.MANAGED_BY},
        "reportingComponent": names.MANAGED_BY,
        "reportingInstance": reporter,
    }
