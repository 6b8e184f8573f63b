"""Conversions that a backup tool restores are not converted again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from conversion_operator.core import holds
from tests.component.marks import ONE_IS_ENOUGH
from tests.component.running import phase_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.tools import conversion_job
from tests.component.test_compatibility import Obj, jobs_made, warnings

LABEL = "velero.io/restore-name"


def restored(name: str, label: str = LABEL) -> Obj:
    """What Velero creates: the object without its status, under a new uid."""
    return conversion_job(name, metadata={"labels": {label: "nightly"}})


async def finished_status(api: FakeApi, name: str) -> Obj:
    """The status in the backup."""
    api.create(conversion_job(name))
    await until_phase(api, name, "Succeeded")
    status = status_of(api, name)
    api.delete("conversionjobs", name)
    await api.until(lambda: api.find("conversionjobs", name) is None)
    return status


@pytest.mark.judged
async def test_its_status_follows(api: FakeApi, cluster: FakeCluster, tmp_path: Path) -> None:
    """The operator writes nothing between the two requests: the second one would fail."""
    async with running(api, tmp_path):
        status = await finished_status(api, "c")
        made = api.create(restored("c"))
        api.create(conversion_job("other"))
        await until_phase(api, "other", "Succeeded")
        version = {"resourceVersion": made["metadata"]["resourceVersion"]}
        found = api.get("conversionjobs", "c")
        assert found["metadata"]["resourceVersion"] == version["resourceVersion"]
        change = {"metadata": version, "status": status}
        api.patch("conversionjobs", "c", change, subresource="status")
        api.create(conversion_job("last"))
        await until_phase(api, "last", "Succeeded")
    assert status_of(api, "c") == status
    assert jobs_made(api) == 3


@pytest.mark.judged
@pytest.mark.parametrize(
    "label", [LABEL, pytest.param("backup.example.com/restore", marks=ONE_IS_ENOUGH)]
)
async def test_it_waits_without_its_status(
    api: FakeApi,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    label: str,
) -> None:
    monkeypatch.setattr(holds, "RESTORED_WRITE_DELAY", timedelta(0))
    labels = f"{LABEL}, backup.example.com/restore"
    async with running(api, tmp_path, converter_restore_labels=labels) as op:
        for name in ("c", "unwanted"):
            api.create(restored(name, label))
        await api.until(lambda: status_of(api, "c").get("reason") == "Restored")
        assert phase_of(api, "c") == "Pending"
        await api.until(lambda: len(warnings(api, "Restored")) == 2)
        await op.reconcile_all()
        api.create(conversion_job("other"))
        await until_phase(api, "other", "Succeeded")
        assert jobs_made(api) == 1
        api.patch("conversionjobs", "unwanted", {"spec": {"cancel": True}})
        await until_phase(api, "unwanted", "Cancelled")
        api.patch("conversionjobs", "c", {"metadata": {"labels": {label: None}}})
        await until_phase(api, "c", "Succeeded")
    assert len(warnings(api, "Restored")) == 2
    assert jobs_made(api) == 2


@pytest.mark.judged
async def test_the_status_comes_later(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody restores the status by hand, after the operator has written Restored."""
    monkeypatch.setattr(holds, "RESTORED_WRITE_DELAY", timedelta(0))
    async with running(api, tmp_path):
        status = await finished_status(api, "c")
        api.create(restored("c"))
        await api.until(lambda: status_of(api, "c").get("reason") == "Restored")
        api.patch("conversionjobs", "c", {"status": status}, subresource="status")
        api.create(conversion_job("other"))
        await until_phase(api, "other", "Succeeded")
    assert phase_of(api, "c") == "Succeeded"
    assert jobs_made(api) == 2
