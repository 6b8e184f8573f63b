"""Tools that wait for a conversion see it as it is: by the rules of kstatus, and Argo CD."""

from __future__ import annotations

from pathlib import Path

import pytest

from media_converter.contract import ExitReason
from tests.component.running import running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.errors import StatusError
from tests.component.support.history import History
from tests.component.support.invariants import check_all
from tests.component.support.kinds import CONVERSIONJOBS
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job
from tests.support.argo_cd import OF_KSTATUS, argo_health
from tests.support.kstatus import health

pytestmark = pytest.mark.judged


def healths(api: FakeApi, name: str) -> list[str]:
    """The health of each version of a ConversionJob, without repetitions."""
    versions = [
        change.new.obj
        for change in History(api.storage).of(CONVERSIONJOBS)
        if change.key[1] == name
    ]
    found = [health(version) for version in versions]
    assert [argo_health(version)[0] for version in versions] == [OF_KSTATUS[h] for h in found]
    return [now for now, before in zip(found, ["", *found], strict=False) if now != before]


async def test_a_conversion_is_in_progress_until_its_end(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("bad", fail(ExitReason.INPUT_EMPTY))
    cluster.script("stopped", succeed(hold=True))
    for name in ("good", "bad", "stopped"):
        api.create(conversion_job(name))
    assert status_of(api, "good")["phase"] == "Pending"
    async with running(api, tmp_path):
        await until_phase(api, "good", "Succeeded")
        await until_phase(api, "bad", "Failed")
        await until_phase(api, "stopped", "Running")
        api.patch("conversionjobs", "stopped", {"spec": {"cancel": True}})
        await until_phase(api, "stopped", "Cancelled")
    assert healths(api, "good") == ["InProgress", "Current"]
    assert healths(api, "bad") == ["InProgress", "Failed"]
    assert healths(api, "stopped") == ["InProgress", "Current"]
    check_all(api, limit=3)


@pytest.mark.parametrize(("name", "end"), [("good", "Current"), ("bad", "Failed")])
async def test_a_change_after_the_end_is_observed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, name: str, end: str
) -> None:
    """Only status.observedGeneration is written."""
    cluster.script("bad", fail(ExitReason.INPUT_EMPTY))
    async with running(api, tmp_path):
        api.create(conversion_job(name))
        await api.until(lambda: health(api.get("conversionjobs", name)) == end)
        before = status_of(api, name)
        api.patch("conversionjobs", name, {"spec": {"ttlSecondsAfterFinished": 999}})
        assert health(api.get("conversionjobs", name)) == "InProgress"
        await api.until(lambda: health(api.get("conversionjobs", name)) == end)
    assert status_of(api, name) == before | {"observedGeneration": 2}


async def test_a_change_while_waiting_is_observed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_enabled=False):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Queued")
        api.patch("conversionjobs", "c", {"spec": {"ttlSecondsAfterFinished": 999}})
        await api.until(lambda: status_of(api, "c")["observedGeneration"] == 2)
    assert status_of(api, "c")["reason"] == "Paused"


async def test_a_status_that_is_removed_does_not_begin_again(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
        with pytest.raises(StatusError, match="status may not be removed"):
            api.patch("conversionjobs", "c", {"status": None}, subresource="status")
