"""Conversions that name a ConversionProfile: it is read once, and missing is not unknown."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.controller import profile_reader
from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.errors import StatusError
from tests.component.support.invariants import check_all
from tests.component.support.scripts import (
    Ending,
    Script,
    fail,
    output,
    report_outputs,
    succeed,
)
from tests.component.support.tools import conversion_job
from tests.component.test_outputs import environments

Obj = dict[str, Any]
READS: Obj = {"verb": "get", "resource": "conversionprofiles"}
STATUS_WRITES: Obj = {"verb": "patch", "resource": "conversionjobs", "subresource": "status"}
THUMBNAIL = {"conversionType": "extract_thumbnail", "outputFile": "{dir}/{name}.jpg"}
VIDEO = {"conversionType": "video_to_mp4", "outputFile": "web/{name}.mp4"}


def profile(name: str = "web", *outputs: Obj, **spec: Any) -> Obj:
    return {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionProfile",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"outputs": list(outputs or (THUMBNAIL, VIDEO))} | spec,
    }


def named(name: str, profile_name: str = "web", **spec: Any) -> Obj:
    """A ConversionJob that names a profile."""
    body = conversion_job(name, profile=profile_name, **spec)
    del body["spec"]["conversionType"], body["spec"]["outputFile"]
    return body


def paths(api: FakeApi, name: str) -> list[str]:
    """The paths in status.resolved."""
    resolved = status_of(api, name).get("resolved") or {}
    return [output["outputFile"] for output in resolved.get("outputs", ())]


def job_outputs(api: FakeApi, name: str) -> list[list[str]]:
    """What each Job of a conversion is to make, in the order of their creation."""
    made = [json.loads(variables["OUTPUTS"]) for variables in environments(api, name)]
    return [[output["outputFile"] for output in outputs] for outputs in made]


def makes(outputs: int = 2, **script: Any) -> Script:
    """The converter makes so many outputs."""
    return Script(Ending(message=report_outputs(*[output()] * outputs)), **script)


@pytest.fixture(autouse=True)
def _two_outputs(cluster: FakeCluster) -> None:
    cluster.default = makes()


async def until_reason(api: FakeApi, name: str, reason: str, seconds: float = 20) -> None:
    found = f"{name} to be {reason}"
    await api.until(lambda: status_of(api, name).get("reason") == reason, seconds, found)


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again soon."""
    for constant in ("RECHECK_SECONDS", "RETRY_SECONDS", "FRESH_SECONDS"):
        seconds = getattr(profile_reader, constant) / 100
        monkeypatch.setattr(profile_reader, constant, seconds)


