"""Conversions whose inputs are still being made, and series in the order of their creation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from media_converter.contract import ExitReason
from tests.component.marks import ONE_IS_ENOUGH
from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job

SERIES = [f"job-{number}" for number in range(1, 13)]


def started(api: FakeApi) -> list[str]:
    """The conversions whose Jobs were created, in this order."""
    bodies = [json.loads(r.body) for r in api.audit.matching(verb="create", resource="jobs")]
    return [body["metadata"]["ownerReferences"][0]["name"] for body in bodies]


def thumbnail(api: FakeApi, name: str, of: str) -> None:
    paths = {"inputFile": f"/output/{of}.mp4", "outputFile": f"output/{name}.jpg"}
    api.create(conversion_job(name, conversionType="extract_thumbnail", **paths))


@pytest.mark.judged
@pytest.mark.parametrize("operator_up", [pytest.param(True, marks=ONE_IS_ENOUGH), False])
async def test_a_series_runs_in_the_order_in_which_it_was_created(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, operator_up: bool
) -> None:
    """The API server lists the objects sorted by name: job-1, job-10, job-11, …"""
    if not operator_up:
        for name in SERIES:
            api.create(conversion_job(name))
    async with running(api, tmp_path, converter_max_parallel=1):
        if operator_up:
            for name in SERIES:
                api.create(conversion_job(name))
        for name in SERIES:
            await until_phase(api, name, "Succeeded", 60)
    assert started(api) == SERIES
    arrivals = [status_of(api, name)["arrival"] for name in SERIES]
    assert arrivals == sorted(set(arrivals))
    check_all(api, limit=1)


async def test_the_order_survives_a_restart_and_changes_of_the_objects(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("first", succeed(hold=True))
    async with running(api, tmp_path, converter_max_parallel=1) as op:
        for name in ("first", *SERIES):
            api.create(conversion_job(name))
        await api.until(lambda: all("arrival" in status_of(api, n) for n in SERIES), 20)
        arrivals = [status_of(api, name)["arrival"] for name in SERIES]
        for name in reversed(SERIES):
            api.mutate("conversionjobs", name, lambda o: o["metadata"].update(labels={"a": "b"}))
        await op.kill()
    async with running(api, tmp_path, converter_max_parallel=1):
        cluster.finish("first")
        for name in SERIES:
            await until_phase(api, name, "Succeeded", 60)
    assert started(api) == ["first", *SERIES]
    assert [status_of(api, name)["arrival"] for name in SERIES] == arrivals


async def test_a_conversion_that_started_before_the_one_that_makes_its_input_waits(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """`kubectl apply` creates it first, and the operator is idle."""
    cluster.script("a-thumbnail", fail(ExitReason.INPUT_NOT_FOUND, hold=True), succeed())
    async with running(api, tmp_path):
        thumbnail(api, "a-thumbnail", of="video")
        await until_phase(api, "a-thumbnail", "Running")
        api.create(conversion_job("video"))
        await api.until(lambda: status_of(api, "video").get("reason") == "PathBusy", 20)
        cluster.script("video", succeed(hold=True))
        cluster.finish("a-thumbnail")
        await api.until(
            lambda: status_of(api, "a-thumbnail").get("reason") == "WaitingForInput", 20
        )
        assert "video" in status_of(api, "a-thumbnail")["message"]
        await until_phase(api, "video", "Running")
        assert attempts_of(api, "a-thumbnail") == ["InputNotFound"]
        cluster.finish("video")
        await until_phase(api, "a-thumbnail", "Succeeded")
    assert attempts_of(api, "a-thumbnail") == ["InputNotFound", "Completed"]
    check_all(api, limit=3)


@pytest.mark.judged
@pytest.mark.parametrize("first", [pytest.param("video", marks=ONE_IS_ENOUGH), "a-thumbnail"])
async def test_an_input_that_will_be_made_is_waited_for(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, first: str
) -> None:
    cluster.script("video", succeed(hold=True))

    def create(name: str) -> None:
        if name == "video":
            api.create(conversion_job("video"))
        else:
            thumbnail(api, name, "video")

    create(first)
    create("a-thumbnail" if first == "video" else "video")
    async with running(api, tmp_path):
        await until_phase(api, "video", "Running")
        await api.until(lambda: status_of(api, "a-thumbnail").get("reason") == "WaitingForInput")
        message = status_of(api, "a-thumbnail")["message"]
        assert message == "conversion video has yet to write the input /output/video.mp4"
        assert started(api) == ["video"]
        cluster.finish("video")
        await until_phase(api, "a-thumbnail", "Succeeded")
    assert started(api) == ["video", "a-thumbnail"]
    check_all(api, limit=3)


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_conversion_fails_if_its_input_is_not_made(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, end: str, killed: bool
) -> None:
    """Also if another operator has stored the end. What waits for this one fails, too."""
    cluster.script("video", fail("InputDamaged", hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("video"))
        thumbnail(api, "a", "video")
        await until_phase(api, "video", "Running")
        if killed:
            await op.kill()
    if end == "fails":
        cluster.finish("video")
    else:
        api.mutate("conversionjobs", "video", lambda o: o["spec"].update(cancel=True))
    async with running(api, tmp_path):
        await until_phase(api, "video", "Failed" if end == "fails" else "Cancelled")
        await until_phase(api, "a", "Failed")
    status = status_of(api, "a")
    assert status["reason"] == "InputNotMade"
    says = "failed (InputDamaged)" if end == "fails" else "was cancelled"
    assert status["message"] == (
        f"conversion video, which was to write the input /output/video.mp4, {says}"
    )
    assert attempts_of(api, "a") == []


async def test_a_cycle_of_inputs_is_refused(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    there = {"inputFile": "a.mp4", "outputFile": "b.mp4"}
    back = {"inputFile": "b.mp4", "outputFile": "a.mp4"}
    api.create(conversion_job("there", **there))
    api.create(conversion_job("back", **back))
    async with running(api, tmp_path):
        await until_phase(api, "there", "Succeeded")
        await until_phase(api, "back", "Failed")
    assert phase_of(api, "back") == "Failed"
    assert status_of(api, "back")["reason"] == "InputCycle"
    assert "back, there would wait for each other" in status_of(api, "back")["message"]
    check_all(api, limit=3)
