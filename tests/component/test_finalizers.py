"""Finalizers of others on ConversionJobs, Jobs and pods keep no end from being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.component.running import running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.podstatus import is_terminal
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job

FINALIZER = "example.com/audit"


def held(obj: dict[str, Any]) -> None:
    obj["metadata"].setdefault("finalizers", []).append(FINALIZER)


def release(obj: dict[str, Any]) -> None:
    obj["metadata"]["finalizers"] = [
        name for name in obj["metadata"].get("finalizers", []) if name != FINALIZER
    ]


def until_stopped(api: FakeApi) -> Callable[[], bool]:
    return lambda: all(is_terminal(pod) for pod in api.objects("pods"))


@pytest.mark.judged
@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_a_conversion_deleted_under_a_finalizer_is_stopped(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, propagation: str
) -> None:
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1):
        api.create(conversion_job("c"))
        api.mutate("conversionjobs", "c", held)
        await until_phase(api, "c", "Running")
        api.create(conversion_job("next"))
        api.delete("conversionjobs", "c", propagation=propagation)
        await until_phase(api, "c", "Cancelled")
        await api.until(until_stopped(api))
        assert "deleted" in status_of(api, "c")["message"]
        await until_phase(api, "next", "Succeeded")
        api.mutate("conversionjobs", "c", release)
        await api.until(lambda: api.find("conversionjobs", "c") is None)


@pytest.mark.judged
async def test_a_waiting_conversion_deleted_under_a_finalizer_never_starts(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_enabled=False) as op:
        api.create(conversion_job("c"))
        api.mutate("conversionjobs", "c", held)
        await until_phase(api, "c", "Queued")
        api.delete("conversionjobs", "c")
        await until_phase(api, "c", "Cancelled")
        op.configure(converter_enabled=True)
        api.create(conversion_job("next"))
        await until_phase(api, "next", "Succeeded")
        assert len(api.audit.writes(resource="jobs", verb="create")) == 1


@pytest.mark.judged
@pytest.mark.parametrize("kind", ["jobs", "pods"])
async def test_a_finalizer_on_its_job_or_pod_does_not_hide_the_end(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, kind: str
) -> None:
    """It holds no slot once its pod is over."""
    cluster.script("c", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Running")
        (child,) = api.objects(kind)
        api.mutate(kind, child["metadata"]["name"], held)
        api.create(conversion_job("next"))
        api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
        await until_phase(api, "c", "Cancelled")
        await until_phase(api, "next", "Succeeded")
        assert api.find(kind, child["metadata"]["name"]) is not None