@pytest.mark.judged
async def test_a_profile_is_read_once_and_kept_in_the_status(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(profile(priority=5, ttlSecondsAfterFinished=600))
    async with running(api, tmp_path):
        api.create(named("c"))
        await until_phase(api, "c", "Succeeded")
    assert status_of(api, "c")["resolved"] == {
        "outputs": [
            {"conversionType": "extract_thumbnail", "outputFile": "input/c.jpg"},
            {"conversionType": "video_to_mp4", "outputFile": "web/c.mp4"},
        ],
        "priority": 5,
        "ttlSecondsAfterFinished": 600,
    }
    assert job_outputs(api, "c") == [["/input/c.jpg", "/web/c.mp4"]]
    assert api.audit.count(**READS) == 1
    (job,) = api.audit.writes(resource="jobs", verb="create")
    writes, first = api.audit.writes(), api.audit.writes(**STATUS_WRITES)[0]
    assert writes.index(first) < writes.index(job)
    assert json.loads(first.body)[-1]["value"]["phase"] == "Queued"
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_conversion_waits_for_its_profile(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, short_times: None
) -> None:
    async with running(api, tmp_path):
        for name in ("c", "cancelled", "deleted", "suspended"):
            api.create(named(name))
            await until_reason(api, name, "ProfileMissing")
        assert (
            "no ConversionProfile web in the namespace my-network" in status_of(api, "c")["message"]
        )
        api.patch("conversionjobs", "cancelled", {"spec": {"cancel": True}})
        await until_phase(api, "cancelled", "Cancelled")
        api.delete("conversionjobs", "deleted")
        await api.until(lambda: api.find("conversionjobs", "deleted") is None)
        api.patch("conversionjobs", "suspended", {"spec": {"suspend": True}})
        api.create(profile())
        await until_phase(api, "c", "Succeeded")
        await until_reason(api, "suspended", "Suspended")
        assert paths(api, "suspended") == ["input/suspended.jpg", "web/suspended.mp4"]
        api.patch("conversionjobs", "suspended", {"spec": {"suspend": False}})
        await until_phase(api, "suspended", "Succeeded")
    assert len(api.audit.writes(resource="jobs", verb="create")) == 2
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_change_of_the_profile_changes_nothing_that_exists(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Not between two attempts, not after a restart, and not for one that waits for a slot."""
    api.create(profile())
    cluster.script("c", fail("InternalError"), makes(hold=True))
    async with running(api, tmp_path / "a", converter_max_parallel=1):
        api.create(named("c"))
        await until_reason(api, "c", "RetryBackoff")
        api.patch("conversionjobs", "c", {"spec": {"suspend": True}})
        await until_reason(api, "c", "Suspended")
        api.create(named("waits", suspend=True))
        await until_reason(api, "waits", "Suspended")
        api.patch("conversionprofiles", "web", {"spec": {"outputs": [VIDEO], "priority": 9}})
    async with running(api, tmp_path / "b", "op-b", converter_max_parallel=1) as op:
        api.delete("conversionprofiles", "web")
        for name in ("c", "waits"):
            api.patch("conversionjobs", name, {"spec": {"suspend": False}})
        api.clock.advance(60)
        await op.reconcile_all()
        await until_phase(api, "c", "Running")
        cluster.finish("c")
        for name in ("c", "waits"):
            await until_phase(api, name, "Succeeded")
    both = ["/input/c.jpg", "/web/c.mp4"]
    assert job_outputs(api, "c") == [both, both]
    assert job_outputs(api, "waits") == [["/input/waits.jpg", "/web/waits.mp4"]]
    assert attempts_of(api, "c") == ["InternalError", "Completed"]
    assert api.audit.count(**READS) == 2
    check_all(api, limit=1)


@pytest.mark.judged
async def test_a_conversion_uses_the_profile_that_was_applied_before_it(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The operator has just read the former one for another conversion."""
    cluster.default = makes(hold=True)
    api.create(profile("web", VIDEO))
    async with running(api, tmp_path):
        api.create(named("a"))
        await api.until(lambda: paths(api, "a"))
        api.patch("conversionprofiles", "web", {"spec": {"outputs": [THUMBNAIL]}})
        api.create(named("b"))
        await api.until(lambda: paths(api, "b"))
        assert (paths(api, "a"), paths(api, "b")) == (["web/a.mp4"], ["input/b.jpg"])


@pytest.mark.judged
async def test_a_profile_that_makes_no_valid_outputs_fails_the_conversion(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(profile("same", VIDEO, VIDEO | {"outputFile": "{dir}/{name}.mp4"}))
    async with running(api, tmp_path):
        api.create(named("c", "same", inputFile="web/c.mov"))
        await until_phase(api, "c", "Failed")
        assert status_of(api, "c")["reason"] == "ProfileInvalid"
        assert (
            "outputs[0] and outputs[1] of ConversionProfile same" in status_of(api, "c")["message"]
        )
        api.create(named("d", "same"))
        await until_phase(api, "d", "Succeeded")
    assert len(api.audit.writes(resource="jobs", verb="create")) == 1
    check_all(api, limit=3)


async def test_a_conversion_that_waits_for_a_path_of_its_profile(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The outputs of a profile count for the order of conversions, like those of a spec."""
    api.create(profile())
    cluster.script("first", makes(hold=True))
    cluster.script("reader", succeed())
    async with running(api, tmp_path):
        api.create(named("first", inputFile="input/a.mov"))
        await until_phase(api, "first", "Running")
        api.create(named("second", inputFile="other/a.mov"))
        await until_reason(api, "second", "PathBusy")
        api.create(conversion_job("reader", inputFile="web/a.mp4"))
        await until_reason(api, "reader", "WaitingForInput")
        cluster.finish("first")
        for name in ("first", "second", "reader"):
            await until_phase(api, name, "Succeeded")
    check_all(api, limit=3)


async def test_thousands_that_wait_for_one_profile_cost_one_request_each_time(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_reader, "RECHECK_SECONDS", 3.0)
    many = [f"c{number:04}" for number in range(1000)]
    for name in many:
        api.create(named(name))
    cluster.default = makes(hold=True)
    started, looks = time.monotonic(), 0
    find = profile_reader.ProfileReader.find

    def count(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return find(*args)

    monkeypatch.setattr(profile_reader.ProfileReader, "find", count)
    async with running(api, tmp_path) as op:
        for name in many:
            await until_reason(api, name, "ProfileMissing", 60)
        await api.until(lambda: not len(op.operator._queue), 60)
        # The next answer is the same, so nothing is reconciled, except to refresh positions.
        asked, before = api.audit.count(**READS), looks
        await api.until(lambda: api.audit.count(**READS) > asked + 1, 15)
        assert looks - before < 100
        assert api.audit.count(**READS) <= (time.monotonic() - started) / 3 + 2
        asked = api.audit.count(**READS)
        api.create(profile())
        await api.until(lambda: all(paths(api, name) for name in many), 90)
        assert api.audit.count(**READS) <= asked + 2


@pytest.mark.parametrize("code", [500, 503, 429, 401])
async def test_no_answer_is_not_a_missing_profile(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, short_times: None, code: int
) -> None:
    api.create(profile())
    async with running(api, tmp_path):
        with api.faults.status(code, **READS) as fault:
            api.create(named("c"))
            await until_reason(api, "c", "ProfileUnreadable")
            assert str(code) in status_of(api, "c")["message"]
            api.create(named("cancelled"))
            await until_reason(api, "cancelled", "ProfileUnreadable")
            api.patch("conversionjobs", "cancelled", {"spec": {"cancel": True}})
            await until_phase(api, "cancelled", "Cancelled")
            assert fault.hits >= profile_reader.FAILURES_BEFORE_REPORT
        await until_phase(api, "c", "Succeeded")
    assert not [r for r in api.audit.writes(**STATUS_WRITES) if "ProfileMissing" in str(r.body)]


async def test_a_path_that_is_not_served_is_not_a_missing_profile(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, short_times: None
) -> None:
    """The CRD of ConversionProfiles is not installed: this 404 names no object."""
    async with running(api, tmp_path):
        with api.faults.status(404, **READS):
            api.create(named("c"))
            await until_reason(api, "c", "ProfileUnreadable")
        await until_reason(api, "c", "ProfileMissing")


async def test_a_missing_right_is_named(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, short_times: None
) -> None:
    api.create(profile())
    async with running(api, tmp_path):
        with api.faults.forbid(**READS):
            api.create(named("c"))
            await until_reason(api, "c", "ProfileUnreadable")
            message = status_of(api, "c")["message"]
            assert "the right to get conversionprofiles in the namespace my-network" in message
        await until_phase(api, "c", "Succeeded")


async def test_a_slow_answer_delays_no_other_conversion(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(profile())
    async with running(api, tmp_path):
        with api.faults.black_hole(**READS) as struck:
            for number in range(30):
                api.create(named(f"p{number}", f"web{number}"))
            await struck.wait_hit()
            cluster.script("c", succeed())
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded", 10)
            assert struck.hits == 1


async def test_a_profile_of_a_later_release_waits_for_it(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, short_times: None
) -> None:
    cluster.default = makes(1)
    api.create(profile() | {"spec": {"outputs": [VIDEO], "watermark": "x"}}, check=False)
    async with running(api, tmp_path):
        api.create(named("c"))
        await until_reason(api, "c", "ProfileUnreadable")
        assert "spec.watermark" in status_of(api, "c")["message"]
        api.mutate("conversionprofiles", "web", lambda p: p["spec"].pop("watermark"))
        await until_phase(api, "c", "Succeeded")


@pytest.mark.judged
async def test_what_was_resolved_cannot_be_changed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(profile("web", queue="bulk"))
    async with running(api, tmp_path):
        api.create(named("c"))
        await until_reason(api, "c", "QueueMissing")
    before = status_of(api, "c")["resolved"]
    other: Obj = {"resolved": {"outputs": [VIDEO], "queue": None}}
    for change in (other, {"resolved": None}):
        with pytest.raises(StatusError) as refused:
            api.patch("conversionjobs", "c", {"status": change}, subresource="status")
        assert refused.value.code == 422
    assert status_of(api, "c")["resolved"] == before


@pytest.mark.judged
async def test_the_queue_of_the_profile_counts_when_the_queue_changes(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """It can only be changed while the conversion waits, also to the default by its name."""
    api.create(profile("web", queue="bulk"))
    api.create(
        {
            "apiVersion": "converter.mynetwork.io/v1alpha1",
            "kind": "ConversionQueue",
            "metadata": {"name": "bulk", "namespace": NAMESPACE},
            "spec": {},
        }
    )
    cluster.script("c", makes(hold=True))
    async with running(api, tmp_path):
        api.create(named("c"))
        await until_phase(api, "c", "Running")
        with pytest.raises(StatusError, match="queue can only be changed while"):
            api.patch("conversionjobs", "c", {"spec": {"queue": "default"}})
        api.patch("conversionjobs", "c", {"spec": {"queue": "bulk"}})
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")


@pytest.mark.judged
async def test_a_status_that_was_removed_or_restored(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A restored status has what the profile said before. Without it, the profile is read again."""
    cluster.script("c", makes(hold=True))
    cluster.script("back", makes(1, hold=True))
    api.create(profile())
    async with running(api, tmp_path):
        api.create(named("c", suspend=True))
        await until_reason(api, "c", "Suspended")
        backup = status_of(api, "c")
        with pytest.raises(StatusError, match="may not be removed"):
            api.patch("conversionjobs", "c", {"status": None}, subresource="status")
    api.delete("conversionjobs", "c")
    await api.until(lambda: api.find("conversionjobs", "c") is None)
    api.patch("conversionprofiles", "web", {"spec": {"outputs": [VIDEO]}})
    label = {"labels": {"velero.io/restore-name": "nightly"}}
    made = api.create(named("c", metadata=label))
    assert made["metadata"]["name"] == "c"
    api.patch("conversionjobs", "c", {"status": backup}, subresource="status")
    api.create(named("back", metadata=label))
    mark = api.audit.mark()
    async with running(api, tmp_path, "op-b"):
        await until_phase(api, "c", "Running")
        assert job_outputs(api, "c") == [["/input/c.jpg", "/web/c.mp4"]]
        assert not api.audit.count(since=mark, **READS)
        api.patch(
            "conversionjobs", "back", {"metadata": {"labels": {"velero.io/restore-name": None}}}
        )
        await until_phase(api, "back", "Running")
        assert job_outputs(api, "back") == [["/web/back.mp4"]]
        for name in ("c", "back"):
            cluster.finish(name)
            await until_phase(api, name, "Succeeded")
    assert phase_of(api, "c") == "Succeeded"
