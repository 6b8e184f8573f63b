"""Versions of objects as the store gets them, and what it knows afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from conversion_operator.cluster.objects import WatchEvent
from conversion_operator.controller.store import Store
from conversion_operator.core.children import Job, Pod
from conversion_operator.core.model import Conversion
from tests.unit.operator.builders import (
    UID,
    conversion,
    job,
    running,
)


def conversion_at(version: int, *, cancel: bool = False) -> Conversion:
    return replace(conversion(cancel=cancel), version=version)


def job_at(version: int, *, finished: bool = False) -> Job:
    return replace(job(finished="Complete" if finished else None), version=version)


def event(kind: str, item: Conversion | Job | Pod) -> WatchEvent[Conversion | Job | Pod]:
    return WatchEvent(kind, str(item.version), item)


def confirm_deleted(store: Store) -> None:
    for child in store.missing(UID):
        store.confirm(child, None)


def conversion_number(number: object, version: int = 5) -> Conversion:
    """One of many."""
    return replace(conversion(f"uid-{number}"), version=version)


def forged(name: str, version: int, **changes: Any) -> Pod:
    """A pod that names our Job as its controller. Its mark is copied unless ``mark`` says else."""
    return replace(running(), uid=name, name=name, version=version, **changes)


def pods_by_use(store: Store) -> tuple[list[str], list[str]]:
    """The uids of the pods that count, and of the duplicates."""
    pods = store.children(UID).pods
    return [p.uid for p in pods if not p.duplicate], [p.uid for p in pods if p.duplicate]
